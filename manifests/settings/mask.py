"""The ``mask`` block of a recipe: which parts of an utterance a model has to fill in, drawn ahead for every utterance.

A *set* is a number of views (masks) of each utterance, each drawn from a mix of corruptions. Shares are drawn evenly between the
two ends given.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from manifests.settings.base import Settings

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


def _named(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,13}", name):
        raise ValueError(
            "a set has a name of at most 14 of a-z, 0-9 and _, a letter first: it names a member of a shard"
        )
    return name


SetName = Annotated[str, AfterValidator(_named)]


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"the lower end comes first, {ends[0]:g} is above {ends[1]:g}")
    return ends


Between = Annotated[tuple[Share, Share], AfterValidator(_rising)]


class Corruption(Settings):
    """What every kind of corruption has."""

    weight: FiniteFloat = Field(
        default=1.0, gt=0, description="how often a view is of this kind, beside the others of the mix"
    )
    replace: Between = Field(
        default=(0.0, 0.0),
        description="share of the codes left visible that are replaced by other codes, drawn per view",
    )


class BernoulliSettings(Corruption):
    """Every code is masked by a draw of its own; the share is drawn per view."""

    noise: Literal["bernoulli"] = "bernoulli"
    tokens: Between = Field(default=(0.3, 0.8), description="share of masked codes")


class HierarchicalSettings(Corruption):
    """A share of the blocks is chosen, in each a share of the codes is masked: exact counts, at least one of each."""

    noise: Literal["hierarchical"] = "hierarchical"
    blocks: Between = Field(default=(0.5, 1.0), description="share of chosen blocks, drawn per view")
    tokens: Between = Field(default=(0.3, 1.0), description="share of masked codes in a chosen block")
    rate_per: Literal["block", "row"] = Field(
        default="block", description="draw the share of masked codes for each chosen block, or once per view"
    )
    full: Share = Field(default=0.0, description="share of the chosen blocks that are masked as a whole")


class FullBlockSettings(Corruption):
    """One block is masked as a whole, all others are visible: how a decoder starts a block."""

    noise: Literal["full_block"] = "full_block"


class LeftToRightSettings(Corruption):
    """In every block the positions from a cut onwards are masked; the cut is drawn per block."""

    noise: Literal["left_to_right"] = "left_to_right"


NoiseSettings = Annotated[
    BernoulliSettings | HierarchicalSettings | FullBlockSettings | LeftToRightSettings, Field(discriminator="noise")
]


def _not_empty(mix: tuple[Corruption, ...]) -> tuple[Corruption, ...]:
    if not mix:
        raise ValueError("a set needs at least one entry to draw from")
    return mix


class MaskSet(Settings):
    """So many masks of every utterance.

    In a complementary set, view 2i + 1 masks exactly what view 2i leaves visible. Where view 2i masks everything, its complement
    masks nothing and carries no loss: it is the one kind of view that may be empty.
    """

    views: int = Field(ge=1, le=65_536, description="masks per utterance")
    complementary: bool = Field(default=False, description="views come in pairs that mask each other's visible codes")
    mix: Annotated[tuple[NoiseSettings, ...], AfterValidator(_not_empty)] = Field(
        description="what views are drawn from, by weight"
    )

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> MaskSet:
        if self.complementary and self.views % 2:
            raise ValueError(f"complementary views come in pairs, so views must be even, not {self.views}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each entry of the mix: its kind, numbered where a kind occurs more than once."""
        kinds, seen = Counter(entry.noise for entry in self.mix), Counter[str]()
        names = []
        for entry in self.mix:
            seen[entry.noise] += 1
            names.append(f"{entry.noise}_{seen[entry.noise]}" if kinds[entry.noise] > 1 else entry.noise)
        return tuple(names)

    @property
    def planes(self) -> int:
        """Bits kept per code: masked, and where any entry of the mix replaces codes, replaced."""
        return 2 if any(entry.replace[1] > 0 for entry in self.mix) else 1


def _default_sets() -> dict[str, MaskSet]:
    """The two of the paper; everything masked; and what decoding meets: every block in some state, often its first or in order."""
    return {
        "bernoulli": MaskSet(views=16, mix=(BernoulliSettings(),)),
        "hierarchical": MaskSet(views=16, mix=(HierarchicalSettings(full=0.15),)),
        "whole": MaskSet(views=1, mix=(BernoulliSettings(tokens=(1.0, 1.0)),)),
        "decoding": MaskSet(
            views=8,
            mix=(HierarchicalSettings(weight=2, blocks=(1.0, 1.0), full=0.5), LeftToRightSettings(weight=1)),
        ),
    }


class MaskSettings(Settings):
    """Masks are drawn by a hash of (seed, utterance, view, place): the seed changes them all, nothing else moves any."""

    block: int = Field(default=16, ge=1, le=4_096, description="positions of a block; the model's block size")
    seed: int = Field(default=0, ge=0, lt=2**63)
    sets: dict[SetName, MaskSet] = Field(default_factory=_default_sets, min_length=1)
