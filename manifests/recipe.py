"""Recipes: typed, frozen, unknown keys refused with the nearest valid one.

A recipe is a YAML file (its own, or one of ``manifests/recipes``) with single values overridden by ``--set a.b=value``.
Everything but the ``run`` and ``report`` blocks decides bytes and enters fingerprints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from manifests import recipe_file
from manifests.corpora import AnyCorpus
from manifests.filters.columns import scores_of
from manifests.filters.rule import Rule
from manifests.recipe_file import RecipeError
from manifests.settings.base import Settings
from manifests.settings.clean import CleanSettings
from manifests.settings.copies import CopiesSettings
from manifests.settings.features import FeaturesSettings
from manifests.settings.filters import FilterSettings
from manifests.settings.mask import MaskSettings
from manifests.settings.plan import PlanSettings
from manifests.settings.run import ReportSettings, RunSettings
from manifests.settings.scores import ScoresSettings
from manifests.settings.segment import SegmentSettings
from manifests.settings.speech import PatchesSettings, SpeechSettings
from manifests.settings.states import StatesSettings
from manifests.settings.teach import TeachSettings
from manifests.settings.text import TextSettings
from manifests.settings.transcribe import TranscribeSettings, VerifyTextSettings
from manifests.splits import SplitSettings

READ_BY = {
    "segments": ("segment",),
    "tokens": (
        "name",
        "corpus",
        "plan",
        "split",
        "clean",
        "scores",
        "filters",
        "speech",
        "text",
        "transcribe",
        "verify_text",
    ),
    "features": ("features",),
    "states": ("states",),
    "masks": ("mask",),
    "teach": ("teach",),
}
# blocks that leave no trace in a recipe that does not use them
UNLESS_ASKED = ("segment", "copies", "scores", "filters", "transcribe", "verify_text", "features", "states")
SHIPPED = Path(__file__).parent / "recipes"

__all__ = ["SHIPPED", "Recipe", "RecipeError", "find", "load", "parse", "shipped"]


class Recipe(Settings):
    """Everything that decides a dataset, and how it is run."""

    name: str = Field("dataset", description="name of the dataset")
    corpus: AnyCorpus
    plan: PlanSettings = PlanSettings()
    segment: SegmentSettings | None = Field(default=None, description="null: utterances are what the corpus lists")
    split: SplitSettings = SplitSettings()
    clean: CleanSettings = CleanSettings()
    copies: CopiesSettings | None = Field(default=None, description="null: nobody looks for copies by ear")
    scores: ScoresSettings = Field(default_factory=ScoresSettings, description="what is measured of every sound")
    filters: FilterSettings = Field(default={}, description="by reason, an expression that is true of what is left out")
    speech: SpeechSettings = Field(default_factory=PatchesSettings)
    text: TextSettings = Field(default_factory=TextSettings)
    transcribe: TranscribeSettings | None = Field(default=None, description="null: no recogniser listens")
    verify_text: VerifyTextSettings | None = Field(default=None, description="null: texts are taken as they are")
    features: FeaturesSettings | None = Field(default=None, description="null: queries have no features")
    states: StatesSettings | None = Field(default=None, description="null: no text states of a language model")
    mask: MaskSettings | None = Field(default_factory=MaskSettings, description="null: no masks are drawn")
    teach: TeachSettings | None = Field(default=None, description="null: nothing is taught ahead")
    run: RunSettings = RunSettings()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _taught_views_are_there(self) -> Recipe:
        if self.teach is None:
            return self
        sets = {} if self.mask is None else self.mask.sets
        if self.teach.masks not in sets:
            raise ValueError(f"teach.masks names {self.teach.masks}, and mask has {', '.join(sets) or 'no sets'}")
        if self.teach.views > sets[self.teach.masks].views:
            raise ValueError(
                f"teach.views: {self.teach.masks} has {sets[self.teach.masks].views} views, not {self.teach.views}"
            )
        return self

    @model_validator(mode="after")
    def _scores_of_rules_are_set(self) -> Recipe:
        if "dnsmos" in self.wanted and self.scores.dnsmos is None:
            raise ValueError(
                "a rule of filters asks for DNSMOS, which needs its model: scores: {dnsmos: {model: PATH}}"
            )
        return self

    @model_validator(mode="after")
    def _texts_are_heard(self) -> Recipe:
        if self.verify_text is not None and self.transcribe is None:
            raise ValueError("verify_text compares texts with what a recogniser hears: say which in transcribe")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The filter rules, in the order they are asked: those that need no sound come first."""
        rules = [Rule(reason, text) for reason, text in self.filters.items()]
        return tuple(sorted(rules, key=lambda rule: rule.needs_sound))

    @property
    def wanted(self) -> tuple[str, ...]:
        """The scores to compute: those asked for, and those that a rule names."""
        named = scores_of(name for rule in self.rules for name in rule.columns)
        return tuple(name for name in ScoresSettings.model_fields if name in named or name in self.scores.asked)

    def deciding(self, stage: str | None = None) -> dict[str, Any]:
        """The part that decides bytes, as JSON: without ``run``, ``report`` and where corpus, teacher and weights happen to lie.

        Of one stage: the blocks that it reads itself; what it reads of other stages comes with their names.
        """
        value = self.model_dump(mode="json", exclude={"run", "report"})
        value["corpus"].pop("root")
        value["speech"].pop("weights", None)
        value["plan"], value["scores"] = self.plan.deciding(), self.scores.deciding()
        value = {block: part for block, part in value.items() if part or block not in UNLESS_ASKED}
        if value["teach"] is not None:
            value["teach"].pop("teacher")
            if value["teach"]["context"] == "clean":  # names of folders are older than the choice
                value["teach"].pop("context")
        for block, part in (("transcribe", "recogniser"), ("features", None)):
            if block in value:
                (value[block][part] if part else value[block]).pop("weights", None)
        return value if stage is None else {block: value[block] for block in READ_BY[stage] if block in value}

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def shipped() -> list[str]:
    """The names of the recipes that come with the project."""
    return recipe_file.shipped(SHIPPED)


def find(recipe: str) -> Path:
    """The file of a recipe given by path or by the name of a shipped one. Raises :class:`RecipeError`."""
    return recipe_file.find(recipe, SHIPPED)


def load(recipe: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read, override and check a recipe. Raises :class:`RecipeError` with one line per fault."""
    path = find(recipe)
    return parse(recipe_file.read(path, overrides), str(path))


def parse(value: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A checked recipe from its mapping; a ``speech`` block without ``name`` is the embedded tokenizer's. Raises :class:`RecipeError`."""
    if isinstance(value.get("speech"), Mapping):
        value = {**value, "speech": {"name": "patches", **value["speech"]}}
    return recipe_file.check(Recipe, value, where)
