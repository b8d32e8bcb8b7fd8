"""What a mask is drawn over, and the numbers it is drawn from.

Legend: V views, L positions of an utterance, Q codebooks, n blocks; cells are (position, codebook) pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from training.counter import UNIT, bits, hash_key

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of an utterance: its frames, then end-of-speech in every position to the end of the last block.

    There is at least one such position, and masks cover them all: a model has to learn where speech ends.
    """

    frames: int
    codebooks: int
    block: int

    @property
    def blocks(self) -> int:
        return self.frames // self.block + 1

    @property
    def positions(self) -> int:
        return self.blocks * self.block

    @property
    def cells(self) -> int:
        return self.positions * self.codebooks

    @property
    def block_cells(self) -> int:
        return self.block * self.codebooks


class Purpose(IntEnum):
    """What a random number is for: one of its coordinates. Numbers are never used again for another purpose."""

    SCHEME = 0
    ROW_RATE = 1
    CELL = 2
    CHOSEN_BLOCKS = 3
    BLOCK = 4
    CELL_RATE = 5
    WHOLE_BLOCK = 6
    BLOCK_CELL = 7
    ONE_BLOCK = 8
    CUT = 9
    REPLACED_RATE = 10
    REPLACED = 11
    REPLACEMENT = 12


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """What all random numbers of an utterance's views hang on: the seed, the utterance, the views' numbers.

    View 3 is the same whether it is drawn alone or with others, so views can be drawn one by one or together, in any order.
    """

    seed: int
    utterance: int
    views_V: Counts

    @classmethod
    def of(cls, seed: int, utterance_id: str, views: Sequence[int] | Counts = (0,)) -> Self:
        return cls(seed, hash_key(utterance_id), np.asarray(views, np.int64))

    def at(self, views: Sequence[int] | Counts) -> Key:
        """The same utterance, other views."""
        return Key(self.seed, self.utterance, np.asarray(views, np.int64))

    def bits(self, purpose: Purpose, *coordinates: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
        """64 random bits for each view (first axis) and place (the coordinates' common shape behind it).

        A cell's coordinates are its codebook and its position in the utterance; a block's is its number.
        """
        depth = max((c.ndim for c in coordinates), default=0)
        return bits(self.seed, self.utterance, int(purpose), self.views_V.reshape(-1, *(1,) * depth), *coordinates)

    def uniform(self, purpose: Purpose, *coordinates: npt.NDArray[Any]) -> Floats:
        """:meth:`bits` as numbers in [0, 1)."""
        return (self.bits(purpose, *coordinates) >> np.uint64(11)).astype(np.float64) * UNIT

    def between(self, purpose: Purpose, ends: tuple[float, float], *coordinates: npt.NDArray[Any]) -> Floats:
        """Numbers drawn evenly between two ends."""
        low, high = ends
        return low + (high - low) * self.uniform(purpose, *coordinates)


def cells_of(positions: int, codebooks: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The coordinates of all cells: codebooks (1, Q), then positions (L, 1); the long one last, so that it is hashed once."""
    return np.arange(codebooks)[None, :], np.arange(positions)[:, None]


def count_of(share: Floats, size: int) -> Counts:
    """How many of ``size`` things a share is: rounded half up, at least one."""
    return np.maximum(np.floor(share * size + 0.5).astype(np.int64), 1)


def least(bits_N: npt.NDArray[np.uint64], count: Counts) -> Bools:
    """Which are the ``count`` (at least one) least along the last axis: a uniform subset of exactly that size.

    Two equal hashes at the border would both be in. That of 64 bits happens once in 10^17 blocks, and the same way each time.
    """
    limit = np.take_along_axis(np.sort(bits_N, axis=-1), count[..., None] - 1, axis=-1)
    return bits_N <= limit
