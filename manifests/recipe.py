"""Recipes: typed, frozen, unknown keys refused with the nearest valid one.

A recipe is a YAML file (its own, or one of ``manifests/recipes``) with single values overridden by ``--set a.b=value``.
Everything but the ``run`` and ``report`` blocks decides bytes and enters fingerprints.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from manifests.corpora import LAYOUTS, AnyCorpus
from manifests.settings.base import Settings
from manifests.settings.clean import CleanSettings
from manifests.settings.plan import PlanSettings
from manifests.settings.run import ReportSettings, RunSettings
from manifests.settings.speech import GivenSettings, PatchesSettings, SpeechSettings
from manifests.settings.text import TextSettings
from manifests.splits import SplitSettings

SHIPPED = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """A recipe that cannot be used: one line per fault, each says where, why and what to do."""


class Recipe(Settings):
    """Everything that decides a dataset, and how it is run."""

    name: str = Field("dataset", description="name of the dataset")
    corpus: AnyCorpus
    plan: PlanSettings = PlanSettings()
    split: SplitSettings = SplitSettings()
    clean: CleanSettings = CleanSettings()
    speech: SpeechSettings = Field(default_factory=PatchesSettings)
    text: TextSettings = Field(default_factory=TextSettings)
    run: RunSettings = RunSettings()
    report: ReportSettings = ReportSettings()

    def deciding(self) -> dict[str, Any]:
        """The part that decides bytes, as JSON: without ``run``, ``report`` and where the corpus happens to lie."""
        value = self.model_dump(mode="json", exclude={"run", "report"})
        value["corpus"].pop("root")
        return value

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def shipped() -> list[str]:
    """The names of the recipes that come with the project."""
    return sorted(p.stem for p in SHIPPED.glob("*.yaml"))


def find(recipe: str) -> Path:
    """The file of a recipe given by path or by the name of a shipped one. Raises :class:`RecipeError`."""
    path = Path(recipe)
    if path.is_file():
        return path
    if (SHIPPED / f"{recipe}.yaml").is_file():
        return SHIPPED / f"{recipe}.yaml"
    near = difflib.get_close_matches(recipe, shipped(), 1)
    hint = f"; did you mean {near[0]}?" if near else f"; shipped recipes: {', '.join(shipped())}"
    raise RecipeError(f"no recipe file {recipe!r}{hint}")


def _set(value: dict[str, Any], assignment: str) -> None:
    dotted, equals, text = assignment.partition("=")
    if not equals:
        raise RecipeError(f"--set {assignment}: write it as block.key=value")
    *blocks, key = dotted.strip().split(".")
    for block in blocks:
        value = value.setdefault(block, {})
        if not isinstance(value, dict):
            raise RecipeError(f"--set {assignment}: {block} is a value, not a block")
    try:
        value[key] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {assignment}: not YAML: {' '.join(str(error).split())}") from None


def load(recipe: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read, override and check a recipe. Raises :class:`RecipeError` with one line per fault."""
    path = find(recipe)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of blocks, this is a {type(value).__name__}")
    for assignment in overrides:
        _set(value, assignment)
    return parse(value, str(path))


def parse(value: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A checked recipe from its mapping; a ``speech`` block without ``name`` is the embedded tokenizer's. Raises :class:`RecipeError`."""
    if isinstance(value.get("speech"), Mapping):
        value = {**value, "speech": {"name": "patches", **value["speech"]}}
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(where, value, fault) for fault in error.errors())) from None


def _explain(where: str, value: Mapping[str, Any], fault: Any) -> str:
    """One line for one pydantic fault: place, what is wrong, and the nearest valid key or value."""
    parts = [str(p) for p in fault["loc"] if p not in LAYOUTS and p not in ("patches", "given")]
    place, kind = ".".join(parts), fault["type"]
    if kind == "extra_forbidden":
        keys = _keys_at(value, parts[:-1])
        near = difflib.get_close_matches(parts[-1], keys, 1, cutoff=0.5)
        hint = f"did you mean {'.'.join([*parts[:-1], near[0]])}?" if near else f"valid keys: {', '.join(keys)}"
        return f"{where}: {place}: unknown key; {hint}"
    if kind == "union_tag_invalid":
        known = [t.strip(" '") for t in str(fault["ctx"]["expected_tags"]).split(",")]
        near = difflib.get_close_matches(str(fault["ctx"]["tag"]), known, 1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
        return f"{where}: {place}: no such kind {fault['ctx']['tag']!r}; {hint}"
    if kind == "union_tag_not_found":
        return f"{where}: {place}: say which kind with {fault['ctx']['discriminator']}"
    return f"{where}: {place or 'recipe'}: {fault['msg']} (got {fault['input']!r})"


def _keys_at(value: Mapping[str, Any], parts: list[str]) -> list[str]:
    """The valid keys of the block at ``parts``."""
    if not parts:
        return list(Recipe.model_fields)
    block = value.get(parts[0])
    tag = block.get("layout" if parts[0] == "corpus" else "name") if isinstance(block, Mapping) else None
    model: Any
    if parts[0] == "corpus":
        model = LAYOUTS.get(str(tag))
    elif parts[0] == "speech":
        model = GivenSettings if tag == "given" else PatchesSettings
    else:
        model = Recipe.model_fields[parts[0]].annotation
    for part in parts[1:]:
        annotation = model.model_fields[part].annotation if model else None
        options = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        model = options[0] if options else None
    return list(model.model_fields) if model else []
