"""What a random sample says of the whole: a share with the interval that holds it in 95 of 100 cases.

Samples are drawn without putting back, so an interval closes as the sample becomes the whole. Nothing seen does not mean nothing there: of n looked
at, none, leaves room for some 3 in n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Z = 1.959964  # of a normal distribution, 95 % lie within
ALPHA = 0.05


@dataclass(frozen=True)
class Estimate:
    """An amount in the whole, and the ends of its interval."""

    value: float
    low: float
    high: float

    def times(self, whole: float) -> Estimate:
        return Estimate(self.value * whole, self.low * whole, self.high * whole)

    def to_json(self, digits: int = 4) -> dict[str, Any]:
        return {"value": round(self.value, digits), "low": round(self.low, digits), "high": round(self.high, digits)}


def share(hits: int, looked_at: int, whole: int) -> Estimate:
    """The share of ``whole`` of which ``hits`` were found among ``looked_at``, drawn at random (Wilson's interval; exact where none or all hit)."""
    if not looked_at:
        return Estimate(0.0, 0.0, 1.0 if whole else 0.0)
    p = hits / looked_at
    if looked_at >= whole:
        return Estimate(p, p, p)
    n = looked_at * (whole - 1) / (whole - looked_at)  # a sample without putting back is worth more
    if hits in (0, looked_at):
        reach = 1 - ALPHA ** (1 / n)
        low, high = (0.0, reach) if hits == 0 else (1 - reach, 1.0)
    else:
        middle, half = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
        low, high = (middle - half) / (1 + Z * Z / n), (middle + half) / (1 + Z * Z / n)
    return Estimate(p, *_within(low, high, p, hits / whole, (whole - looked_at + hits) / whole))


def weighted_share(hits: Sequence[bool], weights: Sequence[float], whole: int) -> Estimate:
    """The share of all weight that hits carry, of ``whole`` of which these were drawn (a ratio, with its linearised error).

    Where none hit, or all, what was not seen is taken to weigh as others do.
    """
    count, total = len(hits), sum(weights)
    plain = share(sum(hits), count, whole)
    if count < 2 or not total or sum(hits) in (0, count):
        return plain
    carried = sum(w for hit, w in zip(hits, weights, strict=True) if hit)
    ratio = carried / total
    if count >= whole:
        return Estimate(ratio, ratio, ratio)
    spread = sum((w * (hit - ratio)) ** 2 for hit, w in zip(hits, weights, strict=True)) / (count - 1)
    half = Z * math.sqrt((1 - count / whole) * spread / count) / (total / count)
    return Estimate(ratio, *_within(ratio - half, ratio + half, ratio, 0.0, 1.0))


def _within(low: float, high: float, value: float, least: float, most: float) -> tuple[float, float]:
    """The interval, cut to what is possible and never beside its own value."""
    return min(max(low, least), value), max(min(high, most), value)
