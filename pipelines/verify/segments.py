"""Checks of the segments that the plan is made of: the recordings of each unit, receipts and files, the fold over them; and a recording heard again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from manifests.dataset import NAME
from manifests.fingerprint import draw, sha256
from manifests.ledger import Outcome
from manifests.receipt import Receipt, receipt_name
from manifests.storage import Store
from pipelines.engine.contract import Task
from pipelines.stages import s25_segment, segments
from pipelines.stages.s20_ingest import MANIFEST, cut_lines, read_cuts
from pipelines.stages.s30_plan import RECEIPT as PLAN
from pipelines.stages.s30_plan import read_plan, unit_cuts, unit_name
from pipelines.subject import Subject, Unreachable
from pipelines.verify.findings import REMAKE, RERUN, Findings
from pipelines.verify.inputs import (
    CUTS,
    RESTORE,
    check_dealt,
    check_files,
    check_manifest,
    load_receipt,
    manifest_digest,
)
from tokenization.voice_activity.contract import DetectorError

STAGE = segments.STAGE


def check_segments(subject: Subject, whole: bool, found: Findings, again: bool = False) -> bool:
    """Everything the segments claim, against the manifest that was cut up, where that is ``whole``. Returns whether the new one is.

    With ``again`` one recording is heard once more.
    """
    with found.guard(subject.folder(STAGE), RERUN):
        return _checked(subject, whole, found, again)
    return False


def _checked(subject: Subject, whole: bool, found: Findings, again: bool) -> bool:
    store, folder, settings = subject.store(STAGE), subject.folder(STAGE), subject.recipe.segment
    if (
        not found.require(settings is not None, NAME, "it has segments, and its recipe asks for none", RESTORE)
        or settings is None
    ):
        return False
    below, before = f"{folder}/{segments.RECORDINGS}", len(found.faults)
    recordings = segments.recordings_of(store)
    if whole:
        lines = cut_lines(subject.out.sub(CUTS))
        check_dealt(recordings, below, lines, segments.dealing(settings, subject.recipe.plan), found)
    units = None
    with found.guard(f"{below}/{PLAN}", RERUN):
        units = read_plan(recordings)
    if units is None or len(found.faults) > before:
        return False
    made = list(_receipts(subject, recordings, len(units), found))
    cuts = check_manifest(store, folder, _said(subject, store), found)
    if len(made) < len(units) or len(found.faults) > before:
        return False
    joined = hashlib.sha256()
    for unit in units:
        joined.update(store.read(unit_name(unit.index)))
    name = f"{folder}/{MANIFEST}"
    same = cuts and joined.hexdigest() == manifest_digest(store)[1]
    found.require(same, name, "is not what its units hold", RERUN)
    _check_description(subject, store, made, found)
    if again:
        _hear_again(subject, made, found)
    return cuts


def _said(subject: Subject, store: Store) -> dict[str, Any]:
    """What is said of the manifest; what it says itself, where there is no whole dataset yet. Raises FileNotFoundError."""
    said = subject.description.get("segments")
    if said is not None:
        return said
    if (known := read_cuts(store)) is None:
        raise FileNotFoundError(MANIFEST)
    return known.to_json()


def _receipts(subject: Subject, recordings: Store, units: int, found: Findings) -> Iterator[Receipt]:
    """The receipts that can be read; each tells of its unit's recordings, and its file is the one that it names."""
    for unit in range(units):
        receipt = load_receipt(subject, STAGE, unit, found)
        if receipt is None:
            continue
        where = f"{subject.folder(STAGE)}/{receipt_name(unit)}"
        ids = [cut["id"] for cut in unit_cuts(recordings, unit)]
        found.require(
            [o.id for o in receipt.outcomes] == ids, where, "its recordings are not those of its unit", REMAKE
        )
        check_files(subject, STAGE, receipt, found)
        yield receipt


def _check_description(subject: Subject, store: Store, made: list[Receipt], found: Findings) -> None:
    said, settings, known = subject.description.get("segments"), subject.recipe.segment, read_cuts(store)
    if said is None or settings is None or known is None:
        return
    whole = segments.describe(subject.folder(STAGE), known, settings, iter(made))
    found.require(said == whole, NAME, "what it says of segments is not what their receipts add up to", RESTORE)
    same = known.listing == subject.description["cuts"]["sha256"]
    found.require(same, NAME, "its segments are of another manifest", RESTORE)


def _hear_again(subject: Subject, made: list[Receipt], found: Findings) -> None:
    """One recording that was cut up, the same one every time, cut up once more."""
    settings, written = subject.recipe.segment, [(r, i, o) for r in made for i, o in enumerate(r.outcomes) if _cut(o)]
    if settings is None or not written:
        return
    receipt, position, outcome = min(written, key=lambda pick: draw("verify", pick[2].id))
    store, recipe = subject.store(STAGE), subject.recipe
    where = f"{subject.folder(STAGE)}/{unit_name(receipt.unit)}"
    try:
        units = read_plan(segments.recordings_of(store)) or ()
        job = s25_segment.SegmentJob(store.root, subject.corpus_root(), recipe.corpus, settings, recipe.clean, units)
        worker = job.open()
    except (Unreachable, DetectorError) as why:
        found.notes.append(f"no recording was cut up again: {why}")
        return
    task = Task(units[receipt.unit], only=(position, position + 1))
    with found.guard(where, REMAKE):
        again = worker.process(task, lambda _: None).files[unit_name(receipt.unit)]
        what = f"the recording {outcome.id!r}, cut up again, gives other utterances ({sha256(again)[:12]})"
        found.require(again in store.read(unit_name(receipt.unit)), where, what, REMAKE)


def _cut(outcome: Outcome) -> bool:
    return outcome.status == "written"
