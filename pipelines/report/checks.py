"""What the page counts again from receipts and shards, against what ``dataset.json`` says."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.report.collect import ReportInput


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
        _speakers(data),
        *_segments(data),
    ]  # fmt: skip


def _segments(data: ReportInput) -> list[Check]:
    """Of recordings that were cut up, what was heard is in an utterance, or was left out as silence."""
    said = data.description.get("segments")
    if said is None:
        return []
    heard, kept, dropped = (said[f"{name}_ms"] for name in ("heard", "kept", "dropped"))
    detail = (
        f"{kept / 1000:,.1f} s in {said['segments']:,} segments + {dropped / 1000:,.1f} s without speech "
        f"= {(kept + dropped) / 1000:,.1f} s of {heard / 1000:,.1f} s heard by the detector {said['detector']}"
    )
    return [Check(heard == kept + dropped, "Segments account for every second", detail)]


def _speakers(data: ReportInput) -> Check:
    """Splits that are made here keep speakers apart; splits that the corpus states are its own affair."""
    crossing, named = data.survey.crossing, len(data.survey.speakers.shares)
    by_corpus = data.description["recipe"].get("split", {}).get("by") == "corpus"
    if crossing and by_corpus:
        return Check(
            True, "Splits are the corpus's own", f"{crossing:,} of {named:,} named speakers are in several of them"
        )
    return Check(crossing == 0, "No speaker is in two splits", f"{crossing:,} of {named:,} named speakers are")
