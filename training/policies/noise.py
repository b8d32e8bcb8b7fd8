"""Noise of decoding: a hash of where it is used, so that no row, batch size or earlier draw can change it.

Legend: N rows, M cells of a block, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.counter import gumbel_torch, uniform_torch

DRAW, RANK = 0x64726177, 0x72616E6B  # what the noise is for; no view of a corpus has such a number


@dataclass(frozen=True)
class Key:
    """Where the rows of a call are: ``utterance_N`` int64 (``counter.signed`` of a hash), and the block each row is at."""

    seed: int
    utterance_N: Tensor
    block: Tensor | int = 0

    def rows(self, dims: int) -> tuple[Tensor, Tensor | int]:
        """Utterance and block with ``dims`` axes to broadcast over behind the row's."""
        shape = (-1, *[1] * dims)
        return self.utterance_N.view(shape), self.block.view(shape) if isinstance(self.block, Tensor) else self.block


def gumbel(key: Key, step: int, cells: int, classes: int) -> Tensor:
    """Standard Gumbel noise (N, cells, classes), float32."""
    utterance, block = key.rows(2)
    device = utterance.device
    cell, code = torch.arange(cells, device=device).unsqueeze(-1), torch.arange(classes, device=device)
    return gumbel_torch(key.seed, utterance, DRAW, block, step, cell, code)


def cell_uniform(key: Key, step: int, cells: int) -> Tensor:
    """Uniform numbers (N, cells), float32."""
    utterance, block = key.rows(1)
    return uniform_torch(key.seed, utterance, RANK, block, step, torch.arange(cells, device=utterance.device)).float()
