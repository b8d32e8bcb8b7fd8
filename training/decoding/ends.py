"""Where utterances end: the first frame whose codebook 0 is EOS, or the most frames allowed.

Legend: N rows, T frames, Q codebooks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.decoding.protocol import Chunk, Outcome
from training.vocabulary import Vocabulary


@dataclass
class Ends:
    """The rows that still speak. ``limit`` is the most frames of a row."""

    vocabulary: Vocabulary
    limit: int
    outcomes: list[Outcome]

    @property
    def finished(self) -> bool:
        return Outcome.OPEN not in self.outcomes

    def open(self, device: torch.device) -> Tensor:
        """``open_N``: rows that still speak."""
        return torch.tensor([outcome is Outcome.OPEN for outcome in self.outcomes], device=device)

    def chunk(self, first: int, codes_NTQ: Tensor, steps_NTQ: Tensor) -> Chunk:
        """Frames ``first`` and later, each row cut at its end. The one place where decoding waits for the device."""
        eos, count = self.vocabulary.eos, codes_NTQ.shape[1]
        place_T = torch.arange(count, device=codes_NTQ.device)
        before_N = torch.where(codes_NTQ[:, :, 0] == eos, place_T, count).amin(1).tolist()
        valid_N = tuple(self._close(row, first, before, count) for row, before in enumerate(before_N))
        if min(valid_N) < count:
            kept_NT = place_T < torch.tensor(valid_N, device=codes_NTQ.device)[:, None]
            codes_NTQ = torch.where(kept_NT[:, :, None], codes_NTQ, eos)
        return Chunk(first, codes_NTQ, valid_N, steps_NTQ)

    def _close(self, row: int, first: int, before: int, count: int) -> int:
        """Valid frames of a row that has ``before`` frames before EOS; its outcome follows."""
        if self.outcomes[row] is not Outcome.OPEN:
            return 0
        room = min(count, self.limit - first)
        if before < room:
            self.outcomes[row] = Outcome.ENDED
        elif first + count >= self.limit:
            self.outcomes[row] = Outcome.LIMIT
        return min(before, room)

    def copy(self) -> Ends:
        return replace(self, outcomes=list(self.outcomes))
