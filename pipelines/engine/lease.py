"""Who does which unit next, and what happens when a worker dies of one. Pure state: no clock, no processes.

A unit that kills its worker is tried ``attempts`` times, then searched: halves of it are run as probes until the utterances
that kill are found; those are quarantined and the unit is done without them. Every path is bounded.

A unit that runs far behind may be leased a second time, once nothing else is left to do: whichever lease ends first counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pipelines.engine.contract import Task, Unit

SINGLE_TRIES = 2  # times a single utterance must kill its worker to be called poison
LOSSES = 5  # nodes that may go from under a unit before it is taken for the cause
MAX_SEARCHES = 3  # searches of one unit before it is given up


@dataclass
class _Search:
    """The hunt for poison in one unit."""

    reason: tuple[str, str]
    open: int = 0
    found: dict[int, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Leases:
    """The state of all units of a run.

    attempts        deaths of a unit before it is searched
    error_retries   exceptions of a unit before it has failed
    """

    attempts: int
    error_retries: int
    _queue: deque[Task] = field(default_factory=deque)
    _running: dict[int, list[Task]] = field(default_factory=dict)  # by unit: a thousand workers end tasks all the time
    _deaths: dict[int, int] = field(default_factory=dict)
    _errors: dict[int, int] = field(default_factory=dict)
    _losses: dict[int, int] = field(default_factory=dict)
    _searches: dict[int, int] = field(default_factory=dict)
    _hunts: dict[int, _Search] = field(default_factory=dict)
    _poison: dict[int, dict[int, tuple[str, str]]] = field(default_factory=dict)
    _twice: set[int] = field(default_factory=set)
    _done: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)

    @classmethod
    def over(cls, units: Iterable[Unit], attempts: int, error_retries: int) -> Leases:
        return cls(attempts, error_retries, deque(Task(unit) for unit in units))

    @property
    def unfinished(self) -> bool:
        return bool(self._queue) or any(unit not in self._done for unit in self._running)

    @property
    def queued(self) -> int:
        """How many tasks wait for a lease."""
        return len(self._queue)

    @property
    def done(self) -> int:
        """How many units are done."""
        return len(self._done)

    @property
    def running(self) -> list[Task]:
        """The tasks that are leased, without those of units that another lease has done."""
        return [task for unit, tasks in self._running.items() if unit not in self._done for task in tasks]

    def next(self) -> Task | None:
        """The next task to lease, or None while all that is left is running."""
        if not self._queue:
            return None
        return self._leased(self._queue.popleft())

    def _leased(self, task: Task) -> Task:
        self._running.setdefault(task.unit.index, []).append(task)
        return task

    def ahead(self, keep: int) -> Task | None:
        """The next task, to wait behind one that runs, or None.

        Only a fresh one may wait (a probe, or a unit that met trouble, goes to a worker of its own), and only while more
        than ``keep`` are queued: the last ones go to whoever is idle first.
        """
        return self.next() if len(self._queue) > keep and self._queue[0].fresh else None

    def again(self, task: Task) -> Task | None:
        """A second lease of a whole unit that runs, or None: while anything else is to do, for a probe, and never a third."""
        if self._queue or task.only is not None or task.unit.index in self._twice:
            return None
        self._twice.add(task.unit.index)
        return self._leased(replace(task, attempt=task.attempt + 1))

    def _over(self, task: Task) -> bool:
        """Strike out a lease. Returns whether others of the same unit run."""
        tasks = self._running[task.unit.index]
        tasks.remove(task)
        if not tasks:
            del self._running[task.unit.index]
        return bool(tasks)

    def _ended(self, task: Task) -> bool:
        """Take a lease back. False where the unit is done, or another lease of it still runs: then that one counts."""
        others = self._over(task)
        return task.only is not None or not (task.unit.index in self._done or others)

    def returned(self, task: Task) -> None:
        """The task came back without having been begun: it is next again, and nothing is held against it."""
        if self._ended(task):
            self._queue.appendleft(task)

    def completed(self, task: Task) -> bool:
        """Returns whether that did the unit: not for a probe, nor for the second of two leases."""
        if task.only is not None:
            self._over(task)
            self._probe_ended(task.unit)
            return False
        self._ended(task)
        if task.unit.index in self._done:
            return False
        self._done.add(task.unit.index)
        return True

    def errored(self, task: Task, message: str) -> None:
        """The task raised: storage failed, say. Tried again a few times; an utterance is never blamed for it."""
        unit = task.unit.index
        if not self._ended(task) or unit in self.failed:
            return
        self._errors[unit] = self._errors.get(unit, 0) + 1
        if self._errors[unit] <= self.error_retries:
            whole = task.only is None  # a probe's attempts are its deaths: an error is no evidence of poison
            self._queue.append(replace(task, attempt=task.attempt + 1) if whole else task)
            return
        self.failed[unit] = message
        self._forget(unit)

    def lost(self, task: Task, reason: tuple[str, str]) -> None:
        """The node went, with all its workers: done again elsewhere, and held against the unit only where it happens again and again."""
        unit = task.unit.index
        self._losses[unit] = self._losses.get(unit, 0) + 1
        if self._losses[unit] > LOSSES:
            self.died(task, reason)
            return
        if self._ended(task) and unit not in self.failed:
            self._queue.append(replace(task, attempt=task.attempt + 1) if task.only is None else task)

    def died(self, task: Task, reason: tuple[str, str]) -> None:
        """The worker died, or was stopped, while it did this task."""
        if not self._ended(task) or task.unit.index in self.failed:  # another probe of it gave it up in the meantime
            return
        if task.only is not None:
            self._probe_died(task, reason)
            return
        unit = task.unit.index
        self._deaths[unit] = self._deaths.get(unit, 0) + 1
        if self._deaths[unit] < self.attempts:  # soon: a search takes long, and should not be what the run ends with
            self._queue.appendleft(replace(task, attempt=task.attempt + 1))
        elif self._searches.get(unit, 0) >= MAX_SEARCHES:
            self.failed[unit] = f"killed its worker {self._deaths[unit]} times; no single utterance does: {reason[1]}"
        else:
            self._searches[unit] = self._searches.get(unit, 0) + 1
            self._hunts[unit] = _Search(reason)
            self._split(task.unit, 0, task.unit.count)

    def _split(self, unit: Unit, first: int, end: int) -> None:
        """Queue probes for the halves of positions ``first`` .. ``end``, ahead of all other work."""
        middle = (first + end) // 2
        for part in [(first, middle), (middle, end)] if end - first > 1 else [(first, end)]:
            self._probe(unit, part, 1)

    def _probe(self, unit: Unit, part: tuple[int, int], attempt: int) -> None:
        self._hunts[unit.index].open += 1
        self._queue.appendleft(Task(unit, self._poison.get(unit.index, {}), part, attempt))

    def _probe_died(self, task: Task, reason: tuple[str, str]) -> None:
        assert task.only is not None
        hunt, (first, end) = self._hunts[task.unit.index], task.only
        if end - first > 1:
            self._split(task.unit, first, end)
        elif task.attempt < SINGLE_TRIES:
            self._probe(task.unit, task.only, task.attempt + 1)
        else:
            hunt.found[first] = reason
        self._probe_ended(task.unit)

    def _probe_ended(self, unit: Unit) -> None:
        """When the last probe of a hunt has ended, do the unit without what was found."""
        hunt = self._hunts.get(unit.index)
        if hunt is None:
            return
        hunt.open -= 1
        if hunt.open:
            return
        del self._hunts[unit.index]
        poison = self._poison.setdefault(unit.index, {})
        poison.update(hunt.found)
        self._queue.appendleft(Task(unit, dict(poison), attempt=self._deaths[unit.index] + 1))

    def _forget(self, unit: int) -> None:
        """Drop what is queued of a unit that has failed: probes, where it was being searched."""
        if self._hunts.pop(unit, None) is not None:
            self._queue = deque(t for t in self._queue if t.unit.index != unit)
