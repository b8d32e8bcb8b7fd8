"""How sure a talker is of what it says: mean entropy of its predictions, in bits a token.

Of block decoding, where each code is decided; of the others, on the talker's own finished words, frame by frame. What fills a block up behind
its end counts nowhere: predictions of the frames that are said, and the one that ends them.

Legend: N rows, L positions, M cells of a block, Q codebooks, C classes, F frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.evaluation.systems import System
from pipelines.voice.words import Words
from training.decoding.protocol import Outcome, stream
from training.ending import only_first_ends
from training.layout import Noised, autoregressive
from training.noise.grid import Grid
from training.policies import Key, Policy, Stats

Codes = npt.NDArray[np.uint16]


@dataclass
class Mean:
    """A running mean, of nats."""

    sum: float = 0.0
    count: int = 0

    def add(self, values: Tensor) -> None:
        self.sum, self.count = self.sum + float(values.sum()), self.count + values.numel()

    @property
    def bits(self) -> float:
        return self.sum / max(self.count, 1) / math.log(2)


@dataclass(frozen=True)
class Watched(Policy):
    """A policy that notes the entropy of each prediction it lets stand, ``entropy_NM`` of each step, 0 elsewhere."""

    noted: list[Tensor] = field(default_factory=list)

    def select(
        self, stats: Stats, masked_NM: Tensor, step: int, steps: int, key: Key | None = None, codebooks: int = 1
    ) -> Tensor:
        reveal_NM = super().select(stats, masked_NM, step, steps, key, codebooks)
        self.noted.append(torch.where(reveal_NM, stats.entropy_NM, 0.0))
        return reveal_NM

    def block(self, codebooks: int) -> Tensor:
        """``entropy_BQ`` of a block of one row that is decided: each cell was, once."""
        entropy_NM = torch.stack(self.noted).sum(0)
        self.noted.clear()
        return entropy_NM[0].unflatten(0, (-1, codebooks))


def _spoken(values_LQ: Tensor, frames: int, ended: bool) -> Tensor:
    """Values of the cells of ``frames`` frames, and of the end after them, which codebook 0 decides, where it was said."""
    end_Q = values_LQ[frames, :1] if ended else values_LQ[:0, 0]
    return torch.cat([values_LQ[:frames].flatten(), end_Q])


def _of_blocks(system: System, texts: Sequence[Words], codes: Sequence[Codes]) -> float:
    """One text at a time: rows that are silent already would count in a batch."""
    voice, mean = system.voice, Mean()
    policy = voice.decoder(system.manner, texts[:1]).policy  # pyright: ignore[reportAttributeAccessIssue]
    watched = Watched(**{f.name: getattr(policy, f.name) for f in fields(Policy)})
    for text in texts:
        decoder, (text_NS, counts) = voice.decoder(system.manner, [text], policy=watched), voice.batch([text])
        decoder.feed(text_NS, counts, ended=True)
        for chunk in stream(decoder):
            entropy_BQ = watched.block(voice.talker.vocabulary.codebooks)
            mean.add(_spoken(entropy_BQ, chunk.valid_N[0], decoder.outcomes[0] is Outcome.ENDED))
    return mean.bits


@torch.inference_mode()
def _of_frames(system: System, texts: Sequence[Words], codes: Sequence[Codes]) -> float:
    talker, mean = system.voice.talker, Mean()
    device, vocabulary = talker.place.weight.device, talker.vocabulary
    limit = system.voice.decoder(system.manner, texts[:1]).ends.limit  # pyright: ignore[reportAttributeAccessIssue]
    for text, codes_FQ in zip(texts, codes, strict=True):
        grid = Grid(len(codes_FQ), codes_FQ.shape[1], system.voice.block)
        length = min(grid.positions, talker.settings.max_frames)  # speech that was cut has no room for its end
        codes_NLQ = torch.full((1, length, grid.codebooks), vocabulary.eos)
        codes_NLQ[0, : len(codes_FQ)] = torch.from_numpy(codes_FQ.astype(np.int64))
        valid_NL = torch.ones(1, length, dtype=torch.bool)
        nothing = torch.zeros(1, 1, *codes_NLQ.shape[1:], dtype=torch.bool)
        row = Noised(codes_NLQ, codes_NLQ[:, None], nothing, valid_NL, torch.tensor([len(codes_FQ)]))
        rows = autoregressive(row, talker.clock, vocabulary)
        text_NS, counts = system.voice.batch([text])
        hidden = talker(
            rows.ids_NTQ.to(device), rows.meta.to(device), text_NS, torch.tensor(counts, device=device), rows.wanted
        )
        logits_NLQC = talker.logits(hidden)
        if vocabulary.codebooks > 1:
            only_first_ends(logits_NLQC, vocabulary)
        entropy_NLQ = torch.special.entr(logits_NLQC.float().softmax(-1)).sum(-1)
        mean.add(_spoken(entropy_NLQ[0], len(codes_FQ), ended=len(codes_FQ) < limit))
    return mean.bits


CERTAINTY: dict[str, Callable[[System, Sequence[Words], Sequence[Codes]], float]] = {
    "block": _of_blocks,
    "ar": _of_frames,
    "mtp": _of_frames,
}


def predictive_entropy(system: System, texts: Sequence[Words], codes: Sequence[Codes]) -> float:
    """Mean entropy of the predictions that became ``codes``, in bits. EOS is one of the classes."""
    return CERTAINTY[system.kind](system, texts, codes)
