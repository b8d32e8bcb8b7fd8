"""What a fit makes: how patches become codes and codes become patches again, and its bytes.

Everything is stored as int16: levels in half-decibels, distances in decibels, bases and smoother in fixed point. Whole
numbers keep encoding exact, and rounding takes up what a solver's last bits may do, so that a fit gives the same bytes
again.

Shapes: P patches, D values of a patch, Z dimensions they are compared in, K codes, Q codebooks, C = 3 * Z.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenization.adapter import Codes
from tokenization.patches.kmeans import Ints, nearest
from tokenization.patches.spectrum import STEPS_PER_DB

BASIS_ONE = 2048  # 1.0 in a basis' fixed point
SMOOTHER_ONE = 4096  # 1.0 in the smoother's fixed point


@dataclass(frozen=True)
class PatchesCodebook:
    """A fitted codebook.

    mean_D         the mean patch
    basis_DZ       the principal axes, in 1/2048
    centroids_QKZ  of each codebook, in decibels along the axes; codes that no patch of the sample took repeat the first
                   centroids, so that they decode to something and are never made
    levels_QKD     what each code adds to a patch, in half-decibels
    smoother_CD    what the codes before, here and after (their centroids) add to that, in 1/4096
    encoding       the settings that made it
    facts          what the fit found: live codes, perplexity, distortion, seconds
    """

    mean_D: Ints
    basis_DZ: Ints
    centroids_QKZ: Ints
    levels_QKD: Ints
    smoother_CD: Ints
    encoding: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _basis(self) -> npt.NDArray[np.float64]:
        return self.basis_DZ.astype(np.float64)

    def project(self, levels_PD: Ints) -> Ints:
        """``points_PZ``: patches along the principal axes, in whole decibels. Exact: integer products in float64."""
        products_PZ = (levels_PD.astype(np.float64) - self.mean_D) @ self._basis
        return np.rint(products_PZ / (BASIS_ONE * STEPS_PER_DB)).astype(np.int16)

    def quantize(self, points_PZ: Ints) -> Codes:
        """``codes_PQ``: the nearest centroid in each codebook, each after the first on what the earlier ones left."""
        codes_PQ = np.empty((len(points_PZ), len(self.centroids_QKZ)), dtype=np.uint16)
        rest_PZ = points_PZ
        for book, centroids_KZ in enumerate(self.centroids_QKZ):
            labels_P = nearest(rest_PZ, centroids_KZ)
            rest_PZ = rest_PZ - centroids_KZ[labels_P]
            codes_PQ[:, book] = labels_P
        return codes_PQ

    def points(self, codes_PQ: Codes) -> Ints:
        """``points_PZ``: where codes lie along the principal axes."""
        return _looked_up(self.centroids_QKZ, codes_PQ)

    def plain_levels(self, codes_PQ: Codes) -> Ints:
        """``levels_PD``: the mean patch of each code, in half-decibels."""
        return _looked_up(self.levels_QKD, codes_PQ)

    def levels(self, codes_PQ: Codes) -> npt.NDArray[np.float64]:
        """``levels_PD``: patches as the codes and their neighbours suggest them, in half-decibels."""
        context_PC = with_neighbours(self.points(codes_PQ)).astype(np.float64)
        return self.plain_levels(codes_PQ) + context_PC @ (self.smoother_CD / SMOOTHER_ONE)


def _looked_up(tables_QKX: Ints, codes_PQ: Codes) -> Ints:
    """The sum over codebooks of the rows that codes name."""
    books = np.arange(len(tables_QKX))
    return tables_QKX[books, codes_PQ].sum(axis=1, dtype=np.int16)


def with_neighbours(points_PZ: Ints) -> Ints:
    """``context_PC``: each point's predecessor, itself and its successor.

    At the ends a point stands for its missing neighbour.
    """
    before = np.concatenate([points_PZ[:1], points_PZ[:-1]])
    after = np.concatenate([points_PZ[1:], points_PZ[-1:]])
    return np.concatenate([before, points_PZ, after], axis=1)
