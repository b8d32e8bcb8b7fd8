"""What became of every utterance: exactly one of written, filtered, quarantined; until then pending. The sums balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["written", "filtered", "quarantined"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one utterance. ``reason`` is a stable code, ``error`` a sentence with the particulars."""

    id: str
    status: Status
    reason: str | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {k: v for k in self.__slots__ if (v := getattr(self, k)) is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        return cls(**value)


@dataclass(frozen=True)
class Ledger:
    """Counts over outcomes, against the number of utterances planned."""

    planned: int
    written: int = 0
    filtered: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        return self.planned - self.written - sum(self.filtered.values()) - sum(self.quarantined.values())

    @property
    def settled(self) -> bool:
        return self.pending == 0

    def to_json(self) -> dict[str, Any]:
        return {
            "planned": self.planned, "written": self.written, "pending": self.pending,
            "filtered": dict(sorted(self.filtered.items())), "quarantined": dict(sorted(self.quarantined.items())),
        }  # fmt: skip


def fold(planned: int, outcomes: Iterable[Outcome]) -> Ledger:
    """Count outcomes. Raises ValueError when more utterances ended than were planned: something was done twice."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        counts.setdefault(outcome.status, Counter())[outcome.reason or ""] += 1
    return add_up(planned, counts)


def add_up(planned: int, ends: Mapping[str, Mapping[str, int]]) -> Ledger:
    """The ledger of counts by status and reason. Raises as :func:`fold` does."""
    written = sum(ends.get("written", {}).values())
    ledger = Ledger(planned, written, dict(ends.get("filtered", {})), dict(ends.get("quarantined", {})))
    if ledger.pending < 0:
        raise ValueError(f"{-ledger.pending} more utterances ended than the {planned} that were planned")
    return ledger
