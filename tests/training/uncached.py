"""Reference decoders: no cache, no fused passes. Each step feeds the whole row to the network, in the layouts of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.counter import hash_key, signed
from training.decoding.drawing import Drawing
from training.layout import Noised, autoregressive, two_stream
from training.policies.noise import Key
from training.policies.policy import Policy
from training.policies.stats import Stats
from training.talker import Talker


@dataclass(frozen=True)
class Recorded(Policy):
    """A policy that keeps the logits it was shown, in the order of steps."""

    seen: list[Tensor] = field(default_factory=list)

    def stats(self, logits_NMC: Tensor, step: int = 1, key: Key | None = None, prior: Tensor | None = None) -> Stats:
        self.seen.append(logits_NMC.clone())
        return super().stats(logits_NMC, step, key, prior)


@dataclass(frozen=True)
class RecordedDrawing(Drawing):
    """A drawing that keeps the logits it was shown, frame by frame."""

    seen: list[Tensor] = field(default_factory=list)

    def __call__(self, logits_NTQC: Tensor, pos_NT: Tensor, key: Key) -> Stats:
        self.seen.append(logits_NTQC.clone())
        return super().__call__(logits_NTQC, pos_NT, key)


@dataclass(frozen=True)
class Told:
    """A talker and the text of its rows."""

    talker: Talker
    text_NS: Tensor
    counts_N: Sequence[int]

    def logits(self, codes_NLQ: Tensor, ids_NLQ: Tensor) -> Tensor:
        """``logits_NLQC`` of the noisy copy of two-stream rows: what training computes."""
        valid_NL = torch.ones(codes_NLQ.shape[:2], dtype=torch.bool)
        noised = Noised(codes_NLQ, ids_NLQ[:, None], ids_NLQ[:, None] == -1, valid_NL, valid_NL.sum(1))
        rows = two_stream(noised, self.talker.clock, self.talker.vocabulary)
        counts_N = torch.tensor(self.counts_N)
        hidden = self.talker(rows.ids_NTQ, rows.meta, self.text_NS, counts_N, rows.wanted)
        return self.limited(self.talker.logits(hidden))

    def next_logits(self, codes_NLQ: Tensor) -> Tensor:
        """``logits_NLQC`` of autoregressive rows."""
        valid_NL = torch.ones(codes_NLQ.shape[:2], dtype=torch.bool)
        noised = Noised(codes_NLQ, codes_NLQ[:, None], codes_NLQ[:, None] == -1, valid_NL, valid_NL.sum(1))
        rows = autoregressive(noised, self.talker.clock, self.talker.vocabulary)
        hidden = self.talker(rows.ids_NTQ, rows.meta, self.text_NS, torch.tensor(self.counts_N))
        return self.limited(self.talker.logits(hidden))

    def limited(self, logits_NLQC: Tensor) -> Tensor:
        """Only codebook 0 may say EOS."""
        logits_NLQC = logits_NLQC.detach().clone()
        logits_NLQC[:, :, 1:, self.talker.vocabulary.eos] = float("-inf")
        return logits_NLQC


@dataclass
class Decoded:
    """Codes and steps of whole rows; for each block (or frame), what was said at each step, and which cells were masked then."""

    codes_NLQ: Tensor
    steps_NLQ: Tensor
    said: list[list[tuple[Tensor, Tensor]]]


def behind_the_end(ids_NBQ: Tensor, eos: int) -> Tensor:
    """Cells after the first cell of codebook 0 that is EOS, counted one by one."""
    found_NBQ = torch.zeros_like(ids_NBQ, dtype=torch.bool)
    for n, ids_BQ in enumerate(ids_NBQ.tolist()):
        for place, ids_Q in enumerate(ids_BQ):
            if ids_Q[0] == eos:
                found_NBQ[n, place, 1:], found_NBQ[n, place + 1 :] = True, True
                break
    return found_NBQ


def decode_blocks(
    told: Told, policy: Policy, steps: int, blocks: int, prior: Tensor | None = None, seed: int = 0
) -> Decoded:
    """Block diffusion of ``blocks`` blocks, whatever is said in them."""
    talker, n = told.talker, len(told.text_NS)
    size, q, v = talker.settings.block, talker.vocabulary.codebooks, talker.vocabulary
    utterance_N = torch.tensor([signed(hash_key(str(row))) for row in range(n)])
    codes_NLQ = torch.full((n, blocks * size, q), v.mask)
    steps_NLQ, said = torch.zeros_like(codes_NLQ), [[] for _ in range(blocks)]
    for block in range(blocks):
        here, upto = slice(block * size, (block + 1) * size), (block + 1) * size
        for step in range(1, steps + 1):
            masked_NM = (codes_NLQ[:, here] == v.mask).flatten(1)
            if not masked_NM.any():
                break
            logits_NMC = told.logits(codes_NLQ[:, :upto], codes_NLQ[:, :upto])[:, here].flatten(1, 2)
            said[block].append((logits_NMC, masked_NM))
            key = Key(seed, utterance_N, block)
            stats = policy.stats(logits_NMC, step, key, prior)
            now_NBQ = torch.where(codes_NLQ[:, here] == v.mask, stats.token_NM.view(n, size, q), codes_NLQ[:, here])
            shown_NM = masked_NM
            if policy.ends_last and step < steps:
                shown_NM = masked_NM & ~behind_the_end(now_NBQ, v.eos).flatten(1)
            reveal_NBQ = policy.select(stats, shown_NM, step, steps, key, q).view(n, size, q)
            before_NBQ = codes_NLQ[:, here] == v.mask
            codes_NLQ[:, here] = torch.where(reveal_NBQ, now_NBQ, codes_NLQ[:, here])
            steps_NLQ[:, here] = steps_NLQ[:, here].masked_fill(reveal_NBQ, step)
            over_NBQ = (codes_NLQ[:, here, :1] == v.eos) & (codes_NLQ[:, here] == v.mask)
            if policy.ends_last:
                over_NBQ = behind_the_end(codes_NLQ[:, here], v.eos) & before_NBQ
            codes_NLQ[:, here] = codes_NLQ[:, here].masked_fill(over_NBQ, v.eos)
            steps_NLQ[:, here] = steps_NLQ[:, here].masked_fill(over_NBQ, step)
    return Decoded(codes_NLQ, steps_NLQ, said)


def decode_frames(told: Told, length: int, drawing: Drawing, seed: int = 0) -> Decoded:
    """Next-frame decoding of ``length`` frames, whatever is said in them."""
    n, q = len(told.text_NS), told.talker.vocabulary.codebooks
    utterance_N = torch.tensor([signed(hash_key(str(row))) for row in range(n)])
    codes_NLQ, said = torch.zeros(n, length, q, dtype=torch.long), []
    for pos in range(length):
        logits_NTQC = told.next_logits(codes_NLQ[:, : pos + 1])[:, pos:]
        said.append([(logits_NTQC[:, 0], torch.ones(n, q, dtype=torch.bool))])
        codes_NLQ[:, pos] = drawing(logits_NTQC, torch.tensor([[pos]]), Key(seed, utterance_N)).token_NM
    return Decoded(codes_NLQ, torch.ones_like(codes_NLQ), said)
