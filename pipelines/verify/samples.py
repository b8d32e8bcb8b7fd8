"""Checks of one unit of tokens: its receipt against the plan, its shard against its receipt, every sample against its cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manifests.keys import key_of
from manifests.ledger import Outcome
from manifests.receipt import Receipt, receipt_name, shard_stem
from manifests.shards import npy
from manifests.shards.reader import Sample, Shard
from manifests.shards.scan import scan
from manifests.shards.writer import build_index
from manifests.splits import split_of
from manifests.utterance import from_cut
from pipelines.subject import Subject
from pipelines.verify.findings import REMAKE, Findings
from pipelines.verify.inputs import check_files, load_receipt

LEDGER = "delete the receipt and run the recipe again: only this unit is made anew"


@dataclass
class Owners:
    """Which split each speaker (or recording) was first seen in: none may stand in two."""

    by: str | None
    split: dict[str, str] = field(default_factory=dict)

    def clash(self, meta: Mapping[str, Any]) -> str | None:
        """The other split that the owner of this sample stands in, or None."""
        owner = meta.get(self.by) if self.by else None
        if owner is None:
            return None
        first = self.split.setdefault(str(owner), str(meta.get("split")))
        return None if first == meta.get("split") else first


@dataclass(frozen=True)
class UnitChecked:
    """A unit whose receipt could be read: the receipt, and whether its shard and every sample in it are sound."""

    receipt: Receipt
    sound: bool


@dataclass(frozen=True)
class ShardChecked:
    """The receipt of a unit's shard that could be read, and which of its files are damaged."""

    receipt: Receipt
    damaged: list[str]


def check_shard(subject: Subject, stage: str, unit: int, found: Findings) -> ShardChecked | None:
    """Receipt, files and index of a shard of any stage, whatever its samples are. None where there is no readable receipt."""
    receipt = load_receipt(subject, stage, unit, found)
    if receipt is None:
        return None
    stem, where = shard_stem(unit), f"{subject.folder(stage)}/{receipt_name(unit)}"
    names = [f.name for f in receipt.files] == [f"{stem}.tar", f"{stem}.idx"]
    found.require(names, where, "does not name its shard and index", LEDGER)
    damaged = check_files(subject, stage, receipt, found)
    _check_index(subject, stage, stem, damaged, found)
    return ShardChecked(receipt, damaged)


def check_unit(subject: Subject, unit: int, owners: Owners, found: Findings) -> UnitChecked | None:
    """All checks of one unit. None where it has no readable receipt."""
    before = len(found.faults)
    checked = check_shard(subject, "tokens", unit, found)
    if checked is None:
        return None
    receipt, stem, cuts = checked.receipt, shard_stem(unit), list[dict[str, Any]]()
    plan = subject.folder("copies" if subject.recipe.copies else "plan")
    read = plan if subject.transcripts is None else f"{subject.folder('transcripts')}/{stem}.tar"
    with found.guard(read, "run the recipe again"):
        cuts = list(subject.cuts(unit))
    _check_outcomes(receipt, cuts, f"{subject.folder('tokens')}/{receipt_name(unit)}", found)
    with found.guard(f"{subject.folder('tokens')}/{stem}.tar", REMAKE):
        _check_samples(subject, stem, receipt, cuts, owners, found)
    return UnitChecked(receipt, len(found.faults) == before)


def _check_index(subject: Subject, stage: str, stem: str, damaged: list[str], found: Findings) -> None:
    """The index of a shard is the one that a scan of the tar's own headers gives."""
    store, folder = subject.store(stage), subject.folder(stage)
    with found.guard(f"{folder}/{stem}.tar", REMAKE):
        rows = scan(store.read(f"{stem}.tar"), f"{stem}.tar")
        with found.guard(f"{folder}/{stem}.idx", REMAKE):
            same = store.read(f"{stem}.idx") == npy.dump(build_index(rows))
            blame = f"{stem}.tar" if damaged == [f"{stem}.tar"] else f"{stem}.idx"
            found.require(same, f"{folder}/{blame}", "index and tar do not agree on where the members lie", REMAKE)


def _check_outcomes(receipt: Receipt, cuts: list[dict[str, Any]], where: str, found: Findings) -> None:
    """Every utterance of the unit ends once, in plan order."""
    planned, ended = [cut["id"] for cut in cuts], [outcome.id for outcome in receipt.outcomes]
    if planned == ended:
        return
    missing, extra = Counter(planned) - Counter(ended), Counter(ended) - Counter(planned)
    for name in list(missing)[:20]:
        found.add(where, "planned, but it has no outcome", LEDGER, key_of(name))
    for name in list(extra)[:20]:
        found.add(where, "has an outcome that the plan does not ask for", LEDGER, key_of(name))
    found.require(bool(missing or extra), where, "its outcomes are not in plan order", LEDGER)


