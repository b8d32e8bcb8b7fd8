"""What the receipts of a stage add up to, one after the other: nothing is kept of a single one, however many there are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from manifests.receipt_index import Brief
from pipelines.engine.contract import Unit


@dataclass
class Made:
    """Sums over receipts.

    units, bytes    receipts, and what was written for them, theirs included
    seconds, took   of audio, and of making them
    cores, waited   seconds of these in which workers had a core, and in which they could have gone on and had none; None where one does not say
    begun, ended    when the first was begun and the last was done; 0 where there is none
    ends            utterances by status and reason
    splits          written seconds by split
    """

    units: int = 0
    bytes: int = 0
    seconds: float = 0.0
    took: float = 0.0
    cores: float | None = 0.0
    waited: float | None = 0.0
    ended: float = 0.0
    ends: dict[str, Counter[str]] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)
    _begun: float = math.inf

    @classmethod
    def of(cls, made: Iterable[Brief], units: Sequence[Unit]) -> Made:
        """Of receipts of ``units``; of no known units, without their audio."""
        whole = cls()
        for brief in made:
            whole.add(brief, units[brief.unit].seconds if units else 0.0)
        return whole

    def add(self, brief: Brief, seconds: float) -> None:
        self.units += 1
        self.bytes += brief.bytes
        self.seconds += seconds
        self.took += brief.took
        self.cores = None if self.cores is None or brief.core is None else self.cores + brief.core
        self.waited = None if self.waited is None or brief.waited is None else self.waited + brief.waited
        self._begun, self.ended = min(self._begun, brief.started), max(self.ended, brief.started + brief.took)
        for status, reasons in brief.ends.items():
            self.ends.setdefault(status, Counter()).update(reasons)
        self.splits.update(brief.seconds)  # type: ignore[arg-type]  # seconds are floats

    @property
    def begun(self) -> float:
        return self._begun if self.units else 0.0
