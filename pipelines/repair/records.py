"""What an output root records of itself, each part believed as far as the others bear it out: recipe, corpus, names of folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from manifests.dataset import DatasetError
from manifests.receipt import ReceiptError, read_receipt, shard_stem
from manifests.recipe import Recipe, parse
from manifests.run_file import RUN, place_of_corpus
from manifests.storage import Store, in_full
from pipelines.folders import (
    copies_folder,
    features_folder,
    fit_folder,
    masks_folder,
    plan_folder,
    segments_folder,
    states_folder,
    teach_folder,
    tokens_folder,
    transcripts_folder,
)
from pipelines.stages.order import SHARDS
from pipelines.stages.s20_ingest import MANIFEST, read_cuts
from pipelines.stages.s30_plan import read_plan
from pipelines.subject import Subject
from pipelines.verify.findings import Findings
from pipelines.verify.inputs import GZIP_HEAD, check_description, manifest_digest
from pipelines.workspace import Workspace


class RepairError(RuntimeError):
    """An output root that cannot be repaired: says why, and what to do instead. Nothing was removed."""


@dataclass(frozen=True)
class Records:
    """What is known of an output root.

    root         where the corpus lies
    folders      of the stages, as far as their names can be told
    described    what ``dataset.json`` says, where it is whole and tells of these folders; else nothing
    promised     SHA-256 of each shard and index by full name, as ``dataset.json`` has them
    """

    space: Workspace
    root: str
    folders: Mapping[str, str]
    described: Subject | None
    promised: Mapping[str, str]

    @property
    def subject(self) -> Subject:
        """The dataset, or the folders of what is to become one."""
        recipe = self.space.recipe
        return self.described or Subject(
            self.space.store, {"folders": self.folders, "recipe": recipe.deciding()}, recipe
        )

    def units(self, stage: str) -> range:
        """The units of a stage: those of the plan; where that is damaged, those that left a receipt."""
        store = self.space.store
        try:
            found = read_plan(store.sub(self.folders["plan"]))
        except ReceiptError:
            found = None
        if found is not None:
            return range(len(found))
        names = store.sub(self.folders[stage]).list("receipts")
        numbers = [int(n[5:-5]) for n in names if n.startswith("unit-") and n.endswith(".json") and n[5:-5].isdigit()]
        return range(max(numbers, default=-1) + 1)


def read_records(out: str) -> Records:
    """Raises :class:`RepairError` where the root does not say how it was made, or says two things."""
    store = Store(out)
    recipe, root = _run(store)
    space = Workspace.of(recipe, out)
    subject = _subject(out)
    said = dict(subject.description["folders"]) if subject else {}
    told = {s: name for s, name in _names(space, subject).items() if name is not None}
    other = {s for s, name in said.items() if told.get(s, name) != name}
    if other and all(isinstance(name, str) and store.exists(name) for name in said.values()):
        raise RepairError(
            f"{store.root}: dataset.json tells of another recipe, or another version of the project, than {RUN}: its "
            f"{', '.join(sorted(other))} lie elsewhere; run `speechmill data` with the recipe you want, it makes what is missing"
        )
    folders = {**(said if not other else {}), **told}
    found = Findings()
    whole = subject if subject and not other and check_description(subject, found) and not found.faults else None
    return Records(space, root, folders, whole, _promised(whole))


def _run(store: Store) -> tuple[Recipe, str]:
    """The recipe and the corpus root that ``run.json`` records."""
    try:
        value = orjson.loads(store.read(RUN))
        recipe, root = parse(value["recipe"], RUN), place_of_corpus(store, str(value["root"]))
        corpus = recipe.corpus.model_copy(update={"root": place_of_corpus(store, recipe.corpus.root)})
        return recipe.model_copy(update={"corpus": corpus}), in_full(root)
    except FileNotFoundError:
        why = "is missing"
    except (ValueError, TypeError, KeyError) as error:
        why = f"is damaged ({' '.join(str(error).split())[:200]})"
    raise RepairError(
        f"{store.root}/{RUN} {why}: what it was made of is not known; run `speechmill data` with its recipe, it is written anew"
    )


def _subject(out: str) -> Subject | None:
    try:
        return Subject.open(out)
    except (DatasetError, ValueError):  # a recipe of another shape is a ValueError too
        return None


def _manifest(store: Store, described: Subject | None, part: str) -> str | None:
    """The SHA-256 of a manifest: what two of itself, its ``cuts.json`` and ``dataset.json`` say; else the first that can be read."""
    said = []
    for look in (_packed_manifest, read_cuts):
        with Findings().guard(MANIFEST, ""):  # a damaged one has no say here; as a fault it is found elsewhere
            found = look(store)
            said += [] if found is None else [found if isinstance(found, str) else found.sha256]
    cuts = described.description.get(part) if described else None
    said += [cuts["sha256"]] if isinstance(cuts, dict) and isinstance(cuts.get("sha256"), str) else []
    return max(said, key=said.count, default=None)


def _packed_manifest(store: Store) -> str | None:
    head, digest = manifest_digest(store)
    return digest if head == GZIP_HEAD else None  # of no bytes at all gzip makes no bytes, and no complaint


def _names(space: Workspace, described: Subject | None) -> dict[str, str | None]:
    """The names that recipe, manifest and fit give the folders; None where one of these is damaged or missing."""
    store, recipe = space.store, space.recipe
    names: dict[str, str | None] = {"plan": None, "fit": None, "tokens": None}
    manifest = _manifest(space.cuts, described, "cuts")
    if manifest is not None and recipe.segment is not None:
        names["segments"] = segments = segments_folder(space, manifest)
        manifest = _manifest(store.sub(segments), described, "segments")
    if manifest is None:
        return names
    names["plan"] = plan = plan_folder(space, manifest)
    if recipe.copies is not None:
        names["copies"] = plan = copies_folder(space, plan)
    if (heard := transcripts_folder(space, plan)) is not None:
        names["transcripts"] = heard
    names["fit"] = fit = fit_folder(space, plan)
    try:
        if (receipt := read_receipt(store.sub(fit), 0)) is None:
            return names
    except ReceiptError:
        return names
    names["tokens"] = tokens_folder(space, plan, receipt)
    if recipe.features is not None:
        names["features"] = features_folder(space, names["tokens"])
    if recipe.states is not None:
        names["states"] = states_folder(space, names["tokens"])
    if recipe.mask is not None:
        names["masks"] = masks_folder(space, names["tokens"])
    if recipe.teach is not None and names.get("masks"):
        names |= _taught(space, names)
    return names


def _taught(space: Workspace, names: Mapping[str, str | None]) -> dict[str, str | None]:
    """The folders of the teacher that is trained here, if one is, and of what was taught; None of that where its teacher has yet to be trained.

    Raises ``CheckpointError`` where a teacher from elsewhere is gone.
    """
    from pipelines.stages.s75_teacher import Bootstrap
    from pipelines.stages.s80_teach import teacher_of
    from training.loading import weights_hash

    settings, bootstrap, masks = space.recipe.teach, Bootstrap.of(space), str(names["masks"])
    assert settings is not None, "asked only where somebody teaches"
    if settings.teacher is None and bootstrap is not None:
        about = {"folders": names}
        weights = bootstrap.ended_with(about)
        return {"teacher": bootstrap.folder(about), "teach": weights and teach_folder(space, masks, weights)}
    return {"teach": teach_folder(space, masks, weights_hash(teacher_of(settings)))}


def _promised(subject: Subject | None) -> dict[str, str]:
    promised: dict[str, str] = {}
    if subject is None:
        return promised
    for stage in SHARDS:
        part: Mapping[str, Any] = subject.description.get(stage) or {}
        for unit, entry in enumerate(part.get("shards", ())):
            stem = f"{subject.folder(stage)}/{shard_stem(unit)}"
            promised |= {f"{stem}.tar": entry["sha256"], f"{stem}.idx": entry["index_sha256"]}
    return promised
