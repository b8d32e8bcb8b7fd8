"""The teacher that is first trained, and the shards that a teacher fills, measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from manifests.settings.teach import TeachSettings
from manifests.settings.train import StageSettings
from manifests.training_recipe import TrainingRecipe, load
from pipelines.engine.contract import Task, Unit
from pipelines.forecast import driver
from pipelines.forecast.measured import Linear, Measurement
from pipelines.forecast.probe import Probe
from pipelines.stages.s75_teacher import Bootstrap
from pipelines.train import run

STEPS = 6  # of each stage of a training, the first of which is not counted
STORES = ("states", "topk", "hidden")
SOME = 8  # utterances that all stores are weighed on


def trained(probe: Probe) -> Measurement:
    """Some steps of each stage of the training, by the log that it writes; validations are not counted.

    What they leave teaches in the probe: as fast as any other of its shape.
    """
    settings = probe.recipe.teach
    assert settings is not None, "only asked of recipes with one"
    assert settings.bootstrap is not None, "only asked where one is trained"
    whole = load(settings.bootstrap)
    path = probe.store.local("teacher.yaml")
    if path is None:
        Bootstrap.of(probe.real.space)  # refuses object storage, as a run does
        raise AssertionError("a teacher is trained in a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(few_steps(whole).to_yaml(), encoding="utf-8")
    probe.taught_by(str(path))
    bootstrap = Bootstrap.of(probe.run.space)
    assert bootstrap is not None, "it was just named"
    _, took = driver.timed(lambda: bootstrap.trained(probe.description, run, Console(quiet=True)))
    folder = probe.store.local(bootstrap.folder(probe.description))
    assert folder is not None, "object storage was refused"
    times = step_seconds(folder / "log.jsonl")
    stepping = sum(sum(seconds) for seconds in times.values())
    frames = float(probe.description["speech"]["frame_rate"]) / whole.train.batch_frames
    alone = Linear(fixed=max(took - stepping, 0.0))
    for stage in whole.train.stages:
        alone = _more(alone, stage, statistics.median(times.get(stage.name) or [0.0]), frames)
    kept = Linear(fixed=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))
    return Measurement("teacher", "probe", alone=alone, kept=kept)


def _more(alone: Linear, stage: StageSettings, step: float, frames: float) -> Linear:
    """With the time of one stage: steps that the recipe counts, or epochs, which grow with the audio (``frames``: batches in a second of it)."""
    if stage.steps is not None:
        return replace(alone, fixed=alone.fixed + step * stage.steps)
    return replace(alone, second=alone.second + step * (stage.epochs or 0.0) * stage.copies * frames)


def few_steps(recipe: TrainingRecipe) -> TrainingRecipe:
    """The same training, but for its length, and with every step in its log."""
    stages = tuple(
        s.model_copy(update={"steps": min(s.steps or STEPS, STEPS), "epochs": None}) for s in recipe.train.stages
    )
    train = recipe.train.model_copy(update={
        "stages": stages, "log_every": 1, "validation": recipe.train.validation.model_copy(update={"every": 0}),
    })  # fmt: skip
    return recipe.model_copy(update={"train": train})


def step_seconds(log: Path) -> Mapping[str, list[float]]:
    """Seconds of each step but the first, by stage of a training."""
    lines = [orjson.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "stage" in line and "loss" in line]
    found: dict[str, list[float]] = {}
    for before, after in pairwise(steps):
        if before["stage"] == after["stage"]:
            found.setdefault(after["stage"], []).append(after["time"] - before["time"])
    return found


def store_bytes(job: Any, worker: Any, unit: Unit) -> dict[str, int]:
    """What the first utterances of a unit weigh in each kind of store."""
    found = {}
    for store in STORES:
        settings: TeachSettings = job.settings.model_copy(update={"store": store})
        made = (
            replace(job, settings=settings).open().process(Task(unit, only=(0, min(SOME, unit.count))), lambda _: None)
        )
        found[store] = sum(len(data) for data in made.files.values())
    return found


def stores(weighed: Mapping[str, int], own: str) -> dict[str, float]:
    """The stores' bytes as multiples of the recipe's own."""
    return {name: count / weighed[own] for name, count in weighed.items()} if weighed.get(own) else {}
