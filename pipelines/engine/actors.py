"""Tasks on Ray actors: one runs, one may wait behind it; watched for death and for standing still.

Tasks of one actor run one after the other, so only the oldest can be to blame for what happens to it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from pipelines.engine.commit import committed, execute, node
from pipelines.engine.contract import Job, NodeLost, RunFailed, Task, Worker
from pipelines.engine.pool import ABSENT, CUT_OFF, DIED, LOST, SILENT, STALLED, Event, one_line

LISTEN = 2.0  # seconds between two questions to an actor: each takes time from its work
ASKING = 0.005  # seconds between two questions to any: a thousand actors must not keep the driver busy with them
LOOK = 0.5  # seconds between two looks at all of them
WATCH = "watch"  # the group of an actor's methods that answer while it works
STARTS = 3  # times in a row that an actor may die before its first answer


@dataclass(frozen=True, slots=True)
class Pulse:
    """How far an actor is: utterances finished in its task, and signs of life since it started; and the node it runs on."""

    count: int
    signs: int
    node: str = ""


STILL = Pulse(0, 0)


def _watching(method: Any) -> Any:
    """Answered by a second thread, while the first is at work: what ``ray.method`` says of a method, said without importing Ray.

    Said with the class, because a driver that comes through Ray's client cannot say it with a call.
    """
    method.__ray_concurrency_group__ = WATCH
    return method


class _Actor:
    """What runs inside a Ray worker process: one stage's worker, and a second thread that answers."""

    def __init__(self, job: Job) -> None:
        self._job, self._pulse, self._recalled = job, Pulse(0, 0, node()), False
        self._worker: Worker | None = None

    def _beat(self, count: int) -> None:
        self._pulse = replace(self._pulse, count=self._pulse.count + count, signs=self._pulse.signs + 1)

    def execute(self, task: Task) -> dict[str, int] | None:
        """The counts of the task; None if tasks were recalled before it was begun."""
        if self._recalled:
            return None
        self._pulse = replace(self._pulse, count=0, signs=self._pulse.signs + 1)
        self._worker = self._worker or self._job.open()
        return dict(execute(self._job, self._worker, task, self._beat))

    @_watching
    def pulse(self) -> Pulse:
        return self._pulse

    @_watching
    def recall(self) -> None:
        self._recalled = True


class _Lease(NamedTuple):
    """A task, and the reference that Ray gave: to its result or, before and behind that, to the next word of its actor.

    ``asked``: not begun, its actor is to answer first. ``doubted``: its actor was out of reach when there was something to tell.
    """

    task: Task
    result: Any
    state: Literal["asked", "begun", "doubted"] = "begun"


@dataclass
class _Slot:
    """One actor and its tasks, oldest first.

    question  a ``pulse`` that is not answered yet
    ready     whether it ever answered: on a full cluster it may be long in coming, or never come
    moved     when the oldest task was last seen to go on
    starts    actors in a row that died before their first answer
    """

    actor: Any
    question: Any
    starts: int
    leases: deque[_Lease] = field(default_factory=deque)
    ready: bool = False
    recalled: bool = False
    pulse: Pulse = STILL
    asked: float = 0.0
    moved: float = 0.0

    @property
    def lost(self) -> bool:
        return self.starts >= STARTS

    @property
    def awaited(self) -> Any:
        """What the pool waits for: the end of the oldest task, or the first answer."""
        if self.leases:
            return self.leases[0].result
        return None if self.ready or self.lost else self.question


