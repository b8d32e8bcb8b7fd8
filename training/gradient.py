"""The gradient of a step: one flat tensor that backward adds to in place, summed over parts and ranks, divided once at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.distributed import Ranks
from training.losses import TINY, Sum


@dataclass(frozen=True)
class Totals:
    """What a step learned from, over all parts and ranks. ``true`` is the true codes' cross-entropy, which need not be all of the loss."""

    loss: float
    true: float
    weight: float
    positions: int
    stop: bool


class Gradient:
    """Gradients of all weights side by side, and behind them the numbers that are summed over ranks with them.

    Losses are summed, not averaged, on the way, and divided by the weight of the whole batch: how a batch is cut into parts
    and dealt to ranks cannot change the gradient by more than rounding.
    """

    NUMBERS = 5  # total loss, that of true codes, weight, positions, wishes to stop

    def __init__(self, weights: Iterable[nn.Parameter]) -> None:
        weights = list(weights)
        count = sum(p.numel() for p in weights)
        self._all = torch.zeros(count + self.NUMBERS, dtype=weights[0].dtype, device=weights[0].device)
        self.flat, self._numbers = self._all[:count], self._all[count:]
        start = 0
        for p in weights:
            p.grad = self.flat[start : start + p.numel()].view_as(p)
            start += p.numel()

    def clear(self) -> None:
        self._all.zero_()

    def add(self, loss: Sum, positions: Tensor) -> None:
        """Backward of a part's summed loss."""
        loss.total.backward()
        total = loss.total.detach()
        true = total if loss.true is None else loss.true
        self._numbers[:4] += torch.stack([total, true, loss.weight, positions]).to(self._numbers)

    def sum(self, ranks: Ranks, stop: bool) -> Totals:
        """Add up all ranks. Any rank's wish to stop is everyone's."""
        self._numbers[4] += float(stop)
        total, true, weight, positions, wishes = ranks.add(self._all)[-self.NUMBERS :].tolist()
        over = max(weight, TINY)
        return Totals(total / over, true / over, weight, int(positions), wishes > 0)

    def finish(self, weight: float, clip: float | None) -> float:
        """Divide by the weight of the batch and cut the norm down to ``clip``; returns the norm before that."""
        norm = float(self.flat.norm()) / max(weight, TINY)
        scale = 1 / max(weight, TINY)
        if clip is not None and math.isfinite(norm):
            scale *= min(1.0, clip / (norm + 1e-6))
        self.flat.mul_(scale)
        return norm
