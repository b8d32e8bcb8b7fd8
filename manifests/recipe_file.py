"""Recipe files of any kind: found by path or name, overridden value by value, checked, every mistake explained in a line.

A kind of recipe is a pydantic model and the folder of the recipes that are shipped for it.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

R = TypeVar("R", bound=BaseModel)
MAX_BYTES = 1 << 20
SHOWN = reprlib.Repr()
SHOWN.maxlevel, SHOWN.maxstring, SHOWN.maxother = 2, 120, 120
# What pydantic says in words of its own.
PLAINLY = {
    "tuple_type": "a list is wanted: [one, two]",
    "list_type": "a list is wanted: [one, two]",
    "dict_type": "a block is wanted: {key: value}",
    "model_type": "a block is wanted: {key: value}, or {} for all as it is by itself",
    "model_attributes_type": "a block is wanted that says which kind: {name: KIND}",
}
UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)  # a date or a number that is none is a ValueError


class _Loader(yaml.SafeLoader):
    """Plain YAML. Aliases are refused: a few lines of them stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"an alias (*{event.anchor}) in line {event.start_mark.line + 1}; write the value out")
        return super().compose_node(parent, index)


def _yaml(text: str) -> Any:
    return yaml.load(text, _Loader)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


class RecipeError(ValueError):
    """A recipe that cannot be used: one line per fault, each says where, why and what to do."""


def shipped(folder: Path) -> list[str]:
    """The names of the recipes in a folder."""
    return sorted(p.stem for p in folder.glob("*.yaml"))


def find(recipe: str, folder: Path) -> Path:
    """The file of a recipe given by path or by the name of a shipped one. Raises :class:`RecipeError`."""
    path = Path(recipe)
    if path.is_file():
        return path
    names = shipped(folder)
    if recipe in names:
        return folder / f"{recipe}.yaml"
    near = difflib.get_close_matches(recipe, names, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; shipped recipes: {', '.join(names)}"
    raise RecipeError(f"no recipe file {recipe!r}{hint}")


def read(path: Path, overrides: Iterable[str] = (), what: str = "a recipe") -> dict[str, Any]:
    """The mapping in a recipe file, with ``block.key=value`` overrides (values are YAML). Raises :class:`RecipeError`.

    ``what`` the file is, where it is another kind of description.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RecipeError(f"{path}: larger than {MAX_BYTES} bytes: is it {what}?")
    try:
        value = _yaml(path.read_text(encoding="utf-8")) or {}
    except UNREADABLE as error:
        raise RecipeError(f"{path}: not YAML: {_short(error)}") from None
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: {what} is a mapping of blocks, this is a {type(value).__name__}")
    for assignment in overrides:
        _override(value, assignment)
    return value


def _override(value: dict[str, Any], assignment: str) -> None:
    dotted, equals, text = assignment.partition("=")
    if not equals:
        raise RecipeError(f"--set {assignment}: write it as block.key=value")
    *blocks, key = dotted.strip().split(".")
    place: Any = value
    for block in blocks:
        place = place.setdefault(block, {}) if isinstance(place, dict) else place[_index(place, block, assignment)]
        if not isinstance(place, dict | list):
            raise RecipeError(f"--set {assignment}: {block} is a value, not a block")
    try:
        new = _yaml(text)
    except UNREADABLE as error:
        raise RecipeError(f"--set {assignment[:200]}: not YAML: {_short(error)}") from None
    if isinstance(new, str) and text.strip().startswith(new):
        new = text.strip()  # nobody writes comments there: a folder may be called "take #2"
    if isinstance(place, dict):
        place[key] = new
    else:
        place[_index(place, key, assignment)] = new


def _index(block: list[Any], key: str, assignment: str) -> int:
    if not key.isdigit() or int(key) >= len(block):
        raise RecipeError(f"--set {assignment}: {key} is not one of the list's 0 to {len(block) - 1}")
    return int(key)


def check(model: type[R], value: Mapping[str, Any], where: str) -> R:
    """The recipe in a mapping. Raises :class:`RecipeError`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(model, where, value, fault) for fault in error.errors())) from None


def _explain(model: type[BaseModel], where: str, value: Mapping[str, Any], fault: Any) -> str:
    """One line for one pydantic fault: place, what is wrong, and the nearest valid key or value."""
    parts = _without_tags(value, fault["loc"])
    place, kind = ".".join(parts), fault["type"]
    if kind == "extra_forbidden":
        keys = _keys_at(model, value, parts[:-1])
        near = difflib.get_close_matches(parts[-1], keys, 1, cutoff=0.5)
        hint = f"did you mean {'.'.join([*parts[:-1], near[0]])}?" if near else f"valid keys: {', '.join(keys)}"
        return f"{where}: {place}: unknown key; {hint}"
    if kind == "union_tag_invalid":
        known = [t.strip(" '") for t in str(fault["ctx"]["expected_tags"]).split(",")]
        return f"{where}: {place}: no such kind {fault['ctx']['tag']!r}; {_meant(fault['ctx']['tag'], known)}"
    if kind == "union_tag_not_found":
        return f"{where}: {place}: say which kind with {fault['ctx']['discriminator']}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(fault["ctx"]["expected"]))
        given = f"there is no {SHOWN.repr(fault['input'])}; {_meant(fault['input'], known)}"
        return f"{where}: {place.removesuffix('.[key]')}: {given}"
    said = fault["ctx"]["error"] if kind == "value_error" else PLAINLY.get(kind, fault["msg"])
    got = (
        "" if kind == "value_error" and isinstance(fault["input"], Mapping) else f" (got {SHOWN.repr(fault['input'])})"
    )
    unquoted = kind == "string_type" and isinstance(fault["input"], bool | int | float | date)
    hint = "; as YAML reads it this is no text: write it in quotes" if unquoted else ""
    return f"{where}: {place or 'recipe'}: {said}{got}{hint}"


def _meant(given: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(given), known, 1)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"


def _without_tags(value: Any, loc: Sequence[str | int]) -> list[str]:
    """The place of a fault, without the tags that pydantic puts in to say which kind of a union it tried."""
    parts = []
    for part in loc:
        if isinstance(value, Mapping) and part not in value and part in _texts(value):
            continue
        parts.append(str(part))
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            value = None
    return parts


def _texts(block: Mapping[str, Any]) -> list[str]:
    return [v for v in block.values() if isinstance(v, str)]


def _keys_at(model: type[BaseModel], value: Any, parts: list[str]) -> list[str]:
    """The valid keys of the block at ``parts``."""
    annotation: Any = model
    for part in parts:
        found = next(_models(annotation, value), None)
        value = value[int(part)] if isinstance(value, list) else value.get(part)
        if found is not None and part in found.model_fields:
            annotation = found.model_fields[part].annotation
    best = next(_models(annotation, value), None)
    return list(best.model_fields) if best else []


def _models(annotation: Any, block: Any) -> Iterator[type[BaseModel]]:
    """The models an annotation speaks of, those that the block's own tags fit first."""
    found = sorted(set(_all_models(annotation)), key=lambda m: (-_fit(m, block), m.__name__))
    yield from found


def _all_models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _all_models(inner)


def _fit(model: type[BaseModel], block: Any) -> int:
    """How many of the model's tags (one literal each) stand in the block."""
    if not isinstance(block, Mapping):
        return 0
    tags = {n: get_args(f.annotation) for n, f in model.model_fields.items() if get_origin(f.annotation) is Literal}
    return sum(block.get(name) == values[0] for name, values in tags.items() if len(values) == 1)
