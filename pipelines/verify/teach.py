"""Checks of what was taught: side shards against their receipts, keys and masked cells against what they lie beside; a unit is taught again.

Which unit, a hash says. The teacher is looked for in the output, or where ``run.json`` saw it; where it is gone, hashes, keys, shapes and masks are all that is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from manifests.fingerprint import draw, sha256
from manifests.keys import key_of
from manifests.receipt import Receipt, receipt_name, shard_stem
from manifests.recipe import parse
from manifests.run_file import RUN
from manifests.settings.teach import STAGE, TeachSettings
from manifests.shards.reader import Sample, Shard
from manifests.shards.scan import scan
from pipelines.engine.contract import Task
from pipelines.stages.s75_teacher import path_of
from pipelines.stages.s80_teach import Tally, TeachJob, teacher_hash
from pipelines.subject import Subject
from pipelines.verify.findings import REMAKE, RERUN, Findings
from pipelines.verify.inputs import RESTORE
from pipelines.verify.samples import LEDGER, UnitChecked, check_keys, check_shard
from pipelines.verify.teacher import check_teacher
from training.errors import CheckpointError, RowsError
from training.noise.grid import Grid
from training.noise.packing import unpack
from training.taught import CORE, HEAD, KEPT, misfits


@dataclass
class TeachCheck:
    """The checks of all units, and what they came by."""

    subject: Subject
    settings: TeachSettings
    found: Findings
    made: list[Receipt] = field(default_factory=list)
    unit_less: frozenset[str] = frozenset({HEAD})  # files beside the shards that no receipt names

    @classmethod
    def of(cls, subject: Subject, found: Findings) -> TeachCheck | None:
        """None where the recipe asks for no teacher, or the description tells of none (which is a fault)."""
        said, settings = subject.description.get(STAGE), subject.recipe.teach
        agree = isinstance(said, dict) == (settings is not None)
        found.require(agree, "dataset.json", "what it says of a teacher is not what its recipe asks for", RESTORE)
        if settings is None or not isinstance(said, dict) or not agree:
            return None
        check = cls(subject, settings, found)
        with found.guard(f"{check.folder}/{HEAD}", RERUN):
            whole = sha256(subject.out.sub(check.folder).read(HEAD)) == said["head"]
            found.require(whole, f"{check.folder}/{HEAD}", "is not the head that dataset.json names", REMAKE)
        return check

    @property
    def folder(self) -> str:
        return self.subject.folder(STAGE)

    def check(self, unit: int, tokens: UnitChecked | None, masks: Receipt | None) -> None:
        """All checks of one side shard, beside shards that were checked before."""
        stem, where = shard_stem(unit), f"{self.folder}/{receipt_name(unit)}"
        checked = check_shard(self.subject, STAGE, unit, self.found)
        if checked is None:
            return
        receipt = checked.receipt
        self.made.append(receipt)
        if tokens is not None and masks is not None:
            beside = {"beside": tokens.receipt.files[0].sha256, "masks": masks.files[0].sha256}
            same = all(receipt.facts.get(name) == digest for name, digest in beside.items())
            self.found.require(same, where, "lies beside other tokens or masks", LEDGER)
            ends = receipt.outcomes == tokens.receipt.outcomes
            self.found.require(ends, where, "its outcomes are not those of the tokens", LEDGER)
        with self.found.guard(f"{self.folder}/{stem}.tar", REMAKE):
            self._check_samples(unit, receipt)

    def _check_samples(self, unit: int, receipt: Receipt) -> None:
        where, stem, tally = (
            f"{self.folder}/{shard_stem(unit)}.tar",
            shard_stem(unit),
            Tally.empty(self.settings.iterations),
        )
        shard, masks = (Shard(self.subject.store(stage), stem) for stage in (STAGE, "masks"))
        check_keys(shard.keys, [key_of(o.id) for o in receipt.outcomes if o.status == "written"], where, self.found)
        for i, sample in enumerate(shard):
            with self.found.guard(where, REMAKE, sample.key):
                faults = list(self._faults(sample, masks[i]))
                for fault in faults:
                    self.found.add(where, fault, REMAKE, sample.key)
                if not faults:  # else there may be nothing that can be counted
                    tally.take(dict(sample.arrays))
        facts = {name: receipt.facts.get(name) for name in ("cells", "sure")}
        self.found.require(facts == tally.to_json(), where, "does not add up to what its receipt states", REMAKE)

    def _faults(self, sample: Sample, beside: Sample) -> Iterator[str]:
        arrays, meta = sample.arrays, beside.meta
        names = (*CORE, "sure", *KEPT[self.settings.store])
        if set(arrays) != set(names):
            yield f"has {', '.join(sorted(arrays))}"
            return
        yield from misfits(arrays, names, self.settings.views)
        if arrays["step"].ndim != 3:
            return
        masked_VLQ = unpack(
            beside.arrays[self.settings.masks], Grid(meta["frames"], meta["codebooks"], meta["block"])
        ).masked_VLQ
        if arrays["step"].shape[1] and not np.array_equal(arrays["step"] > 0, masked_VLQ[: self.settings.views]):
            yield "the cells that were decided are not those that were masked"
        if arrays["step"].max(initial=0) > self.settings.iterations:
            yield f"an iteration {arrays['step'].max()} of {self.settings.iterations}"

    def check_own_teacher(self) -> None:
        """The one that was trained with the dataset, if any was."""
        if (own := self.subject.description[STAGE].get("run")) is not None:
            check_teacher(self.subject.out, own, self.found)

    def teach_again(self) -> None:
        """The unit with the lowest draw through the teacher once more, byte for byte; a note where the teacher is not there."""
        written = [r for r in self.made if any(o.status == "written" for o in r.outcomes)]
        if not written:
            return
        receipt = min(written, key=lambda r: draw("verify", STAGE, r.unit))
        job = self._job()
        if isinstance(job, str):
            self.found.notes.append(f"nothing was taught again: {job}")
            return
        stem = shard_stem(receipt.unit)
        where = f"{self.folder}/{stem}.tar"
        with self.found.guard(where, REMAKE):
            tar = job.open().process(Task(self.subject.units[receipt.unit]), lambda _: None).files[f"{stem}.tar"]
            stored = self.subject.store(STAGE).read(f"{stem}.tar")
            remedy = f"{REMAKE} (on another kind of processor sums may differ in the last bit)"
            for key, names in _different(tar, stored).items():
                self.found.add(where, f"taught again it differs in {', '.join(names)}", remedy, key)

    def _job(self) -> TeachJob | str:
        """What taught it, to be opened again; or why that cannot be."""
        teacher = self._teacher()
        if teacher is None:
            return f"no {RUN}, or it names no teacher: where that lies is not known"
        settings = self.settings.model_copy(update={"teacher": teacher})
        try:
            if teacher_hash(settings, self.subject.description) != self.subject.description[STAGE]["teacher"]:
                return f"{teacher} has other weights by now"
        except (CheckpointError, RowsError) as error:
            return str(error)
        root, units = self.subject.out.root, self.subject.units
        return TeachJob(self.subject.store(STAGE).root, root, self.subject.description, settings, units)

    def _teacher(self) -> str | None:
        """Where the teacher lies: where the run was told, else in the output, where it was trained."""
        run, own = self.subject.run(), self.subject.description[STAGE].get("run")
        described = None if run is None else parse(run["recipe"], RUN).teach
        if described is not None and described.teacher is not None:
            return described.teacher
        return None if own is None else path_of(self.subject.out, own)


def _different(one: bytes, other: bytes) -> dict[str, list[str]]:
    """Extensions of the members in which two tars differ, by key."""
    members = [
        {key: {e: tar[start : start + size] for e, (start, size) in rows.items()} for key, rows in scan(tar, "tar")}
        for tar in (one, other)
    ]
    found = {}
    for key in members[0] | members[1]:
        ours, theirs = (made.get(key, {}) for made in members)
        names = sorted(e for e in ours.keys() | theirs.keys() if ours.get(e) != theirs.get(e))
        if names:
            found[key] = names
    return found
