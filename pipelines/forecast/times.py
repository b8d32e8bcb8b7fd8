"""Times for people."""

from __future__ import annotations

import math

UNITS = ((100.0, 1.0, "s"), (6_000.0, 60.0, "min"), (360_000.0, 3_600.0, "h"), (math.inf, 86_400.0, "d"))


def _unit(seconds: float) -> tuple[float, str]:
    """(its seconds, its name) of the unit that a time is told in."""
    return next((each, name) for limit, each, name in UNITS if seconds < limit)


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 99.5 else f"{value:,.0f}"


def span(seconds: float) -> str:
    """A time for people: 4.2 s, 7 min, 3.5 h, 12 d."""
    each, name = _unit(seconds)
    return f"{_number(seconds / each)} {name}"


def between(low: float, high: float) -> str:
    """A range of times, in the unit of the longer one."""
    each, name = _unit(high)
    return f"{_number(low / each)} to {_number(high / each)} {name}"
