"""The teachers of a run: frozen talkers, found before anything is trained."""

from __future__ import annotations

import torch
from safetensors.torch import load

from manifests.dataset import Dataset, DatasetError
from manifests.fingerprint import sha256
from manifests.recipe_file import RecipeError
from manifests.settings.teach import STAGE
from manifests.settings.train import DistillationSettings, StageSettings
from manifests.training_recipe import TrainingRecipe
from training.checkpoint import find
from training.course import vocabulary_of
from training.errors import CheckpointError
from training.loading import load_talker, require_same_tokens, weights_hash
from training.policies import Policy, teaching_policy
from training.talker import Talker
from training.taught import HEAD, StoredCodes, StoredHidden, StoredTopK, Teaching
from training.trajectory import Replayed, Teacher, Writer

AGREED = ("iterations", "policy", "forced")  # what a recipe may say of a recorded teacher, if the record says the same
TRAINED_WITH_IT = "teacher"  # as a place to start from: who was trained with the dataset, to teach it


def start_of(recipe: TrainingRecipe, dataset: Dataset) -> str | None:
    """The run or checkpoint whose weights training starts from; None where it starts from nothing.

    Raises ``DatasetError`` where it is to be the dataset's own teacher, and the dataset came without one.
    """
    if recipe.train.start != TRAINED_WITH_IT:
        return recipe.train.start
    run = (dataset.description.get(STAGE) or {}).get("run")
    path = None if run is None else dataset.store.local(run)
    if path is None:
        raise DatasetError(
            f"{dataset.store.root}: no teacher was trained with this dataset (teach.bootstrap), and the recipe starts from it: "
            "name another run in train.start, or take a recipe that starts from nothing (scratch)"
        )
    return str(path)


def require_policies(recipe: TrainingRecipe) -> None:
    """Raise ``RecipeError`` where a teacher is to decide by a policy that there is not, or that it cannot follow."""
    for stage in recipe.train.stages:
        if stage.taught is not None:
            _policy(stage, stage.taught)


def _policy(stage: StageSettings, taught: DistillationSettings) -> Policy:
    try:
        return teaching_policy(taught.policy)
    except ValueError as error:
        raise RecipeError(f"train.stages: distillation.policy of stage {stage.name}: {error}") from None


def teacher_of(
    recipe: TrainingRecipe, stage: StageSettings, dataset: Dataset, device: torch.device | str = "cpu"
) -> Teaching | None:
    """Who teaches in a stage: a talker beside the student, or what the dataset's ``teach`` stage recorded; None where nobody does.

    Raises :class:`CheckpointError` where there is no such checkpoint, it knows other codes or texts, fills in blocks of another size, saw other things than the
    student does, is not the one whose trajectories were recorded, or decided otherwise than the recipe says; ``DatasetError`` where nothing was recorded;
    ``RecipeError`` for a policy that a teacher cannot follow.
    """
    taught = stage.taught
    if taught is None:
        return None
    if taught.stored:
        _require_recorded(stage, taught, dataset)
        return _recorded(recipe, taught, dataset, device)
    path = taught.teacher or start_of(recipe, dataset)
    assert path is not None, "the recipe has seen to that"
    talker = _talker(path, recipe, dataset, device)
    teacher = Teacher(talker, _policy(stage, taught), taught.iterations, taught.forced, context_of(stage))
    return Writer(teacher) if taught.targets == "hard" else teacher


