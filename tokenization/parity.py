"""The parity gate: codes made in a batch must be those made one by one.

Neural codecs pad a batch to its longest member, and many let the padding leak into the codes. The tokenize stage
measures that on a sample of every unit, records it, and stops where it is more than the recipe allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tokenization.adapter import Codes, SpeechTokenizer, Wave


class ParityExceeded(RuntimeError):
    """Batched codes differ from one-by-one codes by more than the recipe allows."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What was compared: ``mismatched`` of ``frames`` frames differ in any codebook, or are missing on one side."""

    utterances: int = 0
    frames: int = 0
    mismatched: int = 0

    @property
    def rate(self) -> float:
        return self.mismatched / self.frames if self.frames else 0.0

    def __add__(self, other: Parity) -> Parity:
        return Parity(
            self.utterances + other.utterances, self.frames + other.frames, self.mismatched + other.mismatched
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "rate": round(self.rate, 9)}

    def require(self, limit: float, tokenizer: str) -> None:
        """Raises :class:`ParityExceeded` where :attr:`rate` is above ``limit``."""
        if self.rate > limit:
            raise ParityExceeded(
                f"{tokenizer}: {self.mismatched} of {self.frames} frames ({self.rate:.3%}) of {self.utterances} "
                f"utterances change when they are encoded in a batch; the recipe allows {limit:.3%}: "
                "encode one utterance at a time, or raise the limit if the codec is known to do this"
            )


def compare(batched_FQ: Codes, single_FQ: Codes) -> Parity:
    """One utterance, encoded both ways."""
    common = min(len(batched_FQ), len(single_FQ))
    frames = max(len(batched_FQ), len(single_FQ))
    same = int((batched_FQ[:common] == single_FQ[:common]).all(axis=1).sum())
    return Parity(1, frames, frames - same)


def parity(tokenizer: SpeechTokenizer, waves: Sequence[Wave], batch: int | None = None) -> Parity:
    """Encode ``waves`` in batches of ``batch`` (all at once where it is None), and one by one, and compare."""
    size = max(batch or len(waves), 1)
    total = Parity()
    for start in range(0, len(waves), size):
        part = waves[start : start + size]
        for wave_T, batched_FQ in zip(part, tokenizer.encode(part), strict=True):
            total += compare(np.asarray(batched_FQ), tokenizer.encode([wave_T])[0])
    return total
