"""Ranks within a row: the one place that sorts. Larger scores first, ties by the lower position.

Legend: N rows, M cells of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = torch.finfo(torch.float32).min


def rank(score_NM: Tensor, first_NM: Tensor) -> Tensor:
    """Rank of every cell from 0, cells of ``first_NM`` before all others, whatever their score (even -inf)."""
    key_NM = score_NM.float().clamp_min(LEAST).masked_fill(~first_NM, float("-inf"))
    return key_NM.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def rank_first(rank_NM: Tensor, first_NM: Tensor) -> Tensor:
    """The same order, but with the cells of ``first_NM`` moved to the front."""
    key_NM = torch.where(first_NM, rank_NM, rank_NM + rank_NM.shape[1])
    return key_NM.argsort(dim=1).argsort(dim=1)
