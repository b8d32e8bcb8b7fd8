"""MinHash with locality-sensitive hashing: of sets, those that share much with an earlier one (Broder 1997; Indyk & Motwani 1998).

Of each set the least value under many hash functions is kept; two sets share such a value as often as they share elements. A few of
these values make a band, and sets that agree in a whole band are candidates, to be compared in full by whoever asks.

The table is open addressing over two plain arrays, 12 to 24 bytes an entry; a Python dictionary of the same takes about a hundred. (The
library datasketch keeps such dictionaries, and brings scipy.) Nothing here depends on the machine or on Python's own hashes.

Legend: elements_E distinct 64-bit hashes; least_K least values by hash function; keys_B by band.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

HASHES = 128
RECALL = 0.995  # of pairs exactly as alike as asked
PER_KEY = 8  # entries of one key: what many agree in tells little
PIECE = 4096  # elements hashed at once
TO_HOME = 0x9E3779B1
ODD, GOLDEN = np.uint64(1), np.uint64(0x9E3779B97F4A7C15)


def mixed(values: np.ndarray) -> np.ndarray:
    """uint64 to uint64, one to one, every bit of the result of every bit given (splitmix64)."""
    z = values.astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bands_for(similarity: float, hashes: int = HASHES) -> tuple[int, int]:
    """(bands, rows): the longest bands that miss at most 1 - :data:`RECALL` of pairs of this Jaccard similarity."""
    for rows in range(hashes, 1, -1):
        bands = hashes // rows
        if 1 - (1 - similarity**rows) ** bands >= RECALL:
            return bands, rows
    return hashes, 1


@dataclass
class MinHash:
    """The band keys of sets; ``bands * rows`` hash functions, the same in every process."""

    bands: int
    rows: int

    def __post_init__(self) -> None:
        drawn = mixed(np.arange(1, 2 * self.bands * self.rows + 1, dtype=np.uint64) * GOLDEN)
        self._times_K, self._plus_K = drawn[::2] | ODD, drawn[1::2]
        self._weights_R = mixed(np.arange(1, self.rows + 1, dtype=np.uint64) * GOLDEN) | ODD

    def keys(self, elements_E: np.ndarray) -> list[int]:
        """One 32-bit key a band, of a set that is not empty."""
        least_K = np.full(len(self._times_K), np.iinfo(np.uint64).max, np.uint64)
        for first in range(0, len(elements_E), PIECE):
            hashed_EK = elements_E[first : first + PIECE, None] * self._times_K + self._plus_K
            np.minimum(least_K, (hashed_EK >> np.uint64(32)).min(axis=0), out=least_K)
        joined_B = (least_K.reshape(self.bands, self.rows) * self._weights_R).sum(axis=1, dtype=np.uint64)
        keys_B = mixed(joined_B + np.arange(self.bands, dtype=np.uint64) * GOLDEN) >> np.uint64(32)
        return keys_B.tolist()


def _home(keys_K: np.ndarray) -> np.ndarray:
    """The slots that keys are looked for from, to be cut to the size of the table."""
    return keys_K * np.uint64(TO_HOME) >> np.uint64(7)


@dataclass
class Table:
    """Which items have a key. Items are numbers from 0 on; a key keeps its first :data:`PER_KEY`."""

    size: int = 1 << 10
    _keys: array[int] = field(init=False)
    _items: array[int] = field(init=False)
    _count: int = 0

    def __post_init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._keys, self._items, self._count = (
            array("I", bytes(4 * self.size)),
            array("i", b"\xff" * (4 * self.size)),
            0,
        )

    def find(self, keys: Iterable[int]) -> list[int]:
        """The items that have any of these keys, sorted; all keys are looked for at once."""
        wanted_K = np.unique(np.fromiter(keys, np.uint64))
        keys_S, items_S = np.frombuffer(self._keys, np.uint32), np.frombuffer(self._items, np.int32)
        mask, found = np.uint64(self.size - 1), [np.zeros(0, np.int32)]
        slots_K = _home(wanted_K) & mask
        while len(slots_K):
            items_K = items_S[slots_K]
            taken_K = items_K >= 0
            found.append(items_K[taken_K & (keys_S[slots_K] == wanted_K)])
            wanted_K, slots_K = wanted_K[taken_K], (slots_K[taken_K] + ODD) & mask
        return np.unique(np.concatenate(found)).tolist()

    def add(self, key: int, item: int) -> None:
        if 3 * self._count >= 2 * self.size:
            self._grow()
        keys, items, mask, had = self._keys, self._items, self.size - 1, 0
        slot = (key * TO_HOME >> 7) & mask
        while items[slot] >= 0:
            had += keys[slot] == key
            if had >= PER_KEY:
                return
            slot = (slot + 1) & mask
        keys[slot], items[slot] = key, item
        self._count += 1

    def _grow(self) -> None:
        keys, items = self._keys, self._items
        self.size *= 2
        self._clear()
        for key, item in zip(keys, items, strict=True):
            if item >= 0:
                self.add(key, item)


@dataclass
class Index:
    """Sets that came before, and which of them a new one may resemble."""

    minhash: MinHash
    table: Table = field(default_factory=Table)

    @classmethod
    def at(cls, similarity: float) -> Index:
        """For pairs of this Jaccard similarity and more."""
        return cls(MinHash(*bands_for(similarity)))

    def candidates(self, keys: list[int]) -> list[int]:
        """Items that agree with these keys in a band or more, in the order they were added."""
        return self.table.find(keys)

    def add(self, keys: list[int], item: int) -> None:
        for key in keys:
            self.table.add(key, item)


def jaccard(a_E: np.ndarray, b_E: np.ndarray) -> float:
    """What two sets share, as a share of what both hold together; of two empty ones 1."""
    shared = len(np.intersect1d(a_E, b_E, assume_unique=True))
    together = len(a_E) + len(b_E) - shared
    return shared / together if together else 1.0
