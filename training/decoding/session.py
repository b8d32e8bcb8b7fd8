"""What all decoders stand on: a talker made ready, the text read so far, and the rows that still speak.

Legend: N rows, T positions, Q codebooks, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Self, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from training.cache import Cache
from training.counter import hash_key, signed
from training.decoding.body import Body
from training.decoding.conditioning import Conditioning
from training.decoding.ends import Ends
from training.decoding.protocol import Outcome, Work
from training.policies.noise import Key
from training.talker import Talker


class Common(TypedDict, total=False):
    """Settings of all decoders, see :class:`Session`."""

    max_frames: int | None
    seed: int
    utterances: Sequence[str] | None
    body: Body | None


class Session:
    """The state that decoders share. A talker decodes in its own dtype and on its own device, and must be in ``eval()``.

    ``max_frames`` is the longest utterance, rounded down to what the talker has positions for. ``utterances`` names the rows:
    draws depend on ``seed`` and name, so the same name says the same in any batch; the default is their numbers. ``body`` is
    the talker made ready, where that is worth doing once for many decoders.

    Raises ValueError where the talker is training, has no room for a block, or names and rows differ in number.
    """

    def __init__(
        self, talker: Talker, rows: int, max_frames: int | None = None, seed: int = 0,
        utterances: Sequence[str] | None = None, body: Body | None = None,
    ) -> None:  # fmt: skip
        if talker.training:
            raise ValueError("decoding needs talker.eval()")
        block = talker.settings.block
        room = talker.settings.max_frames // block * block
        limit = room if max_frames is None else min(max_frames, room)
        if limit < 1 or rows < 1:
            raise ValueError(f"{rows} rows of at most {limit} frames: nothing to decode")
        names = [str(row) for row in range(rows)] if utterances is None else utterances
        if len(names) != rows:
            raise ValueError(f"{len(names)} names for {rows} rows")
        self.talker, self.body, self.rows, self.seed = talker, body or Body(talker), rows, seed
        self.blocks = -(-limit // block)
        self.text = Conditioning.empty(talker, rows, self.blocks)
        self.ends = Ends(talker.vocabulary, limit, [Outcome.OPEN] * rows)
        self.work = Work()
        self.device = talker.place.weight.device
        self.utterance_N = torch.tensor([signed(hash_key(name)) for name in names], device=self.device)
        self.shift_Q = torch.arange(talker.vocabulary.codebooks, device=self.device) * talker.vocabulary.embeddings

    @property
    def finished(self) -> bool:
        """No row has anything more to say."""
        return self.ends.finished

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """How each row stands."""
        return self.ends.outcomes

    @torch.inference_mode()
    def feed(self, text_NS: Tensor, counts_N: Sequence[int] | None = None, ended: bool = False) -> None:
        """More text, see :meth:`training.decoding.protocol.Decoder.feed`."""
        self.text.feed(text_NS, counts_N, ended)

    def copy(self) -> Self:
        """The decoder as it stands now, to go on from later."""
        with torch.inference_mode():
            other = copy.copy(self)
            other.text, other.ends = self.text.copy(), self.ends.copy()
            other.work = replace(self.work, steps=list(self.work.steps))
            other.copy_keys()
        return other

    def copy_keys(self) -> None:
        """Make keys and values our own."""
        raise NotImplementedError

    def key(self, block: int) -> Key:
        """Where draws of this block are."""
        return Key(self.seed, self.utterance_N, block)

    def cache(self, positions: int) -> Cache:
        """Room for keys and values of the talker's layers."""
        s = self.talker.settings
        return Cache.empty(s.layers, self.rows, s.heads, positions, s.width // s.heads, self.body.seen, self.device)

    def embedded(self, ids_NTQ: Tensor) -> Tensor:
        """``x_NTD`` of ids: the sum of all codebooks' embeddings."""
        table = self.talker.codes.weight
        if ids_NTQ.shape[2] == 1:
            return F.embedding(ids_NTQ[:, :, 0], table)
        return F.embedding(ids_NTQ + self.shift_Q, table).sum(2)
