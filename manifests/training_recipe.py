"""Training recipes: the shape of a talker and how it is trained. Files and overrides as in :mod:`manifests.recipe`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from manifests import recipe_file
from manifests.settings.base import Settings
from manifests.settings.talker import TalkerSettings
from manifests.settings.train import TrainSettings, WindowSettings

SHIPPED = Path(__file__).parent / "recipes" / "talkers"

KINDS = {"optimiser": "adamw", "schedule": "cosine"}
# How a run is carried out and watched; all else decides what weights come out.
CARRIED_OUT = {"validation", "loaders", "checkpoint_every", "keep", "log_every", "compile", "precision", "accumulate"}
# What stages, and how they are taught, could not say once, and how it was then.
LATER = {"certainty": 0.0, "cut_tail": 0.0, "windows": None}
LATER_TAUGHT = {"targets": "soft"}


class RoundsSettings(Settings):
    """How often ``speechmill distill`` teaches and trains by this recipe."""

    count: int = Field(default=1, ge=1, description="each student teaches the next round")
    halve: bool = Field(default=True, description="half the teacher's iterations from round to round, at least one")


class TrainingRecipe(Settings):
    """One talker, and one run that trains it on one dataset; by ``speechmill distill``, several that follow each other."""

    name: str = Field("talker", description="name of the talker")
    talker: TalkerSettings = TalkerSettings()
    train: TrainSettings
    rounds: RoundsSettings = RoundsSettings()

    @model_validator(mode="after")
    def _blocks_fit(self) -> TrainingRecipe:
        for stage in self.train.stages:
            if stage.block is not None and self.talker.block % stage.block:
                raise ValueError(
                    f"stage {stage.name}: its block of {stage.block} does not divide talker.block ({self.talker.block})"
                )
            if stage.windows is not None and stage.windows.ahead >= self.talker.block:
                raise ValueError(
                    f"stage {stage.name}: windows that guess {stage.windows.ahead} ahead reach past a block of {self.talker.block} "
                    f"(talker.block): at most {self.talker.block - 1}"
                )
        return self

    def deciding(self) -> dict[str, Any]:
        """The part that decides what is learned, as JSON: a run goes on only under the same.

        What recipes could not say once is told only where it is not as it was then (:data:`LATER`): they keep their fingerprints.
        """
        value = self.model_dump(mode="json", exclude={"name": True, "rounds": True, "train": CARRIED_OUT})
        for stage in value["train"]["stages"]:
            if stage["windows"] == WindowSettings().model_dump(mode="json"):
                stage["windows"] = None
            for part, usual in ((stage, LATER), (stage["distillation"] or {}, LATER_TAUGHT)):
                for name in [name for name, as_it_was in usual.items() if part.get(name) == as_it_was]:
                    del part[name]
        return value

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def shipped() -> list[str]:
    """The names of the training recipes that come with the project."""
    return recipe_file.shipped(SHIPPED)


def load(recipe: str, overrides: Iterable[str] = ()) -> TrainingRecipe:
    """Read, override and check a training recipe. Raises ``RecipeError`` with one line per fault."""
    path = recipe_file.find(recipe, SHIPPED)
    return parse(recipe_file.read(path, overrides), str(path))


def parse(value: Mapping[str, Any], where: str = "recipe") -> TrainingRecipe:
    """A checked training recipe from its mapping; optimiser and schedule without ``name`` are the default ones. Raises ``RecipeError``."""
    train = value.get("train")
    if isinstance(train, Mapping):
        named = {k: {"name": kind, **train[k]} for k, kind in KINDS.items() if isinstance(train.get(k), Mapping)}
        value = {**value, "train": {**train, **named}}
    return recipe_file.check(TrainingRecipe, value, where)
