"""Policies as people write them: a preset's name, or registered parts joined by +, as in ``pmi+threshold:0.8+min_gap:2``.

A part is a score, a budget or a filter, or ``ending``; each is said once at most, in any order, and what is left out is that of ``even``. Numbers of a part stand
behind colons, in the order of its parameters or by name: ``decaying_threshold:0.9:0.2``, ``decaying_threshold:decay=0.2``. A name that stands
alone is a preset where there is one: ``quantile`` is ``pmi+quantile``, ``dilated`` is ``all+dilated``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from training.policies.budgets import BUDGETS
from training.policies.filters import FILTERS
from training.policies.policy import PRESETS, Policy, build
from training.policies.scores import NEEDS, SCORES

ENDING = {"ending": lambda: True}  # Policy.ends_last
PARTS: dict[str, Mapping[str, Callable[..., Any]]] = {
    "score": SCORES,
    "budget": BUDGETS,
    "filter": FILTERS,
    "end": ENDING,
}


def policy_of(text: str) -> Policy:
    """The policy that ``text`` names or describes. Raises ValueError, in one line, with what there is."""
    text = text.strip()
    if text in PRESETS:
        return PRESETS[text]
    names, options = dict[str, str](), dict[str, dict[str, float]]()
    for part in map(str.strip, text.split("+")):
        name = part.partition(":")[0]
        kind = next((kind for kind, known in PARTS.items() if name in known), None)
        if kind is None:
            raise ValueError(_unknown(name, text))
        if kind in names:
            raise ValueError(f"policy {text!r}: {names[kind]} and {name} are both its {kind}: leave one out")
        maker = (lambda: None) if kind == "score" else PARTS[kind][name]
        names[kind], options[kind] = name, numbers(part, maker)
    ends_last = names.pop("end", None) is not None
    try:
        return build(**names, options=options, ends_last=ends_last)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise ValueError(f"policy {text!r}: {error}") from None


def _unknown(name: str, text: str) -> str:
    parts = "; ".join(f"{kind}s: {', '.join(sorted(known))}" for kind, known in PARTS.items())
    if name != text:
        return f"policy {text!r}: no part {name!r}; there are {parts}"
    return f"no policy {name!r}; there are {', '.join(sorted(PRESETS))}; or join parts with +, of {parts}"


def teaching_policy(text: str) -> Policy:
    """A policy that a teacher can decide by: what the model says is all it looks at. Raises ValueError for others too."""
    policy = policy_of(text)
    if policy.score in NEEDS:
        others = sorted(name for name, score in SCORES.items() if score not in NEEDS)
        raise ValueError(
            f"policy {text!r} needs {NEEDS[policy.score]}, and a teacher has none: take another score ({', '.join(others)})"
        )
    return policy


def numbers(part: str, maker: Callable[..., Any]) -> dict[str, float]:
    """The numbers of ``NAME:NUMBER:NAME=NUMBER``, by parameter of what makes it. Raises ValueError where they do not fit."""
    name, *given = part.split(":")
    takes, found = list(signature(maker).parameters), dict[str, float]()
    for place, text in enumerate(given):
        key, equals, value = (x.strip() for x in text.rpartition("="))
        if not equals:
            key = takes[place] if place < len(takes) else text
        if key not in takes or key in found:
            raise ValueError(
                f"{part}: {name} takes {f'{key} once' if key in found else _listed(takes)}, as in {_example(name, takes)}"
            )
        found[key] = _number(part, value)
    return found


def _listed(takes: list[str]) -> str:
    return f"{len(takes)} number{'s' if len(takes) > 1 else ''} ({', '.join(takes)})" if takes else "no numbers"


def _example(name: str, takes: list[str]) -> str:
    return ":".join([name, *(f"{key}=0.5" for key in takes)])


def _number(part: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{part}: {text!r} is not a number")
    return value
