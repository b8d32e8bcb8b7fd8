"""Passes over a block: what they settle on the way, and who sees whom in them.

Keys are settled in the order of arrival: text of turn 0, block 0, text of turn 1, block 1, ... What was settled before a
block is open to all of it; what arrives with it is told apart by :func:`training.attention.allow`.

Legend: N rows, B positions of a block, T positions of a pass, E positions seen, D width.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.attention import CLEAN, NOISY, Meta, allow, join
from training.decoding.body import EVERY, NONE, Body, bias_of
from training.decoding.conditioning import Conditioning
from training.layout import Clock, speech, text


@dataclass(frozen=True)
class Pass:
    """Input of the layers. Its first ``settles`` positions are settled by it; ``wanted`` are those that are predicted.

    ``bias_N1TE`` is None where everybody sees everything.
    """

    x_NTD: Tensor
    phases: Tensor
    bias_N1TE: Tensor | None
    settles: int
    wanted: slice | Tensor


@dataclass(frozen=True)
class Part:
    """Positions of one kind in a pass."""

    x_NTD: Tensor
    phases: Tensor
    meta: Meta


class Arrivals:
    """The order in which positions are settled where text is among them. ``settled`` says what the settled keys are."""

    def __init__(self, body: Body, conditioning: Conditioning) -> None:
        self.body, self.text = body, conditioning
        self.settled = text(0, 0, conditioning.talker.clock, body.device)

    def turn(self, turn: int) -> list[Part]:
        """The text of a turn: one part, or none where the text is over."""
        x_NSD, meta = self.text.prefix(turn)
        first = turn * self.text.talker.settings.anchors
        return [Part(x_NSD, self.body.phases_T31Y[first : first + len(meta)], meta)] if len(meta) else []

    def bias(self, fed: Meta) -> Tensor:
        """Who sees whom of what is fed now, and of what is settled."""
        return bias_of(allow(fed, join(self.settled, fed)), self.body.seen)

    def side_by_side(self, parts: list[Part], settled: int) -> Pass:
        """A pass over all parts, that settles the first ``settled`` of them. The last part is predicted, where it is not settled."""
        meta = join(*(part.meta for part in parts))
        bias_N1TE = self.bias(meta) if len(parts) > 1 or self.text.ragged else None
        self.settled = join(self.settled, *(part.meta for part in parts[:settled]))
        x_NTD, phases = torch.cat([part.x_NTD for part in parts], 1), torch.cat([part.phases for part in parts])
        settles = sum(len(part.meta) for part in parts[:settled])
        return Pass(x_NTD, phases, bias_N1TE, settles, slice(len(meta) - len(parts[-1].meta), None))

    def copy(self, conditioning: Conditioning) -> Arrivals:
        other = copy(self)
        other.text = conditioning
        return other


class Openings:
    """Passes over blocks whose text is in the first positions of the block.

    [clean | masked] after settled blocks looks the same for every block: ``bias_11TE`` is that of the last one, and those of
    earlier ones are the right end of it. It is made once.
    """

    def __init__(self, body: Body, clock: Clock, blocks: int) -> None:
        self.body, self.clock, self.size = body, clock, clock.block
        clean, masked = self.speech(0, CLEAN, blocks - 1), self.speech(blocks - 1, NOISY)
        pair = join(clean[max(blocks - 2, 0) * self.size :], masked)
        self.bias_11TE = bias_of(allow(pair, join(clean, masked)), body.seen)

    def speech(self, block: int, stream: int, count: int = 1) -> Meta:
        """What positions of ``count`` blocks are."""
        return speech(block * self.size, count * self.size, self.clock, stream, self.body.device)

    def phases(self, block: int, count: int = 1) -> Tensor:
        return self.body.phases_T31Y[block * self.size : (block + count) * self.size]

    def first(self, block: int, clean_NBD: Tensor | None, masked_NBD: Tensor) -> Pass:
        """The block before, where it is not settled yet, and the masks of this one."""
        if clean_NBD is None:
            return self.again(block, masked_NBD)
        bias_11TE = self.bias_11TE[..., -(block + 1) * self.size :]
        x_NTD = torch.cat([clean_NBD, masked_NBD], 1)
        return Pass(x_NTD, self.phases(block - 1, 2), bias_11TE, self.size, slice(self.size, None))

    def again(self, block: int, masked_NBD: Tensor) -> Pass:
        """The block alone, partly uncovered."""
        return Pass(masked_NBD, self.phases(block), None, 0, EVERY)

    def commit(self, block: int, clean_NBD: Tensor) -> Pass:
        """A decided block alone."""
        return Pass(clean_NBD, self.phases(block), None, self.size, NONE)

    def copy(self, conditioning: Conditioning) -> Openings:
        """The same, over a copy of the text."""
        return self


class TextOpenings(Openings):
    """Passes over blocks that look at text: the states of a turn enter the layers together with the masks of its block."""

    def __init__(self, body: Body, clock: Clock, blocks: int, arrivals: Arrivals) -> None:
        super().__init__(body, clock, blocks)
        self.arrivals = arrivals
        self.bias_N1TE: Tensor | None = (
            None  # of a block alone: there is one only if some rows have less text than others
        )

    def part(self, block: int, stream: int, x_NBD: Tensor) -> Part:
        return Part(x_NBD, self.phases(block), self.speech(block, stream))

    def first(self, block: int, clean_NBD: Tensor | None, masked_NBD: Tensor) -> Pass:
        """The block before, where it is not settled yet, this turn's text, and the masks of this one."""
        clean = [] if clean_NBD is None else [self.part(block - 1, CLEAN, clean_NBD)]
        parts = [*clean, *self.arrivals.turn(block)]
        masked = self.part(block, NOISY, masked_NBD)
        made = self.arrivals.side_by_side([*parts, masked], len(parts))
        self.bias_N1TE = self.arrivals.bias(masked.meta) if self.arrivals.text.ragged else None
        return made

    def again(self, block: int, masked_NBD: Tensor) -> Pass:
        """The block alone, partly uncovered."""
        return Pass(masked_NBD, self.phases(block), self.bias_N1TE, 0, EVERY)

    def commit(self, block: int, clean_NBD: Tensor) -> Pass:
        """A decided block alone."""
        made = self.arrivals.side_by_side([self.part(block, CLEAN, clean_NBD)], 1)
        return replace(made, wanted=NONE)

    def copy(self, conditioning: Conditioning) -> Openings:
        other = copy(self)
        other.arrivals = self.arrivals.copy(conditioning)
        return other


def openings_of(body: Body, conditioning: Conditioning, blocks: int) -> Openings:
    """The passes that this talker's conditioning asks for."""
    clock = conditioning.talker.clock
    if conditioning.talker.prefix:
        return TextOpenings(body, clock, blocks, Arrivals(body, conditioning))
    return Openings(body, clock, blocks)
