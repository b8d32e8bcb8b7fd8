"""Exact probabilities of counts, for the theory that measured masks are held against.

Legend: chance_K probabilities of the counts 0 .. size.
"""

from __future__ import annotations

import numpy as np

from training.noise.grid import Floats

POINT = 1e-9  # ends of a range that are closer are one number


def binomial(size: int, share: float) -> Floats:
    """chance_K of a binomial count."""
    count_K = np.arange(size + 1)
    if share <= 0 or share >= 1:
        return (count_K == (size if share >= 1 else 0)).astype(np.float64)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size + 1)))])
    ways_K = log_factorial[size] - log_factorial[count_K] - log_factorial[size - count_K]
    return np.exp(ways_K + count_K * np.log(share) + (size - count_K) * np.log1p(-share))


def mixed_binomial(size: int, ends: tuple[float, float]) -> Floats:
    """chance_K of a binomial count whose share is drawn evenly between two ends.

    The integral of a binomial probability over its share is a difference of binomial tails of ``size + 1`` draws.
    """
    low, high = ends
    if high - low < POINT:
        return binomial(size, (low + high) / 2)
    tails = [np.cumsum(binomial(size + 1, share)[::-1])[::-1][1:] for share in (low, high)]
    return (tails[1] - tails[0]) / ((size + 1) * (high - low))


def rounded(size: int, ends: tuple[float, float]) -> Floats:
    """chance_K of ``count_of(share, size)`` for a share drawn evenly between two ends."""
    low, high = ends
    edges = (np.arange(size + 2) - 0.5) / size
    edges[0], edges[1], edges[-1] = -1.0, edges[0], 2.0  # a count of 0 is never taken: what rounds to it counts as 1
    if size == 0 or high - low < POINT:
        count = max(int(np.floor((low + high) / 2 * size + 0.5)), 1)
        return (np.arange(size + 1) == count).astype(np.float64)
    inside = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
    inside[0] = 0.0
    return inside / (high - low)


def none_of(size: int, ends: tuple[float, float]) -> float:
    """The probability that none of ``size`` cells is masked, each by a draw of its own, the share between two ends."""
    low, high = ends
    if high - low < POINT:
        return float((1 - (low + high) / 2) ** size)
    return float(((1 - low) ** (size + 1) - (1 - high) ** (size + 1)) / ((size + 1) * (high - low)))
