"""What an expression may say, held against Python's own syntax tree when the recipe is loaded.

A list of what is allowed, never of what is forbidden: columns, numbers, texts, ``and or not``, comparisons, ``in``, ``is None``,
``+ - * / %`` of numbers, and the functions of :data:`FUNCTIONS`. Powers, attributes, indexes, loops and calls of anything else do not
exist here, so there is nothing that could be made large, and nothing to escape by. Kinds are checked too: a text is no number. (Libraries
for such expressions, simpleeval or CEL, know neither the kinds of columns nor unknown values: the same walk would be needed beside them.)
"""

from __future__ import annotations

import ast
import difflib
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Literal

from manifests.filters.columns import COLUMNS, EXTRA

Kind = Literal["number", "text", "truth", "any", "list", "none"]
MAX_CHARACTERS = 500
MAX_DEPTH = 30
MAX_NUMBER = 1e15
FUNCTIONS: Mapping[str, tuple[tuple[Kind, ...], Kind]] = {
    "abs": (("number",), "number"),
    "min": (("number", "number"), "number"),
    "max": (("number", "number"), "number"),
    "len": (("text",), "number"),
    "words": (("text",), "number"),
    "lower": (("text",), "text"),
}
"""What each function takes, and gives."""
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod)
ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
EQUAL = (ast.Eq, ast.NotEq)
MEMBER = (ast.In, ast.NotIn)
NAMES: Mapping[Kind, str] = {
    "number": "a number", "text": "a text", "truth": "a yes or no", "list": "a list", "none": "None", "any": "anything",
}  # fmt: skip


class Refused(ValueError):
    """An expression that is no rule: says what of it, why, and what is allowed."""


