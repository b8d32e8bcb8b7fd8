"""The average of the weights over steps: smoother than the last ones, and what decoding uses."""

from __future__ import annotations

import copy

import torch

from training.talker import Talker


class Average:
    """An exponential average of a talker's weights, without bias towards where they began: a talker of its own."""

    def __init__(self, talker: Talker, decay: float) -> None:
        self.talker, self.decay = copy.deepcopy(talker).requires_grad_(False).eval(), decay
        self._mine, self._theirs = list(self.talker.parameters()), list(talker.parameters())

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the weights after ``steps`` steps. The first ones replace what was there: (1 - d) / (1 - d^t) is 1 at t = 1."""
        weight = (1 - self.decay) / (1 - self.decay**steps)
        for mine, theirs in zip(self._mine, self._theirs, strict=True):
            mine.lerp_(theirs, weight)
