"""What the page counts again from receipts and shards, against what ``dataset.json`` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.report.page import ReportInput


@dataclass(frozen=True)
class Check:
    """One thing that must hold, whether it does, and the figures."""

    holds: bool
    title: str
    detail: str


def checks(data: ReportInput) -> list[Check]:
    """The checks, in the order of the page."""
    ledger, found, ended = data.description["ledger"], data.survey, data.endings
    filtered, quarantined = sum(ledger["filtered"].values()), sum(ledger["quarantined"].values())
    total = ledger["written"] + filtered + quarantined
    same = (
        ended.written == ledger["written"]
        and ended.counts("filtered") == ledger["filtered"]
        and ended.counts("quarantined") == ledger["quarantined"]
    )
    frames = sum(int(amounts.get("frames", 0)) for amounts in data.description["splits"].values())
    return [
        Check(total == ledger["planned"], "The ledger balances",
              f"{ledger['written']:,} + {filtered:,} + {quarantined:,} = {total:,} of {ledger['planned']:,} planned"),
        Check(same, "Receipts agree with the ledger", "every outcome folded again, reason by reason"),
        Check(found.total.utterances == ledger["written"], "Every written utterance is in a shard",
              f"{found.total.utterances:,} samples read, {ledger['written']:,} written"),
        Check(found.total.frames == frames, "Speech tokens agree",
              f"{found.total.frames:,} frames read, {frames:,} in dataset.json"),
        Check(found.crossing == 0, "No speaker is in two splits",
              f"{found.crossing:,} of {len(found.speakers.shares):,} named speakers are"),
    ]  # fmt: skip
