"""What every rank of a training does, in whatever process it is."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from manifests.dataset import DatasetError
from manifests.recipe_file import RecipeError
from pipelines.subject import Subject
from tokenization.adapter import Vectors
from training.distributed import Ranks
from training.run import Job, train
from training.trainer import Outcome


def vectors_of(data: str) -> Vectors | None:
    """The points that the codes of the dataset under ``data`` stand for; None where its tokenizer has none, or is gone."""
    try:
        return Subject.open(data).tokenizer.vectors()
    except (
        DatasetError,
        RecipeError,
        FileNotFoundError,
    ):  # it was said before training, where the voice was to be kept
        return None


def as_rank(job: Job, ranks: Ranks, stop: Callable[[], bool], console: Console) -> Outcome:
    """What every rank does, however it was started."""
    return train(job, ranks, stop, console, vectors_of(job.data))
