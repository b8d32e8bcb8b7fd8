"""The ``filters`` block of a recipe: by reason, what is true of the utterances that are to be left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from manifests.filters.grammar import parsed

CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _checked(text: str) -> str:
    parsed(text)
    return text


def _code(reason: str) -> str:
    if not CODE.fullmatch(reason):
        raise ValueError("a reason is at most 40 of a-z, 0-9 and _, and begins with a letter")
    return reason


def _in_order(value: Any) -> Any:
    """A mapping, or a list of mappings: JSON with sorted keys would lose the order, and the first rule that holds gives the reason."""
    if value is None:
        return {}
    if not isinstance(value, list) or not all(isinstance(part, Mapping) for part in value):
        return value
    reasons = [reason for part in value for reason in part]
    twice = next((reason for reason in reasons if reasons.count(reason) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is there twice; join both with `or`")
    return {reason: text for part in value for reason, text in part.items()}


def _as_list(rules: Mapping[str, str]) -> list[dict[str, str]]:
    return [{reason: text} for reason, text in rules.items()]


Reason = Annotated[str, AfterValidator(_code)]
"""A code of the recipe's own; those of the pipeline are refused where it is run."""
Expression = Annotated[str, AfterValidator(_checked)]
FilterSettings = Annotated[
    dict[Reason, Expression], BeforeValidator(_in_order), PlainSerializer(_as_list, return_type=list[dict[str, str]])
]
