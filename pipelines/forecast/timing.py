"""An engine that times a sample of the units it is given, in place of one that does them all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from manifests.receipt import read_receipt
from manifests.storage import Store
from pipelines.engine.contract import Job, RunFailed, Unit
from pipelines.engine.room import Demand
from pipelines.engine.run import Engine
from pipelines.engine.stopping import Interrupted
from pipelines.forecast.children import Child, Died, Here, Process, Work, do, opened, pass_over, ready, warm
from pipelines.forecast.crew import local_cores

FEWEST = 3  # units of a stage, however long they take
SHARE = 0.01  # of all units, where no minutes are named
MOST = 500  # units of a stage: more of them tell no more
MINUTES = 5.0  # for all stages together, where none are named
LISTEN = 0.5  # seconds between looks at the signals


@dataclass(frozen=True)
class Sampling:
    """How much is looked at: of each stage so many units at the most, beyond the fewest only as long as its seconds last."""

    minutes: float | None = None

    def most(self, units: int, workers: int) -> int:
        """Units to look at out of so many."""
        fewest = max(FEWEST, workers)
        wanted = MOST if self.minutes is not None else min(-int(-units * SHARE // 1), MOST)
        return min(units, max(fewest, wanted))

    def seconds(self, stages: int) -> float:
        return 60 * (MINUTES if self.minutes is None else self.minutes) / max(stages, 1)


@dataclass(frozen=True)
class Timing:
    """How a stage's sample went.

    start   seconds from a child's start until it was warm, in the mean, without those in which other programs had its core
    done    units, by index
    died    units that killed their process: passed over, and left out of what is reckoned with
    """

    job: Job
    workers: int
    start: float
    done: frozenset[int]
    died: tuple[int, ...]

    @property
    def units(self) -> tuple[Unit, ...]:
        """Those that were begun, from the first on."""
        return self.job.units[: len(self.done) + len(self.died)]


@dataclass
class TimingEngine(Engine):
    """Does the head of a job's units with as many workers as this machine has cores (or GPUs) for.

    gpus      GPUs here
    seconds   for each stage of units
    """

    gpus: int = 0
    seconds: float = 60.0
    timings: dict[str, Timing] = field(default_factory=dict)

    def local(self, stage: str) -> int:
        """Workers of a stage on this machine; 0: in this process."""
        if self.settings.workers == 0:
            return 0
        demand = Demand.of(self.settings.of(stage)).amounts
        cores = local_cores() / max(demand.get("CPU", 0.0), 1e-9)
        there = min(cores, self.gpus / demand["GPU"]) if demand.get("GPU") and self.gpus else cores
        return max(int(min(there, 4 * local_cores())), 1)

    def run(self, job: Job) -> int:
        """Do units that have no receipt from the first on, for as long as there is time; how many were done."""
        todo = [unit for unit in job.units if read_receipt(Store(job.folder), unit.index) is None]
        if not todo:
            return 0
        self.console.print(f"probe: {job.stage}")
        count = min(max(self.local(job.stage), 1), len(todo))
        children = [self.child(job, i) for i in range(count)]
        try:
            self.timings[job.stage] = _Sample(self, job, todo, children, time.monotonic()).taken()
        finally:
            for child in children:
                child.close()
        return len(self.timings[job.stage].done)

    def child(self, job: Job, number: int) -> Child:
        if not self.local(job.stage):
            return Here(job)
        asks = Demand.of(self.settings.of(job.stage)).amounts.get("GPU")
        return Process(job, {"CUDA_VISIBLE_DEVICES": str(number % self.gpus)} if asks and self.gpus else {})

    def asked(self, job: Job, work: Work, argument: Any) -> Any:
        """What one child answers; None where it dies of it."""
        child = self.child(job, 0)
        try:
            child.ask(work, argument)
            while not ready([child], LISTEN):
                self.check()
            return child.answer()
        except Died:
            return None
        finally:
            child.close()

    def check(self) -> None:
        if self.stopping.draining:
            raise Interrupted("probe: stopped; nothing is kept of it")


@dataclass
class _Sample:
    """One stage's sample while it is taken."""

    engine: TimingEngine
    job: Job
    todo: Sequence[Unit]
    children: list[Child]
    began: float
    next: int = 0
    doing: dict[int, Unit | None] = field(default_factory=dict)  # by child; None: it warms up
    starts: list[float] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    died: list[int] = field(default_factory=list)

    def taken(self) -> Timing:
        for i in range(len(self.children)):
            self._warm(i)
        while self.doing:
            self.engine.check()
            for i in ready([self.children[i] for i in list(self.doing)], LISTEN):
                self._answered(list(self.doing)[i])
        start = sum(self.starts) / max(len(self.starts), 1)
        return Timing(self.job, len(self.children), start, frozenset(self.done), tuple(self.died))

    def _warm(self, i: int) -> None:
        """A job of one unit is all warming up: it is done once, from the start."""
        self.doing[i] = None
        self.children[i].ask(warm, self.todo[0]) if len(self.job.units) > 1 else self.children[i].ask(opened, None)

    def _answered(self, i: int) -> None:
        unit, child = self.doing.pop(i), self.children[i]
        try:
            waited = child.answer()
        except Died:
            self._lost(i, unit)
            return
        if unit is None:
            busy = 0.0 if waited is None or child.waited is None else waited - child.waited
            self.starts.append(max(time.monotonic() - self.began - busy, 0.0))
        elif unit.index not in self.died:
            self.done.add(unit.index)
        self._begin(i)

    def _lost(self, i: int, unit: Unit | None) -> None:
        """Another child takes the place of one that died, and passes over what killed it."""
        if unit is None or unit.index in self.died:
            raise RunFailed(f"probe: {self.job.stage}: the process that works on it dies as it starts")
        self.died.append(unit.index)
        self.children[i] = self.engine.child(self.job, i)
        self.doing[i] = unit
        self.children[i].ask(pass_over, unit)

    def _begin(self, i: int) -> None:
        """The next unit, if there is time for another."""
        enough = self.next >= max(FEWEST, len(self.children))
        if self.next < len(self.todo) and not (enough and time.monotonic() - self.began > self.engine.seconds):
            self.doing[i] = self.todo[self.next]
            self.next += 1
            self.children[i].ask(do, self.doing[i])