def _recorded(
    recipe: TrainingRecipe, taught: DistillationSettings, dataset: Dataset, device: torch.device | str
) -> Teaching:
    side = dataset.side(STAGE)
    about = dataset.description[STAGE]
    if taught.targets == "hard":
        return StoredCodes()
    if about["store"] == "topk":
        return StoredTopK()
    if about["store"] == "hidden":
        data, v = side.store.read(HEAD), vocabulary_of(dataset)
        if sha256(data) != about["head"]:
            raise CheckpointError(
                f"{side.store.root}/{HEAD}: not the head that dataset.json names: make the teach stage again"
            )
        head = load(data)
        weight_QCD, bias_QC = head["weight"].view(v.codebooks, v.classes, -1), head["bias"].view(v.codebooks, -1)
        return StoredHidden(weight_QCD.to(device), bias_QC.to(device))
    path = taught.teacher or start_of(recipe, dataset)
    if path is None:
        raise CheckpointError("only states were recorded: name the teacher that saw them in distillation.teacher")
    _require_same_teacher(path, weights_hash(find(path)), dataset)
    talker = _talker(path, recipe, dataset, device)
    return Replayed(
        Teacher(talker, teaching_policy(about["policy"]), about["iterations"], about["forced"], about["context"])
    )


def context_of(stage: StageSettings) -> str:
    """What a teacher sees of earlier blocks: what its student sees (VocalNet-MDM 3.4: both get the same masked input)."""
    return "joint" if stage.layout == "single_stream" else "clean"


def _require_recorded(stage: StageSettings, taught: DistillationSettings, dataset: Dataset) -> None:
    """Raise :class:`CheckpointError` where a stage asks for a teaching that is not the recorded one."""
    if STAGE not in dataset.description:
        return  # that nobody taught is said where it is looked for
    _require_same_context(stage, dataset)
    _require_same_way(stage, taught, dataset)
    named = None if taught.teacher is None else _hash_of(taught.teacher)
    if taught.teacher is not None and named is not None:
        _require_same_teacher(taught.teacher, named, dataset)


def _require_same_context(stage: StageSettings, dataset: Dataset) -> None:
    seen, wanted = dataset.description[STAGE]["context"], context_of(stage)
    if seen != wanted:
        raise CheckpointError(
            f"stage {stage.name} ({stage.layout}) needs a teacher of context {wanted}, and this dataset's saw {seen}: "
            f"make it with teach.context: {wanted}, or leave out stored, and the teacher runs beside the student"
        )


def _require_same_way(stage: StageSettings, taught: DistillationSettings, dataset: Dataset) -> None:
    """A recipe that was kept with a run spells out its defaults: they ask for nothing."""
    for name in AGREED:
        asked, default = getattr(taught, name), DistillationSettings.model_fields[name].default
        recorded = dataset.description[STAGE][name]
        if asked not in (default, recorded):
            raise CheckpointError(
                f"stage {stage.name}: distillation.{name} is {asked}, and {dataset.store.root} was taught with {recorded}: "
                f"leave it out, or make the dataset with teach.{name}={asked}"
            )


def _hash_of(path: str) -> str | None:
    """The hash of a teacher's weights; None where it is not there, which only matters where it has to run."""
    try:
        return weights_hash(find(path))
    except CheckpointError:
        return None


def _require_same_teacher(path: str, named: str, dataset: Dataset) -> None:
    recorded = dataset.description[STAGE]["teacher"]
    if named != recorded:
        raise CheckpointError(
            f"{path}: not the teacher whose trajectories were recorded ({named[:12]}, not {recorded[:12]}): name that one or none, "
            f"or make the dataset with teach.teacher={path}"
        )


def _talker(path: str, recipe: TrainingRecipe, dataset: Dataset, device: torch.device | str) -> Talker:
    require_same_tokens(find(path), dataset.description)
    talker, _ = load_talker(path, device=device)
    theirs, ours = (s.text_width for s in (talker.settings, recipe.talker))
    if theirs != ours:
        raise CheckpointError(
            f"{path}: a teacher of talker.text_width {theirs} cannot read what its student reads (talker.text_width {ours})"
        )
    theirs, ours = (s.block for s in (talker.settings, recipe.talker))
    if theirs != ours:
        raise CheckpointError(f"{path}: a teacher of blocks of {theirs} cannot teach blocks of {ours} (talker.block)")
    return talker.requires_grad_(False)
