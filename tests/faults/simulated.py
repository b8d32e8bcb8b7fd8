"""Ray in the mind: actors, nodes, messages and time simulated; the engine that drives them is the real one.

``Engine.run``, its leases, its pace, its pool of actors and the commit of a unit are the project's own and do not know. What happens is drawn by a seed: units take
log-normal times, some workers are slow, workers and whole nodes die, utterances kill, workers hang, storage fails, and the driver is killed and started again.
Time stands still but for what is waited for, and for what each of the driver's messages to Ray costs it.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any, ClassVar

from rich.console import Console

from manifests.ledger import Outcome
from manifests.settings.run import RunSettings
from manifests.storage import Store
from pipelines.engine.actors import Pulse, RayPool
from pipelines.engine.commit import execute
from pipelines.engine.contract import Beat, Made, NodeLost, RunFailed, Task, Unit
from pipelines.engine.progress import Events
from pipelines.engine.run import Engine, Ground
from pipelines.engine.stopping import Stopping

ROUND = 20  # messages of the driver's, at most, between an answer and what it does about it


@dataclass(frozen=True)
class Rates:
    """What may happen, and how often. Times are seconds.

    unit              the median time of a unit on a healthy worker; ``spread`` is the sigma of its logarithm
    slow, factor      share of workers that are so many times slower
    worker_life       mean time until a worker dies by itself; ``node_life`` until a node does, with its ``node_workers``; ``repair`` until it is back
    hang, error       chance of a unit that its worker stands still in it, or that storage fails at its end
    torn              chance that a worker that dies in a unit has published files of it already
    start             time until a worker answers; ``commit`` from the receipt until the driver knows
    driver_life       mean time until the driver is killed; ``down`` until it is started again
    doubt             chance that a death is first told as an actor that is out of reach; where a node died, that its head knows only after ``notice``
    helped            whether each worker has a helper, on some node; one that goes with its node ends the worker's task, and not the worker
    message           what each message to Ray, and each answer taken, costs the driver; ``wait`` what each actor adds to a wait
    """

    unit: float = 15.0
    spread: float = 0.3
    slow: float = 0.02
    factor: float = 5.0
    worker_life: float = math.inf
    node_life: float = math.inf
    node_workers: int = 40
    repair: float = 300.0
    hang: float = 0.0
    error: float = 0.0
    torn: float = 0.2
    start: float = 10.0
    commit: float = 0.05
    driver_life: float = math.inf
    down: float = 30.0
    doubt: float = 0.0
    notice: float = 10.0
    helped: bool = False
    message: float = 0.0
    wait: float = 0.0


class RayError(Exception):
    """As Ray's."""


class RayActorError(RayError): ...


class ActorUnavailableError(RayActorError): ...


class DriverKilled(BaseException):
    """SIGKILL: nothing catches it."""


@dataclass(eq=False)
class Ref:
    """A reference to what will be there; ``error`` is raised instead. ``came`` are those that are there now and were not before."""

    ready: bool = False
    value: Any = None
    error: Exception | None = None
    came: ClassVar[set[Ref]] = set()

    def settle(self, value: Any = None, error: Exception | None = None) -> None:
        if not self.ready:
            self.ready, self.value, self.error = True, value, error
            self.came.add(self)


