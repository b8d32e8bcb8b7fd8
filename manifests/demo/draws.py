"""Counter-based randomness: a draw is a pure function of its seed and its path, never of earlier draws."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def digest(*path: object) -> int:
    """A 64-bit number for a path of plain values (blake2b of their text); the same on every machine."""
    text = "\x1f".join(str(step) for step in path)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Draws:
    """A tree of random numbers: ``Draws(seed, path)`` is one node, :meth:`at` a child of it.

    Two nodes with different paths are independent; the same path always gives the same value.
    """

    seed: int
    path: tuple[object, ...] = ()

    def at(self, *steps: object) -> Draws:
        """The node reached from here by *steps*."""
        return Draws(self.seed, (*self.path, *steps))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """This node's number in [low, high)."""
        return low + (high - low) * (digest(self.seed, *self.path) >> 11) / float(1 << 53)

    def choice(self, options: Sequence[T]) -> T:
        """This node's choice among *options*, which must not be empty."""
        return options[digest(self.seed, *self.path) % len(options)]
