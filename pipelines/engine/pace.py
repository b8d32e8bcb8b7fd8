"""How long units take, and which of those that run are far behind: a slow node must not hold up a whole run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipelines.engine.contract import Task

BEHIND = 3.0  # times as long as half of the others took


@dataclass
class Pace:
    """Durations of whole units, from lease to end.

    patience   seconds for which a unit is never called late
    """

    patience: float
    clock: Callable[[], float] = time.monotonic
    _since: dict[int, float] = field(default_factory=dict)
    _took: list[float] = field(default_factory=list)

    def leased(self, task: Task) -> None:
        if task.only is None:
            self._since[task.unit.index] = self.clock()

    def done(self, task: Task) -> None:
        self._took.append(self.clock() - self._since[task.unit.index])

    def late(self, tasks: Iterable[Task]) -> list[Task]:
        """Those of the whole units in ``tasks`` that are far behind, the one that was leased first in front."""
        limit = max(self.patience, BEHIND * statistics.median(self._took)) if self._took else None
        now = self.clock()
        late = [t for t in tasks if limit is not None and t.only is None and now - self._since[t.unit.index] > limit]
        return sorted(late, key=lambda t: self._since[t.unit.index])
