"""A training run: checked, begun or gone on with, carried to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from manifests.dataset import Dataset
from manifests.settings.train import DistillationSettings, StageSettings
from manifests.training_recipe import TrainingRecipe
from training import checkpoint
from training.batches import Share
from training.checkpoint import Checkpoint
from training.course import Prepared, prepare
from training.distributed import Ranks
from training.errors import CheckpointError
from training.loading import built, fill, require_same_network, require_same_tokens
from training.logs import Log, Silent
from training.pace import measured
from training.start import Vectors, place_codes
from training.talker import Talker
from training.taught import Teaching
from training.teacher import TRAINED_WITH_IT, require_policies, start_of, teacher_of
from training.trainer import Outcome, Trainer

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Job:
    """What to train, on which dataset, in which folder. It travels to other processes.

    base   folder that relative places in the recipe are of; empty: the working directory
    """

    recipe: TrainingRecipe
    data: str
    run: str
    base: str = ""

    @property
    def folder(self) -> Path:
        return Path(self.run)

    @property
    def placed(self) -> TrainingRecipe:
        """The recipe with the places of weights as this process finds them. What a run is compared by is ``recipe``, as it was written."""
        train = self.recipe.train
        stages = tuple(stage.model_copy(update={"distillation": self._of(stage)}) for stage in train.stages)
        start = train.start if train.start == TRAINED_WITH_IT else self._at(train.start)
        return self.recipe.model_copy(update={"train": train.model_copy(update={"start": start, "stages": stages})})

    def _of(self, stage: StageSettings) -> DistillationSettings | None:
        taught = stage.distillation
        return taught and taught.model_copy(update={"teacher": self._at(taught.teacher)})

    def _at(self, place: str | None) -> str | None:
        return place and str(Path(self.base) / place)


def check(job: Job) -> Prepared:
    """All refusals there can be, before any process is started; reads lengths for those that follow.

    Raises ``DatasetError``, ``RowsError``, ``ShardError``, ``CheckpointError``, ``RecipeError``.
    """
    require_policies(job.recipe)
    dataset = Dataset.open(job.data)
    job.folder.mkdir(parents=True, exist_ok=True)
    prepared = prepare(job.recipe, dataset, job.folder, Share())
    found = checkpoint.newest(job.folder)
    if found is not None:
        _require_same_run(found, job, prepared)
    elif job.recipe.train.start is not None:
        _started(job.placed, dataset, None)
    _teachers(job.placed, dataset, "cpu")
    return prepared


def train(
    job: Job, ranks: Ranks, stop: Callable[[], bool], console: Console, vectors_QKZ: Vectors | None = None
) -> Outcome:
    """Train on this rank to the end or until ``stop``; goes on where the newest whole checkpoint of the folder stands.

    ``vectors_QKZ`` are the points that the speech tokenizer's codes stand for, where it has some: codes begin there. Raises what :func:`check` does, and ``Diverged``.
    """
    require_policies(job.recipe)
    recipe, dataset = job.recipe, Dataset.open(job.data)
    share = Share(ranks.rank, ranks.size, recipe.train.accumulate)
    job.folder.mkdir(parents=True, exist_ok=True)
    prepared = prepare(recipe, dataset, job.folder, share)
    told: list[str] = list(prepared.notes)
    found = checkpoint.newest(job.folder, told.append)
    if found is not None:
        _require_same_run(found, job, prepared)
        told.append(f"going on from step {found.step}")
    talker = _started(job.placed, dataset, vectors_QKZ)
    if found is None and recipe.train.start is None:
        _keep_pace(talker, prepared, ranks)
    with _watcher(job, ranks, console, found, len(prepared.course)) as watcher:
        for line in told:
            watcher.note(line)
        teachers = _teachers(job.placed, dataset, ranks.device)
        trainer = Trainer(recipe, talker, prepared, job.folder, ranks, watcher, teachers)
        if found is not None:
            trainer.resume(found)
        return trainer.run(stop)


def _watcher(job: Job, ranks: Ranks, console: Console, found: Checkpoint | None, total: int) -> Log | Silent:
    if not ranks.first:
        return Silent()
    (job.folder / RECIPE).write_text(job.recipe.to_yaml(), encoding="utf-8")
    return Log(job.folder, console, job.recipe.name, found.step if found else 0, total)


def _started(recipe: TrainingRecipe, dataset: Dataset, vectors_QKZ: Vectors | None) -> Talker:
    """The talker that training starts from: new, or with the averaged weights of another run."""
    torch.manual_seed(recipe.train.seed)
    talker, start = built(recipe.talker, dataset.description), start_of(recipe, dataset)
    if vectors_QKZ is not None and recipe.train.codes == "tokenizer":
        place_codes(talker, vectors_QKZ, recipe.train.seed)
    if start is not None:
        found = checkpoint.find(start)
        require_same_tokens(found, dataset.description)
        require_same_network(found, recipe.talker)
        fill(talker, found, "ema")
    return talker


def _keep_pace(talker: Talker, prepared: Prepared, ranks: Ranks) -> None:
    """Durations of text tokens, for a talker that goes by them; on all ranks those of the first."""
    if talker.pace is None:
        return
    stage, frames_K = prepared.course.stages[0], talker.pace.frames_K
    found_K = torch.from_numpy(measured(stage.reader, stage.order.rows_R, len(frames_K))).to(ranks.device)
    frames_K.copy_(ranks.add(found_K if ranks.first else torch.zeros_like(found_K)))


def _teachers(recipe: TrainingRecipe, dataset: Dataset, device: torch.device | str) -> dict[str, Teaching]:
    found = {stage.name: teacher_of(recipe, stage, dataset, device) for stage in recipe.train.stages}
    return {name: teacher for name, teacher in found.items() if teacher is not None}


def _require_same_run(found: Checkpoint, job: Job, prepared: Prepared) -> None:
    """Raise :class:`CheckpointError` where a checkpoint belongs to another dataset or recipe than this run's."""
    require_same_tokens(found, prepared.identity)
    if found.facts["dataset"]["fingerprint"] != prepared.identity["fingerprint"]:
        raise CheckpointError(f"{found.path}: trained on another dataset than {job.data}: choose another -o")
    was, now = TrainingRecipe.model_validate(found.facts["recipe"]).deciding(), job.recipe.deciding()
    other = next(_differences(was, now, ()), None)
    if other is not None:
        place, before, after = other
        raise CheckpointError(
            f"{found.path}: begun with {place} = {before}, the recipe now says {after}: choose another -o, or start from these "
            f"weights there with --set train.start={job.run}"
        )
    beside = found.facts.get("beside", prepared.beside)  # checkpoints of old do not say
    other = next(_differences(prepared.beside, beside, ()), None)
    if other is not None:
        place, after, before = other
        raise CheckpointError(
            f"{found.path}: begun with {place} = {before}, {job.data} now has {after}: make that dataset as it was, choose another "
            f"-o, or start from these weights there with --set train.start={job.run}"
        )


def _differences(was: Any, now: Any, place: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
    """(place, before, after) of single values that differ."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*was, *now]):
            yield from _differences(was.get(key), now.get(key), (*place, str(key)))
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for i, pair in enumerate(zip(was, now, strict=True)):
            yield from _differences(*pair, (*place, str(i)))
    elif was != now:
        yield ".".join(place), was, now
