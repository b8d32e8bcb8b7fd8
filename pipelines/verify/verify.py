"""``verify``: everything a dataset claims, looked at again. Every fault names its file, and its key where one is to blame.

In this order: description, manifest, segments, plan (made again and compared), copies, transcripts, fitted files, then unit by unit receipt, hashes, index,
keys, samples and splits, the masks beside them, drawn again, and what was taught of these; the sums; what no receipt names; a unit
through its teacher once more; and a sample of utterances made again from their sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from manifests.dataset import NAME, DatasetError
from manifests.ledger import fold
from manifests.receipt import FOLDER, Receipt, receipt_name
from manifests.receipt_index import NAME as INDEX
from manifests.recipe import RecipeError
from manifests.storage import Store
from pipelines.stages.s90_dataset import mask_part, shard_entry, sum_facts
from pipelines.subject import Subject
from pipelines.verify.copies import check_copies
from pipelines.verify.findings import RERUN, Fault, Findings, Progress, Verdict
from pipelines.verify.inputs import RESTORE, check_cuts, check_description, check_fit, check_plan
from pipelines.verify.masks import MaskCheck
from pipelines.verify.reencode import SEARCHED, Drawn, Pick, check_again, written
from pipelines.verify.samples import Owners, UnitChecked, check_unit
from pipelines.verify.segments import check_segments
from pipelines.verify.states import StatesCheck
from pipelines.verify.transcripts import TranscriptCheck

if TYPE_CHECKING:
    from pipelines.verify.features import FeaturesCheck
    from pipelines.verify.teach import TeachCheck

__all__ = ["Fault", "Verdict", "verify"]
OWNERS = {"speaker": "speaker", "recording": "recording", "corpus": None}


def verify(root: str, reencode: int = 20, on_progress: Progress | None = None) -> Verdict:
    """Check the dataset under ``root``, a path or fsspec URL; ``reencode`` utterances are made again from their sound.

    Damaged files become faults, never exceptions. Samples of damaged shards are made again too, to name the damaged ones.
    """
    found = Findings()
    try:
        subject = Subject.open(root)
    except (DatasetError, RecipeError) as error:
        found.add(NAME, " ".join(str(error).split()), RESTORE if Store(root).exists(NAME) else RERUN)
        return found.verdict()
    with found.guard(NAME, RESTORE):
        if check_description(subject, found):
            _check_all(subject, reencode, found, on_progress)
    return found.verdict()


def _check_all(subject: Subject, reencode: int, found: Findings, progress: Progress | None) -> None:
    whole = False
    with found.guard(NAME, RESTORE):
        whole = check_cuts(subject, found)
    if subject.recipe.segment is not None or "segments" in subject.description:
        whole = check_segments(subject, whole, found, again=bool(reencode))
    with found.guard(subject.folder("plan"), RERUN):
        check_plan(subject, whole, found)
    if subject.recipe.copies is not None:
        check_copies(subject, found)
    transcripts = _check_transcripts(subject, found, progress)
    with found.guard(subject.folder("fit"), RERUN):
        check_fit(subject, found)
    drawn, damaged, made = Drawn(reencode, []), list[Pick](), list[Receipt]()
    masks, teach = MaskCheck.of(subject, found), _teach_check(subject, found)
    features, states = _features_check(subject, found), StatesCheck.of(subject, found)
    for checked in _checked_units(subject, masks, teach, found, progress):
        if features is not None:
            features.check(checked.receipt.unit, checked)
        if states is not None:
            states.check(checked.receipt.unit, checked)
        made.append(checked.receipt)
        drawn.add(written(checked.receipt))
        damaged += [] if checked.sound else written(checked.receipt)
    with found.guard(NAME, RESTORE):
        _check_sums(subject, made, found)
        _check_mask_part(subject, masks, found)
    _check_extra(subject, "tokens", made, found)
    if transcripts is not None:
        with found.guard(NAME, RESTORE):
            transcripts.check_part()
        _check_extra(subject, "transcripts", transcripts.made, found)
        transcripts.hear_again(reencode)
    if features is not None:
        with found.guard(NAME, RESTORE):
            features.check_part()
        _check_extra(subject, "features", features.made, found)
        features.encode_again(reencode)
    if states is not None:
        with found.guard(NAME, RESTORE):
            states.check_part()
        _check_extra(subject, "states", states.made, found)
        states.read_again(reencode)
    if masks is not None:
        masks.tell()
        _check_extra(subject, "masks", masks.made, found)
    if teach is not None:
        _check_teach_part(subject, teach, found)
        _check_extra(subject, "teach", teach.made, found, teach.unit_less)
        teach.check_own_teacher()
        if reencode:
            teach.teach_again()
    picks = drawn.picks + [p for p in damaged[:SEARCHED] if p not in set(drawn.picks)]
    with found.guard(subject.folder("tokens"), RERUN):
        check_again(subject, picks if reencode else [], found, progress)


def _check_transcripts(subject: Subject, found: Findings, progress: Progress | None) -> TranscriptCheck | None:
    """What was heard, unit by unit: the texts of all that follows may come from it."""
    check, count = TranscriptCheck.of(subject, found), _unit_count(subject)
    for unit in range(count if check is not None else 0):
        assert check is not None
        check.check(unit)
        if progress:
            progress("transcripts", unit + 1, count)
    return check


def _features_check(subject: Subject, found: Findings) -> FeaturesCheck | None:
    if subject.recipe.features is None and "features" not in subject.description:
        return None
    from pipelines.verify.features import FeaturesCheck

    return FeaturesCheck.of(subject, found)


def _teach_check(subject: Subject, found: Findings) -> TeachCheck | None:
    if subject.recipe.teach is None and "teach" not in subject.description:
        return None
    from pipelines.verify.teach import TeachCheck  # it loads torch

    return TeachCheck.of(subject, found)


def _checked_units(
    subject: Subject, masks: MaskCheck | None, teach: TeachCheck | None, found: Findings, progress: Progress | None
) -> Iterator[UnitChecked]:
    owners = Owners(OWNERS[subject.recipe.split.by])
    count = _unit_count(subject)
    for unit in range(count):
        checked: UnitChecked | None = None
        with found.guard(f"{subject.folder('tokens')}/{receipt_name(unit)}", RERUN):
            checked = check_unit(subject, unit, owners, found)
        if masks is not None:
            masks.check(unit, checked)
        if teach is not None:
            teach.check(unit, checked, masks.made[-1] if masks and masks.made and masks.made[-1].unit == unit else None)
        if progress:
            progress("units", unit + 1, count)
        if checked:
            yield checked


def _unit_count(subject: Subject) -> int:
    """Units of the plan, or shards of the description where the plan cannot be read (which is a fault already)."""
    ignored = Findings()  # whatever is wrong with plan.json was reported when the plan was checked
    with ignored.guard("plan.json", RERUN):
        return len(subject.units)
    return len(subject.description["tokens"]["shards"])


def _check_sums(subject: Subject, made: list[Receipt], found: Findings) -> None:
    """The ledger, the splits, the parity and the list of shards in ``dataset.json`` are what the receipts add up to."""
    said, planned = subject.description, subject.planned
    ledger = fold(planned, (o for receipt in made for o in receipt.outcomes))
    splits, parity = sum_facts(receipt.facts for receipt in made)
    found.require(ledger.settled, NAME, f"{ledger.pending} of {planned} utterances have no outcome", RERUN)
    for part, value in (("ledger", ledger.to_json()), ("splits", splits), ("parity", parity)):
        found.require(said[part] == value, NAME, f"its {part} is not what the receipts add up to", RESTORE)
    shards = [shard_entry(receipt) for receipt in made]
    found.require(said["tokens"]["shards"] == shards, NAME, "its shards are not those of the receipts", RESTORE)


def _check_mask_part(subject: Subject, masks: MaskCheck | None, found: Findings) -> None:
    """What ``dataset.json`` says of masks is what the recipe and their receipts give."""
    said, settings = subject.description.get("masks"), subject.recipe.mask
    if settings is None or masks is None:
        found.require(said is None and settings is None, NAME, "its masks are not those of its recipe", RESTORE)
        return
    part = mask_part(subject.folder("masks"), settings, [shard_entry(receipt) for receipt in masks.made])
    found.require(said == part, NAME, "its masks are not those of the recipe and the receipts", RESTORE)


def _check_teach_part(subject: Subject, teach: TeachCheck, found: Findings) -> None:
    """What ``dataset.json`` says of the teacher's shards is what the recipe and their receipts give."""
    said, asked = subject.description["teach"], teach.settings.model_dump(mode="json", exclude={"teacher"})
    same = {name: said.get(name) for name in asked} == asked and said["shards"] == [shard_entry(r) for r in teach.made]
    found.require(same, NAME, "what it says of a teacher is not what the recipe and the receipts give", RESTORE)


def _check_extra(
    subject: Subject, stage: str, made: list[Receipt], found: Findings, others: frozenset[str] = frozenset()
) -> None:
    """Files that no receipt names, and that are none of the ``others``: left over, harmless, out of place."""
    folder, store = subject.folder(stage), subject.store(stage)
    named = {entry.name for receipt in made for entry in receipt.files} | {FOLDER, INDEX, "quarantine.jsonl"}
    known = {receipt_name(unit) for unit in range(_unit_count(subject))}
    named |= others
    named |= {f"shard-{unit:06d}{suffix}" for unit in range(_unit_count(subject)) for suffix in (".tar", ".idx")}
    with found.guard(folder, RERUN):
        for name in (n for n in store.list() if n not in named):
            found.add(f"{folder}/{name}", "no receipt names it", "delete it", warning=True)
        for name in (f"{FOLDER}/{n}" for n in store.list(FOLDER)):
            if name not in known:
                found.add(f"{folder}/{name}", "the plan has no such unit", "delete it", warning=True)