def _check_samples(
    subject: Subject, stem: str, receipt: Receipt, cuts: list[dict[str, Any]], owners: Owners, found: Findings
) -> None:
    """Keys, order and contents of the shard, sample by sample; and the sums that the receipt states."""
    where = f"{subject.folder('tokens')}/{stem}.tar"
    shard, written = Shard(subject.store("tokens"), stem), [o for o in receipt.outcomes if o.status == "written"]
    keys = [key_of(outcome.id) for outcome in written]
    check_keys(shard.keys, keys, where, found)
    by_id, sums = {cut["id"]: cut for cut in cuts}, dict[str, Counter[str]]()
    for i, outcome in enumerate(written[: len(shard)]):
        with found.guard(where, REMAKE, shard.keys[i]):
            sample = shard[i]
            _check_sample(subject, sample, outcome, by_id[outcome.id], where, found)
            _add(sums.setdefault(str(sample.meta.get("split")), Counter()), sample)
            other = owners.clash(sample.meta)
            what = f"its {owners.by} stands in {other} too"
            found.require(other is None, where, what, REMAKE, sample.key)
            found.samples += 1
    said = {s: {k: v for k, v in c.items() if k in SUMMED} for s, c in receipt.facts["splits"].items()}
    same = {s: dict(c) for s, c in sums.items()} == said
    found.require(same, where, "its samples do not add up to what its receipt states", REMAKE)


SUMMED = ("utterances", "frames", "text_tokens")


def _add(counter: Counter[str], sample: Sample) -> None:
    counter.update(utterances=1, frames=len(sample.arrays["speech"]), text_tokens=len(sample.arrays["text"]))


def check_keys(found_keys: list[str], wanted: list[str], where: str, found: Findings) -> None:
    """A shard's keys are those of the written utterances, in plan order."""
    if found_keys == wanted:
        return
    for key in [k for k in wanted if k not in set(found_keys)][:20]:
        found.add(where, "written according to the receipt, but not in the shard", REMAKE, key)
    for key in [k for k in found_keys if k not in set(wanted)][:20]:
        found.add(where, "in the shard, but not written according to the receipt", REMAKE, key)
    found.require(sorted(found_keys) != sorted(wanted), where, "its keys are not in plan order", REMAKE)


def _check_sample(
    subject: Subject, sample: Sample, outcome: Outcome, cut: Mapping[str, Any], where: str, found: Findings
) -> None:
    for fault in _faults_of(subject, sample, outcome, cut):
        found.add(where, fault, REMAKE, sample.key)


def _faults_of(subject: Subject, sample: Sample, outcome: Outcome, cut: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one sample, in words."""
    meta, utterance = sample.meta, from_cut(cut)
    codebooks, vocab = subject.description["speech"]["codebooks"], subject.description["speech"]["vocab_size"]
    if meta.get("id") != outcome.id:
        yield f"its JSON names {meta.get('id')!r}, its place is that of {outcome.id!r}"
    if meta.get("split") != split_of(utterance, subject.recipe.split):
        yield f"stands in {meta.get('split')!r}, belongs in {split_of(utterance, subject.recipe.split)!r}"
    if (meta.get("text"), meta.get("speaker")) != (utterance.text, utterance.speaker):
        yield "its text or speaker is not the manifest's, nor its transcript's"
    heard = {
        side: value
        for side, value in (("response", meta.get("heard")), ("query", (meta.get("query") or {}).get("heard")))
        if value
    }
    if heard != dict(utterance.heard):
        yield "what it says was heard is not what its transcript and the rules give"
    yield from _speech_faults(sample, "speech", codebooks, vocab)
    if "speech" in sample.arrays and len(sample.arrays["speech"]) != meta.get("frames"):
        yield f"has {len(sample.arrays['speech'])} frames, its JSON says {meta.get('frames')}"
    yield from _text_faults(sample, "text", utterance.text or "", subject.text.encode, subject.text.vocab_size)
    if "query" in sample.arrays:
        yield from _speech_faults(sample, "query", codebooks, vocab)
    query = utterance.query.text if utterance.query else None
    if query:
        yield from _text_faults(sample, "query_text", query, subject.text.encode, subject.text.vocab_size)


def _speech_faults(sample: Sample, name: str, codebooks: int, vocab: int) -> Iterator[str]:
    codes_FQ = sample.arrays.get(name)
    if codes_FQ is None:
        yield f"has no {name}.npy"
    elif codes_FQ.dtype != np.uint16 or codes_FQ.ndim != 2 or codes_FQ.shape[1] != codebooks:
        yield f"{name}.npy is {codes_FQ.dtype} of shape {codes_FQ.shape}, not uint16 of (frames, {codebooks})"
    elif codes_FQ.size and int(codes_FQ.max()) >= vocab:
        yield f"{name}.npy holds code {int(codes_FQ.max())}, the vocabulary ends at {vocab - 1}"


def _text_faults(
    sample: Sample, name: str, text: str, encode: Callable[[str], np.ndarray], vocab: int
) -> Iterator[str]:
    ids_L = sample.arrays.get(name)
    if ids_L is None:
        yield f"has no {name}.npy"
    elif ids_L.dtype != np.int32 or ids_L.ndim != 1:
        yield f"{name}.npy is {ids_L.dtype} of shape {ids_L.shape}, not a vector of int32"
    elif ids_L.size and (int(ids_L.min()) < 0 or int(ids_L.max()) >= vocab):
        yield f"{name}.npy holds ids outside 0..{vocab - 1}"
    elif not np.array_equal(ids_L, encode(text)):
        yield f"{name}.npy is not the tokens of its text"
