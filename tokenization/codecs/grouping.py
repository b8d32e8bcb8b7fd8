"""Which utterances go through a network together.

Padding must not change codes. A causal network never hears what comes after a frame, so shorter utterances may be padded with
silence at their end. Any other network takes only utterances of one length together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Grouping:
    """How utterances are grouped.

    limit        samples of a group, padded; 0: every utterance by itself
    equal        whether only utterances of one length may share a group
    alone_below  shorter ones go by themselves (in samples): what a network mirrors at the start of an utterance must lie in it
    """

    limit: int = 0
    equal: bool = False
    alone_below: int = 0

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Positions of ``lengths``, each once; the last of a group is its longest."""
        made: list[list[int]] = []
        for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
            if made and self._fits(lengths[made[-1][0]], lengths[i], len(made[-1]) + 1):
                made[-1].append(i)
            else:
                made.append([i])
        return made

    def _fits(self, shortest: int, longest: int, count: int) -> bool:
        alike = shortest == longest if self.equal else shortest >= self.alone_below
        return alike and longest * count <= self.limit


def encode_framed(
    waves: Sequence[Tensor], hop: int, grouping: Grouping, codes_of: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """``codes_FQ`` of each ``wave_T``, padded with silence to whole frames of ``hop`` samples.

    codes_of   ``waves_NT`` (whole frames) to ``codes_NFQ``
    """
    import torch

    frames = [-(-len(wave_T) // hop) for wave_T in waves]
    codes: dict[int, Tensor] = {}
    for group in grouping.groups([n * hop for n in frames]):
        rows = [torch.nn.functional.pad(waves[i], (0, frames[group[-1]] * hop - len(waves[i]))) for i in group]
        for i, codes_FQ in zip(group, codes_of(torch.stack(rows)), strict=True):
            codes[i] = codes_FQ[: frames[i]]
    return [codes[i] for i in range(len(waves))]