@dataclass
class Time:
    """Simulated time, and what is to happen in it."""

    now: float = 0.0
    _heap: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=count)

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        if seconds < math.inf:
            heapq.heappush(self._heap, (self.now + seconds, next(self._number), what))

    def until(self, end: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Let things happen until ``end``, or ``enough`` of them."""
        while not enough() and self._heap and self._heap[0][0] <= end:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        if not enough():
            self.now = max(self.now, end)


@dataclass(frozen=True)
class SimJob:
    """Units whose utterances ``poison`` says kill: (unit, position)."""

    folder: str
    units: tuple[Unit, ...]
    poison: frozenset[tuple[int, int]] = frozenset()
    stage: str = "simulated"

    def open(self) -> SimJob:
        return self

    def process(self, task: Task, beat: Beat) -> Made:
        unit, (first, end) = task.unit.index, task.only or (0, task.unit.count)
        outcomes = tuple(
            Outcome(f"{unit}-{i}", "quarantined", *task.skip[i])
            if i in task.skip
            else Outcome(f"{unit}-{i}", "written")
            for i in range(first, end)
        )
        return Made(files_of(task), outcomes)

    def kills_at(self, task: Task) -> int | None:
        """The position in the task at which its worker dies of it."""
        first, end = task.only or (0, task.unit.count)
        found = (i for i in range(first, end) if (task.unit.index, i) in self.poison and i not in task.skip)
        return next((i - first for i in found), None)


def files_of(task: Task) -> dict[str, bytes]:
    """What a unit makes: a function of what is skipped alone."""
    return {f"unit-{task.unit.index}.txt": ",".join(map(str, sorted(task.skip))).encode()} if task.only is None else {}


@dataclass
class Totals:
    """Worker seconds, and what happened how often.

    busy      all that workers worked; ``useful`` the part of it that went into the receipts
    probed    parts of units that were tried
    alone     (unit, position) of utterances that were tried alone when their worker died, and how often
    """

    busy: float = 0.0
    useful: float = 0.0
    probed: int = 0
    events: dict[str, int] = field(default_factory=dict)
    commits: dict[int, int] = field(default_factory=dict)
    alone: dict[tuple[int, int], int] = field(default_factory=dict)

    def tell(self, what: str) -> None:
        self.events[what] = self.events.get(what, 0) + 1

    def blame(self, task: Task) -> None:
        """A worker died that had this task; of a single utterance that is counted."""
        if task.only is not None and task.count == 1:
            place = (task.unit.index, task.only[0])
            self.alone[place] = self.alone.get(place, 0) + 1


@dataclass(eq=False)
class Node:
    """Room for some workers."""

    name: str
    room: int
    alive: bool = True
    known_alive: bool = True
    actors: list[Actor] = field(default_factory=list)


@dataclass(eq=False)
class Call:
    """One ``execute`` in an actor."""

    task: Task
    ref: Ref
    begun: float = 0.0
    seconds: float = math.inf  # how long it would take; for ever, where it hangs
    worked: float = math.inf  # until when it makes progress


class Actor:
    """A worker process on a node. Its methods are called as those of a Ray actor handle."""

    def __init__(self, ray: SimulatedRay, job: SimJob) -> None:
        self.ray, self.job, self.alive, self.up, self.recalled = ray, job, True, False, False
        self.node: Node | None = None
        self.calls: deque[Call] = deque()
        self.asked: list[Ref] = []
        self.done = 0  # signs of life of tasks that are over
        self.died = math.inf
        self.helper: Node | None = None
        draw = ray.draw
        self.speed = 1 / ray.rates.factor if draw.random() < ray.rates.slow else 1.0
        ray.speeds.append(self.speed)
        self.execute, self.pulse, self.recall = (
            SimpleNamespace(remote=what) for what in (self._execute, self._pulse, self._recall)
        )

    def _execute(self, task: Task) -> Ref:
        self.ray.spend(self.ray.rates.message)
        ref = Ref()
        if not self.alive:
            if self.ray.time.now - self.died <= ROUND * self.ray.rates.message:  # it had just said that it lives
                self.ray.totals.blame(task)
            ref.settle(error=RayActorError("dead"))
            return ref
        self.calls.append(Call(task, ref))
        if self.up and len(self.calls) == 1:
            self._begin()
        return ref

    def _pulse(self) -> Ref:
        self.ray.spend(self.ray.rates.message)
        ref = Ref()
        if not self.alive and self.node is not None and self.node.known_alive and not self.node.alive:
            self.ray.time.after(1.0, lambda: ref.settle(error=ActorUnavailableError("out of reach")))
        elif not self.alive:
            ref.settle(error=RayActorError("dead"))
        elif self.up:
            ref.settle(self._told())
        else:
            self.asked.append(ref)
        return ref

    def _recall(self) -> Ref:
        self.recalled = True
        return Ref(True)

    def _told(self) -> Pulse:
        counted = 0
        if self.calls and self.calls[0].begun:
            call = self.calls[0]
            share = min(self.ray.time.now - call.begun, call.worked) / max(call.seconds, 1e-9)
            counted = int(call.task.count * min(share, 1.0)) if call.seconds < math.inf else 0
        assert self.node is not None
        return Pulse(counted, self.done + counted + 1, self.node.name)

    def place(self, node: Node) -> None:
        self.node = node
        node.actors.append(self)
        self.ray.time.after(self.ray.rates.start * self.ray.draw.uniform(0.8, 1.2), self._came_up)

    def _came_up(self) -> None:
        if not self.alive:
            return
        self.up = True
        for ref in self.asked:
            ref.settle(self._told())
        self.asked.clear()
        self.ray.time.after(self.ray.drawn_life(self.ray.rates.worker_life), lambda: self._dies("worker died"))
        if self.calls:
            self._begin()

    def _begin(self) -> None:
        """The oldest call begins: what will become of it is known here."""
        call, rates, draw = self.calls[0], self.ray.rates, self.ray.draw
        if rates.helped and (self.helper is None or not self.helper.alive):
            self.helper = draw.choice(self.ray.cluster)
        if self.recalled:
            self.calls.popleft().ref.settle(None)
            return self._begin() if self.calls else None
        call.begun = self.ray.time.now
        self.ray.totals.probed += call.task.only is not None
        unit = call.task.unit
        whole = rates.unit * math.exp(self.ray.noise(unit.index) * rates.spread) / self.speed
        call.seconds = call.worked = whole * call.task.count / max(unit.count, 1)
        killed = self.job.kills_at(call.task)
        if killed is not None:
            reached = call.seconds * (killed + 0.5) / call.task.count
            self.ray.time.after(reached, lambda: self._if_at(call, lambda: self._dies("poison")))
        elif draw.random() < rates.hang:
            call.worked = draw.random() * call.seconds
            self.ray.totals.tell("hung")
        else:
            fails = draw.random() < rates.error
            self.ray.time.after(call.seconds, lambda: self._if_at(call, lambda: self._ends(call, fails)))
        return None

    def _if_at(self, call: Call, what: Callable[[], None]) -> None:
        if self.alive and self.calls and self.calls[0] is call:
            what()

    def _ends(self, call: Call, fails: bool) -> None:
        """The receipt is written now; the driver hears of it a while later, or never."""
        if fails:
            self.ray.totals.tell("storage failed")
            self._settles(call, error=OSError("storage does not answer"))
            return
        index, known = call.task.unit.index, self.ray.totals.commits
        counts = execute(self.job, self.job, call.task, lambda _: None)
        if call.task.only is None and index not in known:
            self.ray.totals.useful += call.seconds
            known[index] = 1
        self.ray.time.after(self.ray.rates.commit, lambda: self._if_at(call, lambda: self._settles(call, dict(counts))))

    def _settles(self, call: Call, value: Any = None, error: Exception | None = None) -> None:
        self.ray.totals.busy += call.seconds
        self.done += call.task.count + 1
        self.calls.popleft()
        call.ref.settle(value, error)
        if self.calls:
            self._begin()

    def helper_lost(self) -> None:
        """Whoever helped it went with a node: its task ends in that, and it begins the next."""
        if self.alive and self.calls and self.calls[0].begun:
            self.ray.totals.tell("helper lost")
            self._settles(self.calls[0], error=NodeLost("the node that helped is gone"))

    def _dies(self, why: str) -> None:
        if self.alive:
            self.ray.totals.tell(why)
            self.dies()

    def dies(self) -> None:
        """Everything that is awaited of it fails."""
        if not self.alive:
            return
        self.alive, self.died = False, self.ray.time.now
        if self.calls and self.calls[0].begun:
            self._leaves(self.calls[0])
        doubted = (
            self.ray.draw.random() < self.ray.rates.doubt
            if self.node is None or self.node.alive
            else self.node.known_alive
        )
        for ref in (*(call.ref for call in self.calls), *self.asked):
            ref.settle(error=(ActorUnavailableError if doubted else RayActorError)("The actor died unexpectedly"))
        if self.node is not None:
            self.node.actors.remove(self)
        self.ray.place_waiting()

    def _leaves(self, call: Call) -> None:
        """What a death in the middle of a task leaves behind."""
        self.ray.totals.busy += min(self.ray.time.now - call.begun, call.seconds)
        task = call.task
        self.ray.totals.blame(task)
        if task.only is None and self.ray.draw.random() < self.ray.rates.torn:
            for name, data in files_of(task).items():
                Store(self.job.folder).publish(name, data)


class SimulatedRay:
    """What the pool uses of Ray."""

    exceptions = SimpleNamespace(
        RayError=RayError, RayActorError=RayActorError, ActorUnavailableError=ActorUnavailableError, WorkerCrashedError=type("WorkerCrashedError", (RayError,), {}),
        OutOfMemoryError=type("OutOfMemoryError", (RayError,), {}), NodeDiedError=type("NodeDiedError", (RayError,), {}),
        LocalRayletDiedError=type("LocalRayletDiedError", (RayError,), {}),
    )  # fmt: skip

    def __init__(self, rates: Rates, workers: int, seed: int) -> None:
        self.rates, self.seed, self.time, self.totals = rates, seed, Time(), Totals()
        self.draw, self.killed, self.speeds = random.Random(seed), False, list[float]()
        size, self.slots = rates.node_workers, workers
        self.cluster = [Node(f"node-{i}", min(size, workers - i * size)) for i in range(math.ceil(workers / size))]
        self.waiting: deque[Actor] = deque()
        for node in self.cluster:
            self._node_will_die(node)

    def drawn_life(self, mean: float) -> float:
        return self.draw.expovariate(1 / mean) if mean < math.inf else math.inf

    def noise(self, unit: int) -> float:
        """How much longer than others a unit takes, wherever it is done: normal."""
        return random.Random(self.seed * 1_000_003 + unit).gauss(0.0, 1.0)

    def _node_will_die(self, node: Node) -> None:
        self.time.after(self.drawn_life(self.rates.node_life), lambda: self._node_dies(node))

    def _node_dies(self, node: Node) -> None:
        self.totals.tell("node died")
        node.alive, node.known_alive = False, self.draw.random() < self.rates.doubt
        if node.known_alive:
            self.time.after(self.rates.notice, lambda: self._noticed(node))
        for actor in list(node.actors):
            actor.dies()
        for actor in [a for other in self.cluster for a in other.actors if a.helper is node]:
            actor.helper_lost()
        self.time.after(self.rates.repair, lambda: self._node_is_back(node))

    def _noticed(self, node: Node) -> None:
        node.known_alive = node.alive

    def _node_is_back(self, node: Node) -> None:
        node.alive = node.known_alive = True
        self._node_will_die(node)
        self.place_waiting()

    def place_waiting(self) -> None:
        for node in self.cluster:
            while node.alive and len(node.actors) < node.room and self.waiting:
                actor = self.waiting.popleft()
                if actor.alive:
                    actor.place(node)

    def spend(self, seconds: float) -> None:
        """The driver is busy; the world goes on."""
        if seconds:
            self.time.until(self.time.now + seconds)
        if self.killed:
            raise DriverKilled

    def remote(self, **_: Any) -> Callable[[Any], Any]:
        return lambda _: SimpleNamespace(remote=self._started)

    def _started(self, job: SimJob) -> Actor:
        self.spend(self.rates.message)
        actor = Actor(self, job)
        self.waiting.append(actor)
        self.place_waiting()
        return actor

    def is_initialized(self) -> bool:
        return True

    def put(self, value: Any) -> Any:
        return value

    def wait(self, refs: list[Ref], num_returns: int, timeout: float) -> tuple[list[Ref], list[Ref]]:
        self.spend(self.rates.wait * len(refs))

        if timeout and not any(ref.ready for ref in refs):  # whoever waits for a time waits for one
            wanted, came = set(refs), Ref.came
            came.clear()
            self.time.until(self.time.now + timeout, lambda: self.killed or not wanted.isdisjoint(came))
        self.spend(0)
        ready = [ref for ref in refs if ref.ready][:num_returns]
        return ready, []

    def get(self, ref: Ref) -> Any:
        self.spend(self.rates.message)
        assert ref.ready, "the driver would wait for ever"
        if ref.error is not None:
            raise ref.error
        return ref.value

    def kill(self, actor: Actor) -> None:
        actor.dies()

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": node.name, "Alive": node.known_alive} for node in self.cluster]

    @contextmanager
    def driver(self) -> Iterator[None]:
        """One life of the driver: with it all its actors die."""
        self.killed, over = False, [False]

        def kill() -> None:
            if not over[0]:
                self.killed = True
                self.totals.tell("driver killed")

        self.time.after(self.drawn_life(self.rates.driver_life), kill)
        try:
            yield
        finally:
            over[0], self.killed = True, False
            self.waiting.clear()
            for node in self.cluster:
                for actor in list(node.actors):
                    actor.dies()


@dataclass(frozen=True)
class Ended:
    """How a simulated run went. ``runs`` are the times the command was given, ``seconds`` what passed in the simulation."""

    runs: int
    seconds: float
    ideal: float
    workers: int
    totals: Totals

    @property
    def efficiency(self) -> float:
        """The time of the same work on the same workers, had nothing gone wrong and nobody waited, over the time it took."""
        return self.ideal / max(self.seconds, 1e-9)

    @property
    def utilisation(self) -> float:
        return self.totals.busy / max(self.seconds * self.workers, 1e-9)

    @property
    def wasted(self) -> float:
        """The share of the work that went into no receipt."""
        return 1 - self.totals.useful / max(self.totals.busy, 1e-9)


def simulate(job: SimJob, workers: int, rates: Rates, seed: int, limit: int = 200, **settings: Any) -> Ended:
    """Run ``job`` to its end, giving the command again where the driver was killed or storage failed too often."""
    ray = SimulatedRay(rates, workers, seed)

    def pool(job: Any, size: int, options: dict[str, Any], stall: float) -> RayPool:
        return RayPool(job, size, options, stall, ray, lambda: ray.time.now)

    chosen = RunSettings.model_validate({"workers": workers, **settings})
    ground = Ground(pool, lambda: [{"CPU": float(n.room)} for n in ray.cluster if n.alive], lambda: ray.time.now)
    engine = Engine(chosen, Console(quiet=True), Events(None), Stopping(0), lambda: None, ground)
    for runs in range(1, limit + 1):
        try:
            with ray.driver():
                engine.run(job)
            return Ended(runs, ray.time.now, _ideal(job, rates, ray), workers, ray.totals)
        except (DriverKilled, RunFailed):
            ray.time.until(ray.time.now + rates.down)
    raise AssertionError(f"not done after {limit} runs")


def _ideal(job: SimJob, rates: Rates, ray: SimulatedRay) -> float:
    """All units' work over the speed of the workers that were started first."""
    work = sum(rates.unit * math.exp(ray.noise(unit.index) * rates.spread) for unit in job.units)
    return work / sum(ray.speeds[: ray.slots])
