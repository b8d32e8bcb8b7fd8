"""Budgets: how many cells a row may reveal at a step, and which of them by a test of their own.

A budget is memoryless: it looks at what is masked now, not at what was revealed before, so it serves blocks that begin partly
masked as well. It gives at least 1 to a row that is not finished, never more than what is masked.

Legend: N rows, M cells of a block (frames x codebooks, frame-major). ``_N1`` holds one number for a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from training.policies.ranks import rank, rank_first
from training.policies.stats import Stats

UNITS = 2**20  # a schedule's share of the rest, in whole numbers: the same count on every device
MOST = 1e6  # of a parameter without a bound of its own: more makes no difference
ROUNDING = 1e-3  # of a unit: more than the error of a float, less than any share that is meant


@dataclass(frozen=True)
class View:
    """A block at step ``step`` (from 1) of ``steps``: what is masked, and what the score says of it."""

    stats: Stats
    masked_NM: Tensor
    score_NM: Tensor
    step: int
    steps: int

    @cached_property
    def left_N1(self) -> Tensor:
        """How many cells are masked."""
        return self.masked_NM.sum(1, keepdim=True)

    @cached_property
    def rank_NM(self) -> Tensor:
        """Rank by score, from 0; masked cells come first."""
        return rank(self.score_NM, self.masked_NM)


class Allotment(NamedTuple):
    """The cells of a row in the order ``rank_NM``; up to ``most_N1`` of them may be revealed, ``least_N1`` ought to be."""

    rank_NM: Tensor
    most_N1: Tensor
    least_N1: Tensor


class Budget(Protocol):
    def __call__(self, view: View) -> Allotment: ...


def require_probability(tau: float) -> None:
    """Raise ValueError where nothing could be compared with ``tau``."""
    if not 0 < tau <= 1:
        raise ValueError(f"tau is a probability above 0, not {tau:g}")


def require_within(name: str, value: float, most: float) -> None:
    """Raise ValueError for a parameter below 0 or above ``most``."""
    if not 0 <= value <= most:
        raise ValueError(f"{name} lies between 0 and {most:g}, not at {value:g}")


def by_test(view: View, passed_NM: Tensor) -> Allotment:
    """All masked cells that passed, in order of score; the best one where none did."""
    passed_NM = passed_NM & view.masked_NM
    least_N1 = view.left_N1.clamp(max=1)
    most_N1 = torch.maximum(passed_NM.sum(1, keepdim=True), least_N1)
    return Allotment(rank_first(view.rank_NM, passed_NM), most_N1, least_N1)


# Schedules: what share of a block is still masked after step j of K. Even is exact; the others are rounded down to UNITS.


def even(step: int, steps: int) -> tuple[int, int]:
    """Step j reveals ceil(left / (K - j + 1)), as VocalNet-MDM does: 16 masks in 4 steps are 4, 4, 4, 4."""
    return 1, steps - step + 1


def cosine(step: int, steps: int) -> tuple[int, int]:
    """cos(pi/2 j/K) of the block stays masked: few at first, many at last (MaskGIT)."""
    return _share(lambda u: math.cos(math.pi / 2 * u), step, steps)


def shifted(step: int, steps: int, tau: float = 0.5) -> tuple[int, int]:
    """A fraction tau u / (1 + (tau - 1) u) of the block is revealed at u = j/K (OmniVoice, Chatterbox-Flash)."""
    return _share(lambda u: 1 - tau * u / (1 + (tau - 1) * u), step, steps)


def _share(left: Callable[[float], float], step: int, steps: int) -> tuple[int, int]:
    before, after = left((step - 1) / steps), left(step / steps)
    return max(1, math.floor((1 - after / before) * UNITS + ROUNDING)), UNITS


@dataclass(frozen=True)
class Schedule:
    """A share of what is left, rounded up; the share depends on the step alone."""

    share: Callable[[int, int], tuple[int, int]] = even

    def __call__(self, view: View) -> Allotment:
        part, whole = self.share(view.step, view.steps)
        left_N1 = view.left_N1 if part == 1 else view.left_N1 * part
        count_N1 = (left_N1 + (whole - 1)).div(whole, rounding_mode="floor")
        return Allotment(view.rank_NM, count_N1, count_N1)


@dataclass(frozen=True)
class Threshold:
    """Cells whose chosen class has a probability above ``tau`` (Fast-dLLM .9, Dimple .95)."""

    tau: float = 0.9

    def __post_init__(self) -> None:
        require_probability(self.tau)

    def __call__(self, view: View) -> Allotment:
        return by_test(view, view.stats.chosen_NM > math.log(self.tau))


@dataclass(frozen=True)
class DecayingThreshold:
    """A threshold tau (1 - decay (1 - r)) that falls with the masked share r of the block (Streaming-dLLM)."""

    tau: float = 0.9
    decay: float = 0.3

    def __post_init__(self) -> None:
        require_probability(self.tau)
        require_within("decay", self.decay, 1)

    def __call__(self, view: View) -> Allotment:
        masked_N1 = view.left_N1 / view.masked_NM.shape[1]
        tau_N1 = self.tau * (1 - self.decay * (1 - masked_N1))
        return by_test(view, view.stats.chosen_NM.exp() > tau_N1)


@dataclass(frozen=True)
class EntropyBound:
    """The longest run of the ranking whose entropies, less the largest of them, sum to at most ``bound`` nats (EB-sampler)."""

    bound: float = 0.5

    def __post_init__(self) -> None:
        require_within("bound", self.bound, MOST)

    def __call__(self, view: View) -> Allotment:
        m = view.masked_NM.shape[1]
        entropy_NM = view.stats.entropy_NM.clamp_min(0)
        ranked_NM = torch.zeros_like(entropy_NM).scatter_(1, view.rank_NM, entropy_NM)
        excess_NM = ranked_NM.cumsum(1) - ranked_NM.cummax(1).values
        # Masked cells come first. Sums of floats may shrink by a rounding error; what fits must be a run from the first.
        fits_NM = (excess_NM.cummax(1).values <= self.bound) | (torch.arange(m, device=excess_NM.device) == 0)
        count_N1 = torch.minimum(fits_NM.sum(1, keepdim=True), view.left_N1)
        return Allotment(view.rank_NM, count_N1, view.left_N1.clamp(max=1))


@dataclass(frozen=True)
class Quantile:
    """Masked cells that score at or above the quantile max(0, 1 - alpha (j + 1)/K), j from 0 (Chatterbox-Flash).

    Alpha 0 leaves the best cell; larger is faster.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        require_within("alpha", self.alpha, MOST)

    def __call__(self, view: View) -> Allotment:
        level = max(0.0, 1 - self.alpha * view.step / view.steps)
        part = math.ceil((1 - level) * UNITS - ROUNDING)
        # Rank of the worst cell that is still at or above the quantile, of left - 1 below the best.
        worst_N1 = ((view.left_N1 - 1).clamp_min(0) * part).div(UNITS, rounding_mode="floor")
        is_worst_NM = view.masked_NM & (view.rank_NM == worst_N1)
        bar_N1 = view.score_NM.masked_fill(~is_worst_NM, float("-inf")).amax(1, keepdim=True)
        return by_test(view, (view.score_NM >= bar_N1) | (view.rank_NM <= worst_N1))


