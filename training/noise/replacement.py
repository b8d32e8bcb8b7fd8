"""Token replacement: some visible codes are other codes, so that a model learns not to believe its context blindly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.noise.grid import Bools, Grid, Key, Purpose, cells_of


def replaced(ends: tuple[float, float], grid: Grid, key: Key, masked_VLQ: Bools) -> Bools:
    """replaced_VLQ: visible codes, each by a draw of its own at a rate drawn per view. End-of-speech is never replaced."""
    if ends[1] <= 0:
        return np.zeros_like(masked_VLQ)
    rate_V = key.between(Purpose.REPLACED_RATE, ends)
    drawn_VLQ = key.uniform(Purpose.REPLACED, *cells_of(grid.positions, grid.codebooks))
    replaced_VLQ = (drawn_VLQ < rate_V[:, None, None]) & ~masked_VLQ
    replaced_VLQ[:, grid.frames :] = False
    return replaced_VLQ


def replacements(true_LQ: npt.NDArray[np.integer], key: Key, vocab: int) -> npt.NDArray[np.int64]:
    """ids_VLQ: for each view another code than the true one in every cell, each as likely as any other.

    Which cells take theirs is what :func:`replaced` says. Cells that hold no code (ids from ``vocab`` on: end-of-speech) keep
    what they hold. Raises ValueError for a vocabulary of one code, which has no other.
    """
    if vocab < 2:
        raise ValueError(f"a vocabulary of {vocab} has no other code to put in")
    positions, codebooks = true_LQ.shape
    drawn_VLQ = key.bits(Purpose.REPLACEMENT, *cells_of(positions, codebooks)) % np.uint64(vocab - 1)
    other_VLQ = (true_LQ.astype(np.int64) + 1 + drawn_VLQ.astype(np.int64)) % vocab
    return np.where(true_LQ < vocab, other_VLQ, true_LQ.astype(np.int64))
