"""One filter rule: an expression that is true of what is to be left out, and the reason it gives.

A column that an utterance lacks is *unknown*, as NULL is in SQL: whatever is computed or compared with it is unknown, ``and`` and ``or``
are known where the other side decides them, and a rule applies only where it is true. So nothing is filtered for what is not known of it.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from manifests.filters.columns import need_sound
from manifests.filters.grammar import column, columns, finite, parsed

Values = Mapping[str, Any]
"""Columns by name, those of the corpus's own as ``extra.NAME``; one that is missing or None is unknown."""
SHOWN = 80  # characters of a text in a sentence

COMPARED: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
COMPUTED: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Mod: operator.mod,
}  # fmt: skip
CALLED: Mapping[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "len": lambda t: float(len(t)), "words": lambda t: float(len(t.split())),
    "lower": str.lower,
}  # fmt: skip
OF_TEXT = ("len", "words", "lower")


@dataclass(frozen=True)
class Rule:
    """``text`` holds for what is filtered with ``reason``. Raises ``Refused`` (a ValueError) when it is first asked, for what is no rule."""

    reason: str
    text: str

    @cached_property
    def _tree(self) -> ast.expr:
        return parsed(self.text)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns it names, in order."""
        return tuple(columns(self._tree))

    @cached_property
    def version(self) -> int:
        """Changes whenever the same expression holds for other utterances than before. 2: ``in`` compares a corpus's own fields as ``==`` does."""
        nodes = [node for node in ast.walk(self._tree) if isinstance(node, ast.Compare)]
        return 2 if any(_finds_fields(node) for node in nodes) else 1

    @cached_property
    def needs_sound(self) -> bool:
        """Whether it can be asked only after decoding."""
        return need_sound(self.columns)

    def holds(self, values: Values) -> bool:
        """Whether it is true of an utterance; never where that is unknown."""
        return _value(self._tree, values) is True

    def sentence(self, values: Values) -> str:
        """The expression, and what its columns are for this utterance."""
        known = [f"{name} is {_shown(values[name])}" for name in self.columns if values.get(name) is not None]
        return f"{self.text.strip()}: {', '.join(known) or 'nothing of it is known'}"


def _finds_fields(node: ast.Compare) -> bool:
    """Whether it asks for a field of the corpus in a list, or in a field: either may hold numbers as texts."""
    return any(
        isinstance(op, ast.In | ast.NotIn)
        and isinstance(right, ast.Tuple | ast.List | ast.Attribute)
        and (isinstance(left, ast.Attribute) or isinstance(right, ast.Attribute))
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False)
    )


def _shown(value: Any) -> str:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:.10g}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _value(node: ast.expr, values: Values) -> Any:
    """What a node of a checked tree comes to; None for unknown."""
    match node:
        case ast.Constant(value=value):
            return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        case ast.Name() | ast.Attribute():
            return _column(column(node) or "", values)
        case ast.BoolOp(op=op, values=parts):
            return _joined(isinstance(op, ast.Or), [_truth(_value(part, values)) for part in parts])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            truth = _truth(_value(operand, values))
            return None if truth is None else not truth
        case ast.UnaryOp(op=op, operand=operand):
            number = _number(_value(operand, values))
            return None if number is None else -number if isinstance(op, ast.USub) else number
        case ast.BinOp(op=op, left=left, right=right):
            return _computed(op, _number(_value(left, values)), _number(_value(right, values)))
        case ast.Compare(left=left, ops=ops, comparators=rights):
            sides = [left, *rights]
            pairs = zip(sides, ops, rights, strict=False)
            return _joined(False, [_compared(a, op, b, values) for a, op, b in pairs])
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _called(name, [_value(argument, values) for argument in arguments])
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return [_value(element, values) for element in elements]
    raise AssertionError(f"{ast.dump(node)} passed the check")


def _column(name: str, values: Values) -> Any:
    value = values.get(name)
    return [_plain(one) for one in value] if isinstance(value, list) else _plain(value)


def _plain(value: Any) -> Any:
    """With every number as a float; None for one that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return finite(float(value)) if abs(value) < 1e300 else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    """A number, also one that a corpus gives as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return finite(value) if isinstance(value, float) else None


def _joined(any_of: bool, truths: list[bool | None]) -> bool | None:
    """``or`` of several, or ``and``: decided by one that decides it, else unknown where one is."""
    if any_of in truths:
        return any_of
    return None if None in truths else not any_of


def _computed(op: ast.operator, left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    try:
        return finite(COMPUTED[type(op)](left, right))
    except (ZeroDivisionError, OverflowError):
        return None


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, values: Values) -> bool | None:
    a, b = _value(left, values), _value(right, values)
    if isinstance(op, ast.Is | ast.IsNot):
        return (a is None) == isinstance(op, ast.Is)
    if isinstance(op, ast.In | ast.NotIn):
        found = _member(a, b)
        return None if found is None else found == isinstance(op, ast.In)
    return _held(COMPARED[type(op)], a, b)


def _held(compared: Callable[[Any, Any], bool], a: Any, b: Any) -> bool | None:
    """Whether a comparison of two values holds: a number and a text are compared as numbers, and what cannot be compared is unknown."""
    if isinstance(a, float) != isinstance(b, float):
        a, b = _number(a), _number(b)
    same = a is not None and b is not None and type(a) is type(b) and not isinstance(a, list | dict)
    return compared(a, b) if same else None


def _member(value: Any, whole: Any) -> bool | None:
    """Whether a text holds another, or one of a list equals ``value``, as ``==`` has it."""
    if isinstance(whole, str):
        return value in whole if isinstance(value, str) else None
    if not isinstance(whole, list) or value is None or isinstance(value, list | dict):
        return None
    return _joined(True, [_held(operator.eq, value, one) for one in whole])


def _called(name: str, arguments: list[Any]) -> Any:
    values = (
        [a if isinstance(a, str) else None for a in arguments] if name in OF_TEXT else [_number(a) for a in arguments]
    )
    return None if None in values else CALLED[name](*values)
