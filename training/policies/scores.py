"""Scores: which masked cell of a block is revealed sooner.

A score is a function of what the model said, float32, larger is sooner. It never sees which cells are masked, so the score of
a cell depends on that cell alone.

Legend: N rows, M cells of a block (frames x codebooks, frame-major), C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from training.policies.noise import Key, cell_uniform
from training.policies.stats import Stats


@dataclass(frozen=True)
class Moment:
    """When a choice is made: iteration ``step`` (from 1) of ``steps``, in which rows (``key``, for random scores)."""

    step: int
    steps: int
    key: Key | None = None


Score = Callable[[Stats, Moment], Tensor]


def max_prob(stats: Stats, moment: Moment) -> Tensor:
    """Log probability of the likeliest class (VocalNet-MDM 3.3; MaskGIT)."""
    return stats.best_NM


def margin(stats: Stats, moment: Moment) -> Tensor:
    """Probability of the likeliest class less that of the next (Dream)."""
    return stats.best_NM.exp() - stats.second_NM.exp()


def neg_entropy(stats: Stats, moment: Moment) -> Tensor:
    """Entropy of the cell, negated, nats (Dream, EB-sampler)."""
    return -stats.entropy_NM


def pmi(stats: Stats, moment: Moment) -> Tensor:
    """Log probability of the chosen class less its prior (Chatterbox-Flash).

    Silence and other frequent codes are likely everywhere; without the prior they win every step. Raises ValueError where the
    statistics were made without a prior.
    """
    return stats.chosen_NM - stats.prior_NM


def sampled(stats: Stats, moment: Moment) -> Tensor:
    """Log probability of the class that was chosen, which under a temperature need not be the likeliest."""
    return stats.chosen_NM


def random(stats: Stats, moment: Moment) -> Tensor:
    """Uniform numbers out of the key. Raises ValueError where there is none."""
    if moment.key is None:
        raise ValueError("the random score needs a key")
    return cell_uniform(moment.key, moment.step, stats.token_NM.shape[1])


def left_to_right(stats: Stats, moment: Moment) -> Tensor:
    """The position, negated."""
    n, m = stats.token_NM.shape
    return -torch.arange(m, device=stats.token_NM.device, dtype=torch.float32).expand(n, m)


SCORES: dict[str, Score] = {
    "max_prob": max_prob,
    "margin": margin,
    "neg_entropy": neg_entropy,
    "pmi": pmi,
    "sampled": sampled,
    "random": random,
    "left_to_right": left_to_right,
}

NEEDS: dict[Score, str] = {pmi: "a prior", random: "random numbers"}  # beside what the model says
