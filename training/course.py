"""From a recipe and a dataset to the course of a run. What does not fit is refused here, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from manifests.dataset import Dataset
from manifests.fingerprint import fingerprint
from manifests.settings.states import STAGE as STATES
from manifests.settings.train import StageSettings
from manifests.training_recipe import TrainingRecipe
from training.batches import Course, Order, Share, Stage
from training.counter import bits, hash_key
from training.errors import RowsError
from training.rows import Reader, lengths, stored_masks
from training.schedule import factor
from training.tails import Tails
from training.taught import stored_targets
from training.validation import SEED, Exam, exam_rows
from training.vocabulary import Vocabulary

# What is recorded of a teacher.
RECORDED = ("teacher", "masks", "views", "iterations", "policy", "forced", "context", "store", "k", "tau")


@dataclass(frozen=True)
class Prepared:
    """All that a run reads.

    identity   what a checkpoint says of the dataset: name, speech and text tokenizers, fingerprint of its shards
    beside     what it says of what lies beside the tokens, and is trained on: mask sets, and what was recorded of a teacher
    notes      what was left out, one line each
    """

    course: Course
    exam: Exam | None
    identity: dict[str, Any]
    beside: dict[str, Any]
    notes: tuple[str, ...]


def prepare(recipe: TrainingRecipe, dataset: Dataset, run: Path | None, share: Share) -> Prepared:
    """Read lengths, choose rows, find masks. Raises :class:`RowsError`, and ``ShardError`` for a damaged shard."""
    _require_states(recipe, dataset)
    about, given = identity(dataset), recipe.talker.text_width is not None
    read = [about["fingerprint"], *([_states_of(dataset)["shards"]] if given else [])]
    cache = None if run is None else run / f"lengths-{'-'.join(read)}.npy"
    known_R = lengths(dataset, cache, given)
    reader = Reader(dataset, vocabulary_of(dataset), recipe.talker.block, recipe.talker.text_width)
    fits_R, notes = _fitting(recipe, known_R)
    train_R = np.flatnonzero(fits_R & (known_R["split"] == b"train"))
    if not len(train_R):
        wanted = "fits talker.max_frames and has text states" if given else "fits talker.max_frames"
        raise RowsError(f"{dataset.store.root}: no utterance in the training split that {wanted}")
    if not known_R["text"][train_R].any():
        raise RowsError(
            f"{dataset.store.root}: no utterance of the training split that fits talker.max_frames has a text to be spoken: "
            "see corpus.layout, or have a recogniser listen (transcribe)"
        )
    stages = [_stage(recipe, i, reader, known_R, train_R) for i in range(len(recipe.train.stages))]
    steps = [_steps(s, stage) for s, stage in zip(recipe.train.stages, stages, strict=True)]
    exam, more = _exam(recipe, reader, known_R, fits_R, share)
    return Prepared(
        Course(tuple(stages), tuple(steps), share),
        exam,
        about,
        beside(recipe, dataset),
        (*notes, *more, *_never_warm(recipe, sum(steps))),
    )


def _require_states(recipe: TrainingRecipe, dataset: Dataset) -> None:
    """Raise :class:`RowsError` where the talker is to read text states that the dataset does not have."""
    root, wanted, about = dataset.store.root, recipe.talker.text_width, dataset.description.get(STATES)
    if wanted is None:
        return
    if about is None:
        raise RowsError(
            f"{root}: talker.text_width ({wanted}) asks for given text states, and this dataset has none: make it with them "
            "(states.source of its recipe), or leave talker.text_width empty"
        )
    if about["width"] != wanted:
        raise RowsError(
            f"{root}: its text states are of width {about['width']}, the talker's of {wanted}: set talker.text_width={about['width']}"
        )


def identity(dataset: Dataset) -> dict[str, Any]:
    value = dataset.description
    shards = _hash_of(value["tokens"]["shards"])
    return {"name": value["name"], "speech": value["speech"], "text": value["text"], "fingerprint": shards}


def beside(recipe: TrainingRecipe, dataset: Dataset) -> dict[str, Any]:
    """What decides what is learned and does not lie in the token shards: the mask sets that stages train on, given text states, and what they have of a recorded teacher."""
    stages, value = recipe.train.stages, dataset.description
    masks = sorted({stage.masks for stage in stages if stage.masks is not None})
    recorded = any(stage.taught is not None and stage.taught.stored for stage in stages)
    found = {"masks": masks_of(value, masks)} if masks else {}
    if recipe.talker.text_width is not None:
        found[STATES] = _states_of(dataset)
    return found | ({"teach": _recorded(value["teach"])} if recorded else {})


def _states_of(dataset: Dataset) -> dict[str, Any]:
    about = dataset.description[STATES]
    return {"width": about["width"], "shards": _hash_of(about["shards"])}


def masks_of(value: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Seed, definitions and shards of mask sets. A dataset says how it drew them in its recipe, and in short beside the shards."""
    about = value["masks"]
    drawn = ((value.get("recipe") or {}).get("mask") or {}).get("sets") or about["sets"]
    return {"seed": about["seed"], "sets": {name: drawn[name] for name in names}, "shards": _hash_of(about["shards"])}


