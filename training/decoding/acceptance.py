"""Which guesses of a multi-token pass are kept.

Legend: N rows, A slots (frames fed in a pass), W windows of G masks, Q codebooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from training.policies.budgets import require_probability
from training.policies.stats import Stats
from training.policies.written import numbers


@dataclass(frozen=True)
class Said:
    """What the model said in a pass, of the last W slots.

    fed_NAQ    frames in all slots
    first_N    the first slot in use
    next_NWQ   the frame after each slot, as an autoregressive decoder would say it
    guess_NWGQ the frames after that one, as guessed by the window of each slot
    stats      of the same choices, (N x (W + W x G), Q)
    """

    fed_NAQ: Tensor
    first_N: Tensor
    next_NWQ: Tensor
    guess_NWGQ: Tensor
    stats: Stats

    def sure_NWG(self) -> Tensor:
        """Log probability of each guess, of its least sure codebook."""
        shape = self.guess_NWGQ.shape[:3]
        return self.stats.chosen_NM.amin(1).view(shape[0], -1)[:, shape[1] :].view(shape)


class Acceptance(Protocol):
    """How far a pass brings a row."""

    @property
    def every_slot(self) -> bool:
        """A window behind every slot, W = A, and not only behind the last one, W = 1."""
        ...

    @property
    def provisional(self) -> bool:
        """Guesses are fed as they are, and count only when that pass has found them right."""
        ...

    @property
    def certain(self) -> bool:
        """Every pass keeps everything."""
        ...

    def anchor(self, said: Said) -> Tensor:
        """``anchor_N``: which of the W slots is the last whose frame is right; its window is read."""
        ...

    def kept(self, said: Said) -> Tensor | None:
        """``kept_N``: how many of the window's guesses are kept, None for all."""
        ...


def leading(passed_NX: Tensor) -> Tensor:
    """``count_N`` of those that passed before the first that did not."""
    return passed_NX.long().cumprod(1).sum(1)


@dataclass(frozen=True)
class Unverified:
    """Everything is kept (VocalNet's public decoder)."""

    every_slot: bool = field(default=False, init=False)
    provisional: bool = field(default=False, init=False)
    certain: bool = field(default=True, init=False)

    def anchor(self, said: Said) -> Tensor:
        return torch.zeros_like(said.first_N)

    def kept(self, said: Said) -> Tensor | None:
        return None


@dataclass(frozen=True)
class Confident(Unverified):
    """Guesses up to the first whose probability is not above ``tau`` (SDLM)."""

    certain: bool = field(default=False, init=False)
    tau: float = 0.9

    def __post_init__(self) -> None:
        require_probability(self.tau)

    def kept(self, said: Said) -> Tensor | None:
        return leading(said.sure_NWG()[:, 0] > math.log(self.tau))


@dataclass(frozen=True)
class Verified:
    """Guesses that the next pass's own predictions agree with: the result is that of autoregressive decoding."""

    every_slot: bool = field(default=True, init=False)
    provisional: bool = field(default=True, init=False)
    certain: bool = field(default=False, init=False)

    def anchor(self, said: Said) -> Tensor:
        right_NX = (said.fed_NAQ[:, 1:] == said.next_NWQ[:, :-1]).all(2)
        slot_X = torch.arange(1, right_NX.shape[1] + 1, device=right_NX.device)
        return leading(right_NX | (slot_X <= said.first_N[:, None]))

    def kept(self, said: Said) -> Tensor | None:
        return None


ACCEPTANCES: dict[str, Callable[..., Acceptance]] = {
    "unverified": Unverified,
    "confident": Confident,
    "verified": Verified,
}


def acceptance_of(text: str) -> Acceptance:
    """An acceptance by name, with its number where it takes one: ``confident:0.9``. Raises ValueError, in one line, with what there is."""
    name = text.partition(":")[0]
    if name not in ACCEPTANCES:
        raise ValueError(f"no way {name!r} to accept guesses; there are {', '.join(sorted(ACCEPTANCES))}")
    given = numbers(text, ACCEPTANCES[name])
    try:
        return ACCEPTANCES[name](**given)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None
