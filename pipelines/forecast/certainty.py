"""How far a forecast may be off because only some units were measured: a bootstrap over them.

Legend: draws_B factors on a stage's time, one for each draw of units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.forecast.measured import Piece

DRAWS, SEED = 400, 0
LOW, HIGH = 0.05, 0.95

Draws = npt.NDArray[np.float64]


def factors(pieces: Sequence[Piece], seed: int = SEED) -> Draws:
    """``draws_B``: the rate of pieces drawn with replacement over that of all; ones where there are too few to tell.

    Draws from few pieces spread too little; they are widened by the root of n / (n - 1).
    """
    timed = [p for p in pieces if p.audio_seconds]
    count = len(timed)
    if count < 2 or not any(p.seconds for p in timed):
        return np.ones(DRAWS)
    seconds_N = np.array([p.seconds for p in timed])
    audio_N = np.array([p.audio_seconds for p in timed])
    chosen_BN = np.random.default_rng(seed).integers(count, size=(DRAWS, count))
    rates_B = seconds_N[chosen_BN].sum(axis=1) / audio_N[chosen_BN].sum(axis=1)
    off_B = rates_B / (seconds_N.sum() / audio_N.sum()) - 1
    return np.maximum(1 + off_B * math.sqrt(count / (count - 1)), 0.0)


def interval(draws_B: Draws, point: float) -> tuple[float, float]:
    """(low, high) of nine draws in ten; the point itself is never outside."""
    low, high = np.quantile(draws_B, (LOW, HIGH))
    return min(float(low), point), max(float(high), point)