class RayPool:
    """A slot for each actor."""

    def __init__(
        self,
        job: Job,
        workers: int,
        options: dict[str, Any],
        stall_seconds: float,
        ray: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if ray is None:
            import ray

        self._ray, self._clock, self._stall = ray, clock, stall_seconds
        self._listen_every = min(max(LISTEN, workers * ASKING), stall_seconds / 4)
        self._look_every, self._looked = min(LOOK, stall_seconds / 8), clock()
        self._job, self._job_ref = job, ray.put(job)
        self._options = {"concurrency_groups": {WATCH: 1}, "max_restarts": 0, **options}
        self._slots = [self._start() for _ in range(workers)]

    def _start(self, starts: int = 0) -> _Slot:
        actor = self._ray.remote(**self._options)(_Actor).remote(self._job_ref)
        return _Slot(actor, actor.pulse.remote(), starts)

    @property
    def size(self) -> int:
        return len(self._slots)

    @property
    def ready(self) -> bool:
        return any(slot.ready for slot in self._slots)

    def idle(self) -> list[int]:
        return [i for i, slot in enumerate(self._slots) if slot.ready and not slot.leases]

    def spare(self) -> list[int]:
        return [i for i, slot in enumerate(self._slots) if len(slot.leases) == 1 and slot.leases[0].task.fresh]

    def submit(self, slot: int, task: Task) -> None:
        """Hand over a task. A part of a unit, in search of what kills, goes to an actor that has just shown that it lives.

        For nobody watches those that are idle: one that died meanwhile would be a death that an innocent utterance is blamed for.
        """
        state = self._slots[slot]
        if not state.leases:
            self._begin(state)
        if task.only is None:
            state.leases.append(_Lease(task, state.actor.execute.remote(task)))
        else:
            state.leases.append(_Lease(task, state.actor.pulse.remote(), "asked"))

    def _begin(self, slot: _Slot) -> None:
        """Another task is the oldest now: its deadline counts from here."""
        slot.moved, slot.question, slot.pulse = self._clock(), None, replace(slot.pulse, count=0)

    def beats(self) -> int:
        return sum(slot.pulse.count for slot in self._slots if slot.leases and slot.leases[0].task.only is None)

    def recall(self) -> None:
        for slot in self._slots:
            if len(slot.leases) > 1 and not slot.recalled:
                slot.actor.recall.remote()
                slot.recalled = True

    def poll(self, seconds: float) -> list[Event]:
        watched = {slot.awaited: i for i, slot in enumerate(self._slots) if slot.awaited is not None}
        ready, _ = self._ray.wait(list(watched), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(watched), num_returns=len(watched), timeout=0)
        events = [event for one in ready for event in self._answered(watched[one])]
        return events + self._watch()

    def _answered(self, i: int) -> list[Event]:
        if self._slots[i].leases:
            return self._ended(i)
        self._greeted(i)
        return []

    def _greeted(self, i: int) -> None:
        """An actor came up, or died on the way. Raises :class:`RunFailed` when none is left to try."""
        slot = self._slots[i]
        try:
            slot.pulse, slot.question = self._ray.get(slot.question), None
            slot.ready = True
        except self._ray.exceptions.RayError as error:
            slot.starts += 1
            if not slot.lost:
                self._slots[i] = self._start(slot.starts)
            elif all(other.lost for other in self._slots):
                raise RunFailed(f"{self._job.stage}: {ABSENT} ({one_line(error)}); run again to resume") from error

    def _ended(self, i: int) -> list[Event]:
        slot, errors = self._slots[i], self._ray.exceptions
        task, result, state = slot.leases[0]
        if state == "asked":
            return self._met(i)
        try:
            counts = self._ray.get(result)
            if state == "doubted":  # it is alive, and was not to be reached when it had something to tell
                return self._gone(i, "lost", CUT_OFF)
            event = Event(i, "returned" if counts is None else "done", task, counts)
        except errors.ActorUnavailableError:  # whether it is dead, and its node with it, is found out a while later
            slot.leases[0] = _Lease(task, slot.actor.pulse.remote(), "doubted")
            return []
        except (errors.RayActorError, errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError):
            return self._gone(i, *(("lost", LOST) if self._node_is_gone(slot) else ("died", DIED[1])))
        except errors.LocalRayletDiedError:  # no task's fault, and nothing more can be asked
            raise
        except Exception as error:  # noqa: BLE001 - Ray raises the stage's own error, of any type
            cause = getattr(error, "cause", error)
            if isinstance(cause, MemoryError):  # an utterance that eats memory, short of being killed for it
                self._ray.kill(slot.actor)
                return self._gone(i, "died", DIED[1])
            event = Event(i, "lost" if isinstance(cause, NodeLost) else "error", task, message=one_line(error))
        slot.leases.popleft()
        self._begin(slot)
        return [event]

    def _met(self, i: int) -> list[Event]:
        """An actor that was asked whether it lives has answered, and begins; or it does not, and the task comes back."""
        slot = self._slots[i]
        task, answer, *_ = slot.leases[0]
        try:
            self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            return self._gone(i, "returned", one_line(error))
        slot.leases[0] = _Lease(task, slot.actor.execute.remote(task))
        self._begin(slot)
        return []

    def _node_is_gone(self, slot: _Slot) -> bool:
        """Whether the whole node of an actor is down, and not the actor alone."""
        up = {found["NodeID"] for found in self._ray.nodes() if found["Alive"]}
        return bool(slot.pulse.node) and slot.pulse.node not in up

    def _gone(self, i: int, kind: Literal["died", "lost", "stalled", "returned"], message: str) -> list[Event]:
        """What to tell of an actor that died or was stopped; another takes its place.

        Its oldest task is to blame and the one behind it comes back, unless the oldest has its receipt: then that is done,
        only the word of it was lost, and the other one had begun.
        """
        oldest, *waiting = [lease.task for lease in self._slots[i].leases]
        self._ray.kill(self._slots[i].actor)  # one that is only out of reach would keep its room
        self._slots[i] = self._start()
        counts = committed(self._job, oldest)
        if counts is None:
            return [Event(i, kind, oldest, message=message), *(Event(i, "returned", task) for task in waiting)]
        return [Event(i, "done", oldest, counts), *(Event(i, kind, task, message=message) for task in waiting)]

    def _watch(self) -> list[Event]:
        """Ask actors how far they are, however many tasks end meanwhile; stop those that stand still."""
        now = self._clock()
        if now - self._looked < self._look_every:
            return []
        self._excuse(now - self._looked - self._listen_every)
        self._looked = now
        busy = [i for i, slot in enumerate(self._slots) if slot.leases]
        self._listen([self._slots[i] for i in busy])
        still = [i for i in busy if now - self._slots[i].moved > self._stall]
        return [event for i in still for event in self._stopped(i)]

    def _stopped(self, i: int) -> list[Event]:
        """An actor stood still for too long, or its node is gone and nobody says so."""
        if self._node_is_gone(self._slots[i]):
            return self._gone(i, "lost", LOST)
        if self._slots[i].leases[0].state == "asked":
            return self._gone(i, "returned", SILENT)
        return self._gone(i, "stalled", STALLED[1].format(seconds=self._stall))

    def _excuse(self, seconds: float) -> None:
        """Time in which nobody looked is held against no actor: the driver was busy, or stopped."""
        if seconds > 0:
            for slot in self._slots:
                slot.moved += seconds

    def _listen(self, slots: list[_Slot]) -> None:
        """Take the answers that are there; ask whom was not asked for a while."""
        asked = {slot.question: slot for slot in slots if slot.question is not None}
        if asked:
            for answer in self._ray.wait(list(asked), num_returns=len(asked), timeout=0)[0]:
                self._heard(asked[answer])
        for slot in slots:
            if slot.question is None and self._looked - slot.asked >= self._listen_every:
                slot.question, slot.asked = slot.actor.pulse.remote(), self._looked

    def _heard(self, slot: _Slot) -> None:
        try:
            pulse = self._ray.get(slot.question)
        except self._ray.exceptions.RayError:  # the actor died: its result says so at the next poll
            pulse = slot.pulse
        slot.question = None
        if pulse.signs != slot.pulse.signs:
            slot.pulse, slot.moved = pulse, self._looked

    def close(self) -> None:
        for slot in self._slots if self._ray.is_initialized() else ():
            self._ray.kill(slot.actor)