def _recorded(about: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: about[name] for name in RECORDED if name in about}, "shards": _hash_of(about["shards"])}


def _hash_of(shards: Sequence[Mapping[str, Any]]) -> str:
    return fingerprint([shard["sha256"] for shard in shards])


def vocabulary_of(dataset: Dataset) -> Vocabulary:
    speech = dataset.description["speech"]
    return Vocabulary(speech["vocab_size"], speech["codebooks"])


def _blocks(known_R: np.ndarray, block: int) -> np.ndarray:
    return known_R["frames"].astype(np.int64) // block + 1


def _fitting(recipe: TrainingRecipe, known_R: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which rows the talker has positions for, and text to be told; and notes of the others."""
    most = recipe.talker.max_frames
    states_R = known_R["text"] + (recipe.talker.text_width is None)  # ids end in <eos>
    fits_R = (_blocks(known_R, recipe.talker.block) * recipe.talker.block <= most) & (states_R <= most)
    told_R = states_R > 0
    counts = {
        f"are longer than talker.max_frames ({most})": int((~fits_R).sum()),
        "have no text states": int((~told_R).sum()),
    }
    notes = tuple(f"{n} of {len(known_R)} utterances {what} and are left out" for what, n in counts.items() if n)
    return fits_R & told_R, notes


def _stage(recipe: TrainingRecipe, i: int, reader: Reader, known_R: np.ndarray, rows_R: np.ndarray) -> Stage:
    settings, train = recipe.train.stages[i], recipe.train
    blocks_R = _blocks(known_R[rows_R], reader.block)
    order = Order(rows_R, blocks_R, reader.block, train.batch_frames, train.seed, i)
    masks = None if settings.masks is None else stored_masks(reader.dataset, settings.masks, reader.block)
    taught = settings.taught
    if masks is None or taught is None or not taught.stored:
        tails = Tails(settings.cut_tail, reader.block, train.seed, i) if settings.cut_tail else None
        return Stage(reader, order, masks, settings.copies, tails=tails)
    tau = None if taught.targets == "hard" else taught.tau
    targets = stored_targets(reader.dataset, masks.name, tau)
    return Stage(reader, order, replace(masks, views=targets.views), settings.copies, targets)


def _steps(settings: StageSettings, stage: Stage) -> int:
    if settings.steps is not None:
        return settings.steps
    assert settings.epochs is not None, "one of the two is set"
    return max(round(settings.epochs * len(stage.order)), 1)


def _never_warm(recipe: TrainingRecipe, total: int) -> tuple[str, ...]:
    """A note where the run ends before its learning rate has come up."""
    settings = recipe.train.schedule
    if settings.warmup < total:
        return ()
    peak = max(factor(settings, step, total) for step in range(total))
    note = (
        f"train.schedule.warmup ({settings.warmup:,} steps) is no shorter than the whole run ({total:,}): the learning rate comes to "
        f"{peak:.0%} of its peak at most; set train.schedule.warmup lower"
    )
    return (note,)


def _exam(
    recipe: TrainingRecipe, reader: Reader, known_R: np.ndarray, fits_R: np.ndarray, share: Share
) -> tuple[Exam | None, tuple[str, ...]]:
    settings = recipe.train.validation
    if not settings.every:
        return None, ()
    drawn_R = bits(SEED, hash_key("exam"), np.arange(len(known_R)))
    rows_R = exam_rows(settings, np.where(fits_R, known_R["split"], b""), drawn_R)
    if not len(rows_R):
        return None, (f"no utterance in split {settings.split}: no validation",)
    order = Order(rows_R, _blocks(known_R[rows_R], reader.block), reader.block, recipe.train.batch_frames, SEED)
    return Exam(settings, reader, order, share), ()
