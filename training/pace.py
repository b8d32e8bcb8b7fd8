"""How long each text token takes to say, and so which one is expected to be spoken when.

Nobody tells a talker where in an utterance a word is said, and to find it out by attention alone takes it most of a short training.
But an utterance is about as long as its tokens together, and over a corpus that is a linear regression: durations of single
tokens follow from lengths of utterances, without alignments, whatever the tokenizer. On the demo they foretell the length of held-out
utterances to within 3 of 92 frames (docs/results.md). Adding them up says which state belongs beside which frame: the length regulator of FastSpeech
(Ren et al. 2019), by expectation only. The states before and after the expected one are told as well: a word may be early or late, and sounds run
into each other.

Legend: N rows, T positions, S text states, D width, K text tokens, U utterances.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.attention import Meta
from training.layout import Clock
from training.rows import TEXT_EOS, Reader

Ids = npt.NDArray[np.int64]
Frames = npt.NDArray[np.float32]

SAMPLE = 20_000  # utterances that are enough to measure durations on
MOST = 4096  # tokens that get a duration of their own, the most frequent; the others take the mean
DOUBT = 3.0  # utterances that a token must be in before its own duration counts for more than the mean
WINDOW = (-1, 0, 1)  # states that a position is told, counted from the one that is expected there
GRAIN = 64  # durations are whole parts of a frame, so that their sums are exact however the text arrives


def measured(reader: Reader, rows_R: npt.NDArray[np.int64], tokens: int) -> Frames:
    """``frames_K`` of some rows of a dataset, or of so many of them, evenly chosen, that more would tell nothing new.

    With one token, where states are given, the mean duration. Raises ``ShardError``.
    """
    chosen = rows_R[np.linspace(0, len(rows_R) - 1, min(len(rows_R), SAMPLE)).astype(np.int64)]
    rows = [reader.clean(int(i)) for i in chosen]
    texts = [row.text_S.astype(np.int64) if tokens > 1 else np.zeros(len(row.text_S), np.int64) for row in rows]
    return durations(texts, [row.frames for row in rows], tokens)


def durations(texts: Sequence[Ids], frames_U: Sequence[int], vocabulary: int) -> Frames:
    """``frames_K``: ridge regression of the frames of utterances on the tokens in them, towards the mean duration, never negative."""
    every, counts = np.unique(np.concatenate(texts), return_counts=True)
    own = np.sort(every[np.argsort(-counts, kind="stable")[:MOST]])
    mean = sum(frames_U) / counts.sum()
    counted_UK = np.zeros((len(texts), len(own)))
    for row, text in zip(counted_UK, texts, strict=True):
        np.add.at(row, np.searchsorted(own, text[np.isin(text, own)]), 1)
    unexplained_U = np.asarray(frames_U) - mean * np.array([len(text) for text in texts])
    normal_KK = counted_UK.T @ counted_UK + DOUBT * np.eye(len(own))
    frames_K = np.full(vocabulary, mean)
    frames_K[own] += np.linalg.solve(normal_KK, counted_UK.T @ unexplained_U)
    return (np.round(np.maximum(frames_K, 0) * GRAIN) / GRAIN).astype(np.float32)


class Pace(nn.Module):
    """Tells every position the text state that is expected to be spoken there and its neighbours, of those that its turn may know.

    Behind the end of the text, as it is expected, a learned vector stands in.
    """

    frames_K: Tensor

    def __init__(self, width: int, clock: Clock, tokens: int) -> None:
        """``tokens`` text tokens; 1 where states are given, which are then all of one duration."""
        super().__init__()
        self.clock = clock
        self.project = nn.Linear(width, len(WINDOW) * width, bias=False)
        self.over_D = nn.Parameter(torch.zeros(width))
        self.register_buffer("frames_K", torch.full((tokens,), clock.block / clock.anchors))  # until it is measured

    def durations(self, text_NS: Tensor) -> Tensor:
        """``frames_NS`` (float32) that the states of a text, ids or given states, take to be said."""
        frames_K = self.frames_K.float()
        return frames_K.expand(text_NS.shape[:2]) if text_NS.is_floating_point() else frames_K[text_NS]

    def ends(self, frames_NS: Tensor) -> Tensor:
        """``ends_NS``: the frames at which states are expected to be over. Half of what <eos> takes is silence before the first."""
        start = self.frames_K[TEXT_EOS].float() / 2 if len(self.frames_K) > 1 else 0.0
        return start + frames_NS.cumsum(1)

    def last(self, meta: Meta) -> Tensor:
        """``last_NT``: the last state that each position may know, which is that of its turn."""
        return (meta.turn_NT.long() + 1) * self.clock.anchors - 1

    def expected(self, ends_NS: Tensor, meta: Meta) -> Tensor:
        """``index_NT`` of the first state that is not over at each position, but none of a later turn. S where all of them are over."""
        rows = len(ends_NS)
        pos_NT = meta.pos_NT.to(ends_NS.dtype).expand(rows, -1).contiguous()
        index_NT = torch.searchsorted(ends_NS.contiguous(), pos_NT, right=True)
        return torch.minimum(index_NT, self.last(meta))

    def forward(self, states_NSD: Tensor, states_N: Tensor, ends_NS: Tensor, meta: Meta) -> Tensor:
        """``paced_NTD``: what is added at each position."""
        last_NT = self.last(meta)
        index_NT = torch.minimum(self.expected(ends_NS, meta), states_N[:, None])  # what fills rows up is not said
        if not states_NSD.shape[1]:  # no text at all: one state, that is never there
            states_NSD = states_NSD.new_zeros(len(states_NSD), 1, states_NSD.shape[2])
        paced_NTD = states_NSD.new_zeros(())
        for shift, part_NSD in zip(WINDOW, self.project(states_NSD).chunk(len(WINDOW), dim=-1), strict=True):
            at_NT = index_NT + shift
            there_NT = (at_NT >= 0) & (at_NT < states_N[:, None]) & (at_NT <= last_NT)
            at_NT1 = at_NT.clamp(0, part_NSD.shape[1] - 1)[..., None]
            found_NTD = part_NSD.gather(1, at_NT1.expand(-1, -1, part_NSD.shape[2]))
            paced_NTD = paced_NTD + torch.where(there_NT[..., None], found_NTD, self.over_D if shift == 0 else 0.0)
        return paced_NTD
