"""Checks of transcripts: side shards against their receipts and the plan, every entry against the contract, some heard again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from manifests.dataset import NAME
from manifests.fingerprint import draw
from manifests.keys import key_of
from manifests.receipt import Receipt, receipt_name, shard_stem
from manifests.settings.transcribe import STAGE
from manifests.shards.reader import Shard
from manifests.shards.scan import scan
from pipelines.engine.contract import Task
from pipelines.stages.s30_plan import unit_cuts
from pipelines.stages.s38_transcribe import SIDES
from pipelines.stages.s90_dataset import shard_entry
from pipelines.subject import Subject, Unreachable
from pipelines.verify.findings import REMAKE, Findings
from pipelines.verify.inputs import RESTORE
from pipelines.verify.samples import LEDGER, check_keys, check_shard
from tokenization.adapter import TokenizerError
from tokenization.recognisers.base import RecogniserError, Transcript

AGAIN = 4  # utterances that are heard again
CLOSE = 0.02  # by which figures may differ between a batch and one utterance alone
FIGURES = ("probability", "avg_logprob", "no_speech", "compression", "temperature")


@dataclass
class TranscriptCheck:
    """The checks of all units, and what they came by."""

    subject: Subject
    found: Findings
    made: list[Receipt] = field(default_factory=list)
    heard: list[tuple[int, int, str]] = field(default_factory=list)  # (unit, position, key) of what was listened to

    @classmethod
    def of(cls, subject: Subject, found: Findings) -> TranscriptCheck | None:
        """None where the recipe has nobody listen, or the description tells of none (which is a fault)."""
        said, asked = subject.description.get(STAGE), subject.recipe.transcribe is not None
        agree = found.require(
            isinstance(said, dict) == asked,
            NAME,
            "what it says of transcripts is not what its recipe asks for",
            RESTORE,
        )
        return cls(subject, found) if asked and agree else None

    @property
    def folder(self) -> str:
        return self.subject.folder(STAGE)

    def check(self, unit: int) -> None:
        """All checks of one side shard."""
        checked = check_shard(self.subject, STAGE, unit, self.found)
        if checked is None:
            return
        receipt = checked.receipt
        self.made.append(receipt)
        stem, where = shard_stem(unit), f"{self.folder}/{receipt_name(unit)}"
        with self.found.guard(where, LEDGER):
            planned = [cut["id"] for cut in unit_cuts(self.subject.dealt, unit)]
            same = planned == [outcome.id for outcome in receipt.outcomes]
            self.found.require(same, where, "its outcomes are not those of the plan's utterances", LEDGER)
        with self.found.guard(f"{self.folder}/{stem}.tar", REMAKE):
            self._check_entries(unit, receipt)

    def _check_entries(self, unit: int, receipt: Receipt) -> None:
        where, shard = f"{self.folder}/{shard_stem(unit)}.tar", Shard(self.subject.store(STAGE), shard_stem(unit))
        written = [(i, o.id) for i, o in enumerate(receipt.outcomes) if o.status == "written"]
        check_keys(shard.keys, [key_of(name) for _, name in written], where, self.found)
        for i, (position, name) in enumerate(written[: len(shard)]):
            with self.found.guard(where, REMAKE, shard.keys[i]):
                meta = shard[i].meta
                for fault in _faults(meta, name):
                    self.found.add(where, fault, REMAKE, shard.keys[i])
                if any(side in meta for side in SIDES):
                    self.heard.append((unit, position, shard.keys[i]))

    def check_part(self) -> None:
        """What ``dataset.json`` says of transcripts is what their receipts give."""
        said = self.subject.description[STAGE]
        who = self.made[0].facts.get("recogniser") if self.made else None
        same = said.get("recogniser") == who and said.get("shards") == [shard_entry(r) for r in self.made]
        one = all(receipt.facts.get("recogniser") == who for receipt in self.made)
        self.found.require(same and one, NAME, "its transcripts are not those of the receipts", RESTORE)

    def hear_again(self, count: int) -> None:
        """Some utterances are heard once more, each alone: the same words, and figures close to those of its batch."""
        picks = sorted(self.heard, key=lambda pick: draw("verify", STAGE, pick[2]))[: min(count, AGAIN)]
        if not picks:
            return
        try:
            worker = self.subject.listener()
        except (Unreachable, TokenizerError, RecogniserError) as why:
            self.found.notes.append(f"nothing was heard again: {why}")
            return
        for unit, position, key in picks:
            where = f"{self.folder}/{shard_stem(unit)}.tar"
            with self.found.guard(where, REMAKE, key):
                task = Task(self.subject.units[unit], only=(position, position + 1))
                tar = worker.process(task, lambda _: None).files[f"{shard_stem(unit)}.tar"]
                for fault in _differences(tar, Shard(self.subject.store(STAGE), shard_stem(unit)), key):
                    self.found.add(
                        where, fault, f"{REMAKE} (on another kind of processor near-ties may fall otherwise)", key
                    )


def _faults(meta: dict[str, Any], name: str) -> Iterator[str]:
    if meta.get("id") != name:
        yield f"its JSON names {meta.get('id')!r}, its place is that of {name!r}"
    for side in (s for s in SIDES if s in meta):
        value = meta[side]
        kept = {**Transcript.from_json(value).to_json(), "seconds": value.get("seconds")}
        if not isinstance(value.get("text"), str) or kept != value:
            yield f"what it says of the {side} is no transcript"


def _differences(tar: bytes, shard: Shard, key: str) -> Iterator[str]:
    """How an entry that was made again differs from the stored one."""
    rows = scan(tar, "probe")
    again = {k: orjson.loads(tar[start : start + size]) for k, spans in rows for start, size in [spans["json"]]}.get(
        key
    )
    place = shard.position(key)
    if again is None or place is None:
        yield "the corpus no longer gives this utterance"
        return
    for side in SIDES:
        one, other = shard[place].meta.get(side), again.get(side)
        if one is None or other is None:
            if one != other:
                yield f"heard again it has {'no' if other is None else 'a'} {side}"
        elif (one["text"], one.get("language")) != (other["text"], other.get("language")):
            yield f"heard again its {side} is {other['text']!r}"
        elif not all(_close(one.get(name), other.get(name)) for name in FIGURES):
            yield f"heard again the figures of its {side} differ"


def _close(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