def parsed(text: str) -> ast.expr:
    """The checked tree of an expression that says yes or no. Raises :class:`Refused`."""
    if len(text) > MAX_CHARACTERS:
        raise Refused(f"an expression has at most {MAX_CHARACTERS} characters, this one has {len(text)}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in texts: nobody would see where they come from
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        at = f" at {error.text[error.offset - 1 :].strip()[:20]!r}" if error.text and error.offset else ""
        raise Refused(f"not an expression: {error.msg}{at}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"not an expression: {type(error).__name__}") from None
    if _depth(tree) > MAX_DEPTH:
        raise Refused(f"it is nested deeper than {MAX_DEPTH} levels")
    kind = _kind(tree)
    if kind not in ("truth", "any"):
        raise Refused(f"it gives {NAMES[kind]}, a rule says yes or no: compare it with something")
    if not any(columns(tree)):
        raise Refused("it names no column, so it would filter everything or nothing")
    return tree


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level and depth <= MAX_DEPTH:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def columns(tree: ast.expr) -> Iterator[str]:
    """The columns that an expression names, in the order they stand in, each once."""
    found = sorted(
        (node.lineno, node.col_offset, name)
        for node in ast.walk(tree)
        if isinstance(node, ast.expr) and (name := column(node)) is not None
    )
    yield from dict.fromkeys(name for _, _, name in found)


def column(node: ast.AST) -> str | None:
    """The name of the column that a node stands for, or None."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == EXTRA:
        return f"{EXTRA}.{node.attr}"
    return node.id if isinstance(node, ast.Name) and node.id not in FUNCTIONS and node.id != EXTRA else None


def _kind(node: ast.expr) -> Kind:
    """What a node gives. Raises :class:`Refused` for what no expression may hold."""
    match node:
        case ast.Constant(value=value):
            return _constant(value)
        case ast.Name() | ast.Attribute():
            return _name(node)
        case ast.BoolOp(values=values):
            for value in values:
                _want(value, "truth")
            return "truth"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _want(operand, "truth")
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _want(operand, "number")
        case ast.BinOp(op=op, left=left, right=right) if isinstance(op, ARITHMETIC):
            _want(left, "number")
            return _want(right, "number")
        case ast.Compare():
            return _comparison(node)
        case ast.Call():
            return _call(node)
        case ast.Tuple(elts=elements) | ast.List(elts=elements) if elements:
            return _list(elements)
    raise Refused(
        f"{_shown(node)} is not part of a rule; it knows columns, numbers, texts, and or not, comparisons, in, is None, "
        f"+ - * / %, and {', '.join(FUNCTIONS)}"
    )


def _constant(value: object) -> Kind:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, str):
        return "text"
    if value is None:
        return "none"
    if not isinstance(value, int | float):
        raise Refused(f"{str(value)[:40]} is neither number nor text")
    if not abs(value) <= MAX_NUMBER:
        raise Refused(f"a number is at most {MAX_NUMBER:g}")
    return "number"


def _name(node: ast.Name | ast.Attribute) -> Kind:
    name = column(node)
    if name is None or (isinstance(node, ast.Attribute) and node.attr.startswith("_")):
        raise Refused(f"{_shown(node)} is no column; fields of the corpus are written {EXTRA}.NAME")
    if name.startswith(f"{EXTRA}."):
        return "any"
    if name not in COLUMNS:
        near = difflib.get_close_matches(name, COLUMNS, 1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else f"columns: {', '.join(c for c in COLUMNS if not c.startswith('query_'))}"
        )
        raise Refused(f"there is no column {name}; {hint} (a field of the corpus is written {EXTRA}.{name})")
    return COLUMNS[name].kind


def _want(node: ast.expr, wanted: Kind) -> Kind:
    kind = _kind(node)
    if kind not in (wanted, "any"):
        raise Refused(f"{_shown(node)} is {NAMES[kind]}, where {NAMES[wanted]} is needed")
    return wanted


def _comparison(node: ast.Compare) -> Kind:
    sides = [node.left, *node.comparators]
    for left, op, right in zip(sides, node.ops, node.comparators, strict=False):
        _compared(left, op, right)
    return "truth"


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr) -> None:
    kinds = _kind(left), _kind(right)
    if isinstance(op, ast.Is | ast.IsNot):
        if kinds[1] != "none" or column(left) is None:
            raise Refused("`is` and `is not` ask whether a column is there: `language is None`")
        return
    if "none" in kinds:
        raise Refused("nothing compares with None; write `is None` or `is not None`")
    if isinstance(op, MEMBER):
        if kinds[0] not in ("text", "number", "any") or kinds[1] not in ("list", "text", "any"):
            raise Refused(f'{_shown(left)} cannot be in {_shown(right)}: write `language in ("en", "de")`')
        inner = {_kind(e) for e in right.elts} if isinstance(right, ast.Tuple | ast.List) else {kinds[1]}
        if kinds[0] != "any" and "any" not in inner and inner != {kinds[0]}:
            raise Refused(f"{_shown(left)} is {NAMES[kinds[0]]}; {_shown(right)} never holds one")
        return
    known = [kind for kind in kinds if kind != "any"]
    if "list" in known or len(set(known)) > 1:
        raise Refused(
            f"{_shown(left)} is {NAMES[kinds[0]]} and cannot be compared with {_shown(right)}, {NAMES[kinds[1]]}"
        )
    if isinstance(op, ORDER) and "truth" in known:
        raise Refused(f"{_shown(left)} and {_shown(right)} have no order")


def _call(node: ast.Call) -> Kind:
    name = node.func.id if isinstance(node.func, ast.Name) else None
    if name is None or name not in FUNCTIONS:
        near = difflib.get_close_matches(str(name), FUNCTIONS, 1)
        hint = f"did you mean {near[0]}?" if near else f"functions: {', '.join(FUNCTIONS)}"
        raise Refused(f"there is no function {_shown(node.func)}; {hint}")
    takes, gives = FUNCTIONS[name]
    if node.keywords or len(node.args) != len(takes):
        raise Refused(f"{name} takes {len(takes)} value{'s' if len(takes) > 1 else ''}")
    for argument, kind in zip(node.args, takes, strict=True):
        _want(argument, kind)
    return gives


def _list(elements: list[ast.expr]) -> Kind:
    kinds = {_kind(e) for e in elements if isinstance(e, ast.Constant | ast.UnaryOp)}
    if (
        len(kinds) != 1
        or not kinds <= {"text", "number"}
        or not all(isinstance(e, ast.Constant | ast.UnaryOp) for e in elements)
    ):
        raise Refused("a list holds texts alone, or numbers alone")
    return "list"


def _shown(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}..."


def finite(value: float) -> float | None:
    """A number, or None for what is none."""
    return value if math.isfinite(value) else None