@dataclass(frozen=True)
class ConfidentPrefix:
    """Masked cells from the left for as long as the chosen class has a probability above ``tau`` (SDLM)."""

    tau: float = 0.9

    def __post_init__(self) -> None:
        require_probability(self.tau)

    def __call__(self, view: View) -> Allotment:
        doubtful_NM = view.masked_NM & ~(view.stats.chosen_NM > math.log(self.tau))
        return by_test(view, doubtful_NM.cumsum(1) == 0)


@dataclass(frozen=True)
class AtLeast:
    """A budget that never falls behind another: a test that may pass too few, over a schedule that says how many must."""

    budget: Budget = field(default_factory=Threshold)
    floor: Budget = field(default_factory=Schedule)

    def __call__(self, view: View) -> Allotment:
        wished, floor = self.budget(view), self.floor(view)
        return Allotment(wished.rank_NM, torch.maximum(wished.most_N1, floor.most_N1), floor.least_N1)


@dataclass(frozen=True)
class All:
    """Everything that is masked."""

    def __call__(self, view: View) -> Allotment:
        return Allotment(view.rank_NM, view.left_N1, view.left_N1)


def _shifted(tau: float = 0.5) -> Schedule:
    if not 0 < tau <= MOST:
        raise ValueError(f"tau lies above 0, {MOST:g} at most, not at {tau:g}")
    return Schedule(partial(shifted, tau=tau))


BUDGETS: dict[str, Callable[..., Budget]] = {
    "even_ceil": lambda: Schedule(even),
    "cosine": lambda: Schedule(cosine),
    "shifted": _shifted,
    "threshold": Threshold,
    "threshold_even": lambda tau=0.95: AtLeast(Threshold(tau), Schedule()),
    "decaying_threshold": DecayingThreshold,
    "entropy_bound": EntropyBound,
    "quantile": lambda alpha=0.5: AtLeast(Quantile(alpha), Schedule(shifted)),
    "confident_prefix": ConfidentPrefix,
    "all": All,
}
