"""The talker: text states in, logits over speech codes out (VocalNet-MDM section 3).

Legend: N rows, T positions, R of them wanted, S text states, D width, Q codebooks, C classes (codes and EOS).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from manifests.settings.talker import TalkerSettings
from training.attention import Meta, allow, join
from training.cache import Cache
from training.layout import Clock, text
from training.pace import Pace
from training.transformer import Transformer
from training.vocabulary import Vocabulary

CODES_STD, PLACE_STD, HEAD_STD = 0.5, 0.1, 0.02  # of what codes, places and answers begin with


@dataclass(frozen=True)
class Text:
    """Text that was read.

    states_NSD  its states
    states_N    how many of them are text, for each row
    ends_NS     the frames at which they are expected to be over; None where the talker keeps no pace
    """

    states_NSD: Tensor
    states_N: Tensor
    ends_NS: Tensor | None


class Reader(nn.Module):
    """Text to states: an embedding of ids, or a projection of given states, under a few causal layers."""

    def __init__(self, settings: TalkerSettings, text_vocabulary: int) -> None:
        super().__init__()
        s = settings
        self.embed = (
            nn.Embedding(text_vocabulary, s.width) if s.text_width is None else nn.Linear(s.text_width, s.width)
        )
        self.layers = Transformer(s.text_layers, s.width, s.heads, s.ffn, s.dropout, s.max_frames)

    def forward(self, text_NS: Tensor, first: int = 0, cache: Cache | None = None) -> Tensor:
        """``states_NSD`` of ids (N, S) or of given states (N, S, width), which are the ``first``-th and later of their utterance."""
        count = text_NS.shape[1]
        pos = torch.arange(first, first + count, device=text_NS.device)[None]
        before = torch.arange(0, first + count, device=text_NS.device)[None]
        given = text_NS.to(self.embed.weight.dtype) if text_NS.is_floating_point() else text_NS
        return self.layers(self.embed(given), pos, before[:, None] <= pos[:, :, None], cache=cache)


class Anchors(nn.Module):
    """A turn's text states, each added to one of the first positions of its block: in order, and never ahead of its turn.

    Past the end of the text a learned vector stands in, in training and in decoding alike.
    """

    def __init__(self, settings: TalkerSettings) -> None:
        super().__init__()
        self.clock = Clock(settings.block, settings.anchors)
        self.project = nn.Linear(settings.width, settings.width, bias=False)
        self.none_D = nn.Parameter(torch.zeros(settings.width))

    def forward(self, states_NSD: Tensor, states_N: Tensor, meta: Meta) -> Tensor:
        """``anchors_NTD``: what is added at each position; zero where the block has no place for a state."""
        place = meta.pos_NT % self.clock.block
        index = (meta.turn_NT * self.clock.anchors + place).long().expand(len(states_NSD), -1)
        there = (index < states_N[:, None])[..., None]
        if not states_NSD.shape[1]:  # no text at all: one state, that is never there
            states_NSD = states_NSD.new_zeros(len(states_NSD), 1, states_NSD.shape[2])
        index = index.clamp(max=states_NSD.shape[1] - 1)
        found = self.project(states_NSD).gather(1, index[..., None].expand(-1, -1, states_NSD.shape[2]))
        return torch.where(there, found, self.none_D) * (place < self.clock.anchors)[..., None]


class Talker(nn.Module):
    """A masked-diffusion speech decoder; with autoregressive rows, an autoregressive one: the layout decides, not the network."""

    def __init__(self, settings: TalkerSettings, vocabulary: Vocabulary, text_vocabulary: int) -> None:
        super().__init__()
        s = self.settings = settings
        self.vocabulary, self.clock = vocabulary, Clock(s.block, s.anchors)
        self.codes = nn.Embedding(vocabulary.codebooks * vocabulary.embeddings, s.width)
        self.place = nn.Embedding(s.block, s.width)
        self.reader = Reader(s, text_vocabulary)
        self.anchors = Anchors(s) if s.conditioning != "prefix" else None
        tokens = text_vocabulary if s.text_width is None else 1
        self.pace = Pace(s.width, self.clock, tokens) if s.conditioning == "paced" else None
        self.prefix = s.conditioning in ("prefix", "both")
        self.text_mark_D = nn.Parameter(torch.zeros(s.width)) if self.prefix else None
        self.body = Transformer(s.layers, s.width, s.heads, s.ffn, s.dropout, s.max_frames)
        self.head = nn.Linear(s.width, vocabulary.codebooks * vocabulary.classes)
        for part, std in ((self.codes, CODES_STD), (self.place, PLACE_STD), (self.head, HEAD_STD)):
            nn.init.normal_(part.weight, std=std)
        nn.init.zeros_(self.head.bias)

    @property
    def parameters_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def in_numbers(self, dtype: torch.dtype) -> Self:
        """Weights of another type from now on. Phases and durations, of which sums are made, stay as exact as they are."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    def read(self, text_NS: Tensor, states_N: Tensor) -> Text:
        """A whole text (ids or given states), of which ``states_N`` are text."""
        ends_NS = None if self.pace is None else self.pace.ends(self.pace.durations(text_NS))
        return Text(self.reader(text_NS), states_N, ends_NS)

    def told(self, read: Text, meta: Meta) -> Tensor:
        """``told_NTD``: what positions are told beside their codes: their place in the block, and text."""
        told_NTD = self.place(meta.pos_NT % self.clock.block)
        if self.anchors is not None:
            told_NTD = told_NTD + self.anchors(read.states_NSD, read.states_N, meta)
        if self.pace is not None:
            assert read.ends_NS is not None
            told_NTD = told_NTD + self.pace(read.states_NSD, read.states_N, read.ends_NS, meta)
        return told_NTD

    def embed(self, ids_NTQ: Tensor, meta: Meta, read: Text) -> Tensor:
        """``x_NTD``: codes of all codebooks, and what the position is told."""
        shift_Q = torch.arange(self.vocabulary.codebooks, device=ids_NTQ.device) * self.vocabulary.embeddings
        return self.codes(ids_NTQ + shift_Q).sum(dim=2) + self.told(read, meta)

    def text_rows(self, states_NSD: Tensor) -> Tensor:
        """Text states as positions that speech can look at."""
        assert self.text_mark_D is not None
        return states_NSD + self.text_mark_D

    def forward(
        self, ids_NTQ: Tensor, meta: Meta, text_NS: Tensor, states_N: Tensor, wanted: slice = slice(None)
    ) -> Tensor:
        """``hidden_NRD`` of whole rows, in training. ``states_N`` says how many of ``text_NS`` (ids or states) are text."""
        read = self.read(text_NS, states_N)
        x_NTD, meta, count = self.behind_text(self.embed(ids_NTQ, meta, read), meta, read)
        wanted = slice(count + (wanted.start or 0), wanted.stop if wanted.stop is None else count + wanted.stop)
        return self.body(x_NTD, meta.pos_NT, allow(meta, meta), wanted)

    def behind_text(self, x_NTD: Tensor, meta: Meta, read: Text) -> tuple[Tensor, Meta, int]:
        """The positions, with all of the text before them if they are to look at it; and how many that is."""
        if not self.prefix:
            return x_NTD, meta, 0
        count = read.states_NSD.shape[1]
        there = torch.arange(count, device=x_NTD.device)[None] < read.states_N[:, None]
        told = text(0, count, self.clock, x_NTD.device).padded(there)
        return torch.cat([self.text_rows(read.states_NSD), x_NTD], dim=1), join(told, meta), count

    def logits(self, hidden_NRD: Tensor) -> Tensor:
        """``logits_NRQC`` over codes and EOS: MASK cannot be said."""
        return self.head(hidden_NRD).unflatten(-1, (self.vocabulary.codebooks, self.vocabulary.classes))

    def logits_of_books(self, hidden_PQD: Tensor) -> Tensor:
        """``logits_PQC`` where every codebook has a hidden state of its own."""
        v = self.vocabulary
        weight_QCD, bias_QC = self.head.weight.view(v.codebooks, v.classes, -1), self.head.bias.view(v.codebooks, -1)
        return torch.einsum("pqd,qcd->pqc", hidden_PQD, weight_QCD) + bias_QC
