"""What became of every utterance, and how long it took: one pass over receipts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from manifests.ledger import Outcome
from manifests.receipt import Receipt

STAGE = "tokens"  # the stage whose outcomes are the ledger
LISTED = 200  # quarantined utterances listed one by one
SHOWN_IDS = 3  # example ids of a reason
UNKNOWN_REASON = "no description of this reason"


@dataclass
class Reason:
    """One reason why utterances were not written."""

    status: str
    code: str
    count: int = 0
    ids: list[str] = field(default_factory=list)
    error: str | None = None

    def add(self, outcome: Outcome) -> None:
        self.count += 1
        if len(self.ids) < SHOWN_IDS:
            self.ids.append(outcome.id)
        self.error = self.error or outcome.error


@dataclass
class StageTime:
    """What one stage took, summed over its units."""

    stage: str
    units: int = 0
    seconds: float = 0.0
    audio_seconds: float = 0.0
    longest: float = 0.0
    again: int = 0

    def add(self, receipt: Receipt) -> None:
        seconds = float(receipt.made.get("seconds") or 0.0)
        self.units += 1
        self.seconds += seconds
        self.longest = max(self.longest, seconds)
        self.again += int(receipt.made.get("attempt") or 1) > 1
        for amounts in (receipt.facts.get("splits") or {}).values():
            self.audio_seconds += float(amounts.get("seconds") or 0.0) + float(amounts.get("query_seconds") or 0.0)


@dataclass
class Endings:
    """Outcomes by status and reason, the quarantined ones, and the stages' times."""

    written: int = 0
    reasons: dict[tuple[str, str], Reason] = field(default_factory=dict)
    quarantined: list[Outcome] = field(default_factory=list)
    times: dict[str, StageTime] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        """Count one receipt; only those of :data:`STAGE` say what became of utterances."""
        self.times.setdefault(receipt.stage, StageTime(receipt.stage)).add(receipt)
        if receipt.stage == STAGE:
            for outcome in receipt.outcomes:
                self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        if outcome.status == "written":
            self.written += 1
            return
        code = outcome.reason or "unstated"
        self.reasons.setdefault((outcome.status, code), Reason(outcome.status, code)).add(outcome)
        if outcome.status == "quarantined" and len(self.quarantined) < LISTED:
            self.quarantined.append(outcome)

    def counts(self, status: str) -> Counter[str]:
        """Utterances of a status by reason."""
        return Counter({r.code: r.count for r in self.reasons.values() if r.status == status})

    @property
    def sorted_reasons(self) -> list[Reason]:
        """Filtered before quarantined, the most frequent first."""
        return sorted(self.reasons.values(), key=lambda r: (r.status, -r.count, r.code))


def meaning(code: str, reasons: Mapping[str, str]) -> str:
    """What a reason code means; a query's reason is the sound's own with ``query_`` before it."""
    if code in reasons:
        return reasons[code]
    base = code.removeprefix("query_")
    return f"Of the query: {reasons[base]}" if base != code and base in reasons else UNKNOWN_REASON
