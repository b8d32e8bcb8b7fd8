"""k-means on whole numbers: exact, so the same on any number of threads.

Points and centroids are integers, and every product and sum stays below the mantissa of the float type it is computed
in. Matrix products may then add in any order: the result is the same to the bit.

Shapes: N points, K centroids, Z dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int16]
Labels = npt.NDArray[np.int64]
Tick = Callable[[int, int], None]
"""Called with the rounds done, and of how many; many times in a round, as a sign of life."""

ROWS = 1024  # points compared at once: bounds the memory of a search
EXACT_FLOAT32 = 2**23  # halves below it are exact in float32


def _exact_type(points_NZ: Ints, centroids_KZ: Ints) -> npt.DTypeLike:
    """float32 where no score can leave its exact range, else float64 (where none can)."""
    longest_N = float(np.sqrt((points_NZ.astype(np.float64) ** 2).sum(axis=1).max(initial=0)))
    longest_K = float(np.sqrt((centroids_KZ.astype(np.float64) ** 2).sum(axis=1).max(initial=0)))
    return np.float32 if longest_K * (longest_N + longest_K / 2) < EXACT_FLOAT32 else np.float64


def nearest(points_NZ: Ints, centroids_KZ: Ints, alive: Callable[[], None] = lambda: None) -> Labels:
    """``labels_N``: the nearest centroid of each point, the first of equally near ones. Exact.

    Calls ``alive`` after every :data:`ROWS` points.
    """
    kind = _exact_type(points_NZ, centroids_KZ)
    centroids_ZK = np.ascontiguousarray(centroids_KZ.T, dtype=kind)
    half_K = (centroids_ZK**2).sum(axis=0) / 2
    labels_N = np.empty(len(points_NZ), dtype=np.int64)
    for start in range(0, len(points_NZ), ROWS):
        scores_RK = points_NZ[start : start + ROWS].astype(kind) @ centroids_ZK - half_K
        labels_N[start : start + ROWS] = scores_RK.argmax(axis=1)
        alive()
    return labels_N


def squared_errors(points_NZ: Ints, centroids_KZ: Ints, labels_N: Labels) -> npt.NDArray[np.int64]:
    """The squared distance of each point to its centroid."""
    return ((points_NZ.astype(np.int64) - centroids_KZ[labels_N]) ** 2).sum(axis=1)


def means(values_ND: Ints, labels_N: Labels, count: int, empty_KD: Ints) -> Ints:
    """The rounded mean of the values of each label; ``empty_KD`` where a label has none."""
    order_N = np.argsort(labels_N, kind="stable")
    present, starts, sizes = np.unique(labels_N[order_N], return_index=True, return_counts=True)
    sums = np.add.reduceat(values_ND[order_N].astype(np.int64), starts, axis=0)
    result_KD = empty_KD.copy()
    result_KD[present] = np.rint(sums / sizes[:, None])
    if len(result_KD) != count:
        raise ValueError(f"{count} labels, but values for {len(result_KD)}")
    return result_KD


def revived(points_NZ: Ints, centroids_KZ: Ints, labels_N: Labels) -> Ints:
    """Centroids, the empty ones moved to the points worst served, at most one to each cluster."""
    empty = np.flatnonzero(np.bincount(labels_N, minlength=len(centroids_KZ)) == 0)
    if not len(empty):
        return centroids_KZ
    errors_N = squared_errors(points_NZ, centroids_KZ, labels_N)
    worst_N = np.lexsort((np.arange(len(labels_N)), -errors_N))
    _, first = np.unique(labels_N[worst_N], return_index=True)
    chosen = worst_N[np.sort(first)][: len(empty)]
    chosen = chosen[errors_N[chosen] > 0]
    result_KZ = centroids_KZ.copy()
    result_KZ[empty[: len(chosen)]] = points_NZ[chosen]
    return result_KZ


def kmeans(points_NZ: Ints, size: int, iterations: int, seed: int, tick: Tick = lambda done, of: None) -> Ints:
    """``centroids_KZ``: at most ``size`` centroids, every one nearest to some point.

    Fewer where there are fewer distinct points. Starts from distinct points drawn by ``seed``; in every round a
    centroid without points moves to where the error is largest. Raises ValueError without points.
    """
    if not len(points_NZ):
        raise ValueError("no points to fit a codebook on")
    distinct_UZ = np.unique(points_NZ, axis=0)
    draw = np.random.Generator(np.random.Philox(seed))
    centroids_KZ = distinct_UZ[np.sort(draw.permutation(len(distinct_UZ))[:size])]
    for done in range(iterations):
        labels_N = nearest(points_NZ, centroids_KZ, partial(tick, done, iterations))
        centroids_KZ = means(points_NZ, labels_N, len(centroids_KZ), centroids_KZ)
        if done < iterations - 1:
            centroids_KZ = revived(points_NZ, centroids_KZ, labels_N)
        tick(done + 1, iterations)
    return centroids_KZ[np.unique(nearest(points_NZ, centroids_KZ, partial(tick, iterations, iterations)))]
