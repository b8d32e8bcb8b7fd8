"""How decoders that speak frame by frame choose codes.

Legend: N rows, T positions, Q codebooks, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.policies.noise import Key
from training.policies.stats import Stats, stats


@dataclass(frozen=True)
class Drawing:
    """Temperature 0 takes the likeliest class; above it, draws depend on seed, utterance and position alone."""

    temperature: float = 0.0
    top_p: float = 1.0

    def __call__(self, logits_NTQC: Tensor, pos_NT: Tensor, key: Key) -> Stats:
        """A choice for each position and codebook; rows and positions are one axis in it, (N x T, Q)."""
        if self.temperature == 0:
            return stats(logits_NTQC.flatten(0, 1))
        utterance = key.utterance_N.repeat_interleave(pos_NT.shape[1])
        placed = Key(key.seed, utterance, pos_NT.expand(len(logits_NTQC), -1).reshape(-1).long())
        return stats(logits_NTQC.flatten(0, 1), temperature=self.temperature, top_p=self.top_p, key=placed)
