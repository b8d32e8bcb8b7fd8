"""How long units take, and which of those that run are far behind: a slow node must not hold up a whole run."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipelines.engine.contract import Task

BEHIND = 3.0  # times as long as half of the others took
STUCK = 1.5  # so many times as long, for one that waits behind another: it is none the worse for being begun elsewhere


@dataclass
class Pace:
    """Durations of whole units, from beginning to end. One that waits behind another has not begun.

    patience   seconds for which a unit is never called late
    """

    patience: float
    clock: Callable[[], float] = time.monotonic
    _since: dict[int, float] = field(default_factory=dict)
    _behind: dict[int, Task] = field(default_factory=dict)  # by slot
    _took: list[float] = field(default_factory=list)  # sorted

    def leased(self, task: Task, slot: int, waits: bool = False) -> None:
        """A slot has a task: begun, or waiting behind the one that runs there."""
        if waits:
            self._behind[slot] = task
        self._begun(task)

    def ended(self, slot: int) -> None:
        """What ran in a slot ended in some way: what waited behind it begins."""
        if (task := self._behind.pop(slot, None)) is not None:
            self._begun(task)

    def _begun(self, task: Task) -> None:
        if task.only is None:
            self._since[task.unit.index] = self.clock()

    def done(self, task: Task) -> None:
        insort(self._took, self.clock() - self._since[task.unit.index])

    @property
    def usual(self) -> float | None:
        """What half of the units took no longer than; None while none is done."""
        return self._took[len(self._took) // 2] if self._took else None

    def late(self, tasks: Iterable[Task]) -> list[Task]:
        """Those of the whole units in ``tasks`` that are far behind, or wait behind one that may be; the one that was begun first in front."""
        usual, now = self.usual, self.clock()
        if usual is None:
            return []
        waiting = {task.unit.index for task in self._behind.values()}
        limits = {False: max(self.patience, BEHIND * usual), True: STUCK * usual}
        late = [
            t for t in tasks if t.only is None and now - self._since[t.unit.index] > limits[t.unit.index in waiting]
        ]
        return sorted(late, key=lambda t: self._since[t.unit.index])
