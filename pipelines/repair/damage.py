"""What is damaged, as units to make anew: what ``verify`` finds, sorted by the stage and unit that made it.

From the whole to its parts: while manifest, plan or fit are damaged, or ``dataset.json`` is of no use, units are held against their
receipts alone; what their samples should be cannot be told before those are mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from manifests.dataset import NAME
from manifests.receipt import FOLDER, receipt_name, shard_stem
from manifests.storage import Store
from pipelines.engine.commit import crash_point
from pipelines.repair.records import Records
from pipelines.stages.order import SHARDS
from pipelines.stages.s20_ingest import MANIFEST, RECEIPT, read_cuts
from pipelines.stages.s30_plan import RECEIPT as PLAN
from pipelines.stages.s30_plan import unit_name
from pipelines.stages.s35_copies import prints_name
from pipelines.stages.s50_fit import CODEBOOK, TEXT
from pipelines.stages.s75_teacher import RECEIPT as TRAINED
from pipelines.stages.segments import RECORDINGS
from pipelines.subject import Subject
from pipelines.verify.copies import check_copies
from pipelines.verify.findings import Fault, Findings, Progress
from pipelines.verify.inputs import check_cuts, check_files, check_plan, load_receipt
from pipelines.verify.reencode import ELSEWHERE
from pipelines.verify.samples import check_shard
from pipelines.verify.segments import check_segments
from pipelines.verify.verify import verify

INPUTS = ("screen", "spoken", "cuts", "segments", "plan", "copies", "fit")
CUTS, TEACHER = "cuts", "teacher"
UNIT = re.compile(r"(?:shard|unit|voice|step)-(\d+)[./]")


@dataclass(frozen=True, order=True)
class Part:
    """What is removed and made anew together: a unit of a stage, or (``unit`` is None) a file that stands for all of it.

    ``what`` is what was found, in the words of ``verify``; empty for what is made anew because it was made of a damaged part.
    """

    place: int
    stage: str
    folder: str
    unit: int | None
    what: tuple[str, ...] = ()

    def __str__(self) -> str:
        unit = "" if self.unit is None or self.stage in ("fit", TEACHER) else f" unit {self.unit}"
        return f"{self.stage}{unit}: {'; '.join(self.what) or 'made of what is made anew'}"


@dataclass(frozen=True)
class Damage:
    """What is to be made anew, upstream first; ``left`` are faults that making anew does not mend."""

    parts: tuple[Part, ...]
    left: tuple[Fault, ...]

    @property
    def inputs(self) -> bool:
        """Whether something that tokens are made of is among it."""
        return any(part.stage in INPUTS for part in self.parts)

    def files(self) -> Iterator[str]:
        """What is removed, in an order that is safe to break off at: the description, receipts downstream first, data."""
        if not self.parts:
            return
        yield NAME
        order = list(reversed(self.parts))
        yield from (f"{p.folder}/{name}" for p in order for name in _receipts(p))
        yield from (f"{p.folder}/{name}" for p in order for name in _data(p))

    def remove(self, out: Store) -> None:
        for name in self.files():
            out.remove(name)
            crash_point("repair-removing")


def _receipts(part: Part) -> list[str]:
    if part.stage == "segments":  # whatever is made anew there, the fold over it is, too
        unit = [] if part.unit is None else [receipt_name(part.unit)]
        return [RECEIPT, f"{RECORDINGS}/{PLAN}", *unit]
    alone = {"cuts": RECEIPT, "plan": PLAN, TEACHER: TRAINED}
    if part.stage in alone:
        return [alone[part.stage]]
    if part.stage == "copies":  # the marked plan is made of all units
        return [PLAN] if part.unit is None else [PLAN, receipt_name(part.unit)]
    return [] if part.unit is None else [receipt_name(part.unit)]


def _data(part: Part) -> list[str]:
    if part.stage in ("cuts", "segments"):
        return [MANIFEST] if part.unit is None else [unit_name(part.unit)]
    if part.stage == "fit":
        return [CODEBOOK, TEXT]
    if part.stage == TEACHER:
        return [] if part.unit is None else [_head_of_checkpoint(part.unit)]
    if part.stage in (
        "plan",
        NAME,
    ):  # its units are written again in any case, and no reader finds them without plan.json
        return []
    if part.stage == "copies":
        return [] if part.unit is None else [prints_name(part.unit)]
    if part.stage == "screen":
        return [f"voice-{part.unit:03d}.json"]
    return ["head.safetensors"] if part.unit is None else [f"{shard_stem(part.unit)}{end}" for end in (".tar", ".idx")]


def _head_of_checkpoint(step: int) -> str:
    """The file without which training passes over a checkpoint."""
    from training.checkpoint import FOLDER as CHECKPOINTS  # it loads torch
    from training.checkpoint import STATE, name_of

    return f"{CHECKPOINTS}/{name_of(step)}/{STATE}"


def find_damage(records: Records, reencode: int = 0, progress: Progress | None = None) -> Damage:
    """Everything that is damaged now, as far as the records let it be told."""
    faults = [*_spoken(records), *_inputs(records)]
    if not faults and records.described is not None:
        return _sorted(records, [f for f in verify(records.space.root, reencode, progress).faults if not f.warning])
    faults += _against_receipts(records)
    if records.described is None:
        faults.append(Fault(NAME, None, "missing, damaged, or not of these folders", ""))
    return _sorted(records, faults)


def _inputs(records: Records) -> list[Fault]:
    """Faults of manifest, plan and fit."""
    subject, found = records.subject, Findings()
    if records.described is not None:
        whole = False
        with found.guard(f"{CUTS}/{MANIFEST}", ""):
            whole = check_cuts(subject, found)
        with found.guard(f"{subject.folder('plan')}/{PLAN}", ""):
            if "segments" in records.folders:
                whole = check_segments(subject, whole, found)
            check_plan(subject, whole, found)
    elif "plan" not in records.folders:
        known = records.folders.get("segments", CUTS)
        found.add(f"{known}/{RECEIPT}", "missing or damaged", "")
    else:
        _inputs_alone(records, subject, found)
    if "copies" in records.folders:
        check_copies(subject, found)
    if "fit" in records.folders:
        receipt = load_receipt(subject, "fit", 0, found)
        if receipt is not None:
            check_files(subject, "fit", receipt, found)
    return [f for f in found.faults if f.where != NAME]


def _inputs_alone(records: Records, subject: Subject, found: Findings) -> None:
    """The manifest against its own receipt, the plan against the manifest."""
    cuts = None
    with found.guard(f"{CUTS}/{RECEIPT}", ""):
        cuts = read_cuts(records.space.cuts)
        if cuts is None:
            raise FileNotFoundError
    if cuts is None:
        return
    said = {"sha256": cuts.sha256, "utterances": cuts.utterances, "seconds": cuts.seconds}
    alone = Subject(subject.out, {**subject.description, "cuts": said}, subject.recipe)
    whole = check_cuts(alone, found)
    if "segments" in records.folders:
        whole = check_segments(alone, whole, found)
    with found.guard(f"{subject.folder('plan')}/{PLAN}", ""):
        check_plan(alone, whole, found)


def _spoken(records: Records) -> list[Fault]:
    """Faults of the corpus that the pipeline spoke itself. Units that are missing are no damage: a run makes them."""
    if not records.space.is_demo:
        return []
    from pipelines.stages.s10_speak import screen_job_of

    out, found = records.space.store, Findings()
    folders = {"screen": screen_job_of(records.space).folder, "spoken": records.root}
    names = {stage: folder.rstrip("/").rsplit("/", 1)[-1] for stage, folder in folders.items()}
    subject = Subject(out, {"folders": names}, records.space.recipe)
    for stage, job in (("screen", "screen"), ("spoken", "speak")):
        for name in out.sub(names[stage]).list(FOLDER):
            if match := UNIT.match(name):
                receipt = load_receipt(subject, stage, int(match[1]), found, job)
                if receipt is not None:
                    check_files(subject, stage, receipt, found)
    return found.faults


def _against_receipts(records: Records) -> list[Fault]:
    """Faults of units whose files are not those of their receipts, or whose receipts cannot be read."""
    found, subject = Findings(), records.subject
    for stage in (s for s in SHARDS if s in records.folders):
        store = subject.store(stage)
        for unit in records.units(stage):
            if not store.exists(receipt_name(unit)):  # not made yet, or removed: a run makes it
                continue
            check_shard(subject, stage, unit, found)
    if TEACHER in records.folders:
        from pipelines.verify.teacher import check_teacher  # it loads torch

        check_teacher(subject.out, records.folders[TEACHER], found)
    return found.faults


def _sorted(records: Records, faults: list[Fault]) -> Damage:
    """Faults by the part that made the file, with all that was made of it."""
    what: dict[tuple[str, int | None], list[str]] = {}
    left = [f for f in faults if f.remedy == ELSEWHERE]
    stages = _stages(records)
    for fault in (f for f in faults if f.remedy != ELSEWHERE):
        folder, _, name = fault.where.partition("/")
        stage = stages.get(folder)
        if fault.where == NAME:
            what.setdefault((NAME, None), []).append(fault.what)
            continue
        whole = stage in ("plan", "cuts", "fit") or name.startswith(f"{RECORDINGS}/")
        match = None if whole else UNIT.search(name)
        if stage is None or (stage in ("transcripts", "tokens", "features", "states", "masks") and match is None):
            left.append(fault)
            continue
        unit = int(match[1]) if match else (0 if stage == "fit" else None)
        key = f": {fault.key}" if fault.key else ""
        what.setdefault((stage, unit), []).append(f"{name}{key}: {fault.what}")
    for stage, unit in list(what):
        if stage in SHARDS and unit is not None:
            # a unit's shards depend on those of the stages before; nothing depends on features and states
            for later in () if stage in ("features", "states") else SHARDS[SHARDS.index(stage) + 1 :]:
                if later in records.folders:
                    what.setdefault((later, unit), [])
    by_stage = {stage: folder for folder, stage in stages.items()} | {NAME: ""}
    places = (*INPUTS, *SHARDS[:-1], TEACHER, SHARDS[-1], NAME)
    parts = [Part(places.index(s), s, by_stage[s], unit, tuple(w)) for (s, unit), w in what.items()]
    return Damage(tuple(sorted(parts, key=lambda p: (p.place, -1 if p.unit is None else p.unit))), tuple(left))


def _stages(records: Records) -> dict[str, str]:
    """The stage of each folder."""
    stages = {folder: stage for stage, folder in records.folders.items()} | {CUTS: "cuts"}
    if records.space.is_demo:
        from pipelines.stages.s10_speak import screen_job_of

        for stage, folder in (("screen", screen_job_of(records.space).folder), ("spoken", records.root)):
            stages[folder.rstrip("/").rsplit("/", 1)[-1]] = stage
    return stages
