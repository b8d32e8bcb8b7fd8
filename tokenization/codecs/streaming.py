"""Sound of a neural codec while its codes still arrive.

What leaves is final. Causal decoders (EnCodec of 24 kHz, Mimi) give the sound of every frame that is there; DAC's and X-codec's hear ahead, so some frames wait; EnCodec of 48 kHz
waits for whole segments.

Shapes: T samples, F frames, Q codebooks; one row, D channels, L steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tokenization.adapter import Codes, TokenizerSpec, Wave, checked_codes
from tokenization.codecs.layers import Layer
from tokenization.codecs.neural import computing, sized

if TYPE_CHECKING:
    from torch import Tensor


class Steps(Protocol):
    """A network's decoder, one utterance long."""

    def feed(self, codes_FQ: Tensor, last: bool) -> Tensor:
        """Take in frames, maybe none; ``wave_T`` of the samples that are certain now. ``last``: no more follow."""
        ...


@dataclass
class LayeredSteps:
    """Codes to what they stand for, and that through layers; in all ``hop`` samples a frame, the end filled with silence.

    points   ``codes_FQ`` of at least one frame to ``x_1DF``
    """

    points: Callable[[Any], Any]
    layers: Layer
    hop: int
    _due: int = 0  # samples of frames that are there, and have not left
    _empty: Any = None

    def feed(self, codes_FQ: Tensor, last: bool) -> Tensor:
        x_1DF = self.points(codes_FQ) if len(codes_FQ) else self._empty
        if x_1DF is None:
            return codes_FQ.new_zeros(0).float()
        self._empty = x_1DF[..., :0]
        wave_T = self.layers.feed(x_1DF, last)[0, 0]
        self._due += len(codes_FQ) * self.hop - len(wave_T)
        return sized(wave_T, len(wave_T) + self._due) if last else wave_T


class CodecStream:
    """The sound of one utterance: a decoder behind the contract of ``tokenization/streaming.py``."""

    def __init__(self, spec: TokenizerSpec, steps: Steps, device: str) -> None:
        self._spec, self._steps, self._device = spec, steps, device

    def push(self, codes_FQ: Codes) -> Wave:
        """Take in frames. Raises ``TokenizerError`` for codes of other tokenizers, before anything is taken in."""
        return self._feed(checked_codes(codes_FQ, self._spec), False)

    def finish(self) -> Wave:
        """The rest of the samples; the stream takes nothing afterwards."""
        return self._feed(np.zeros((0, self._spec.codebooks), np.uint16), True)

    def _feed(self, codes_FQ: Codes, last: bool) -> Wave:
        import torch

        with computing():
            wave_T = self._steps.feed(torch.from_numpy(codes_FQ.astype(np.int64)).to(self._device), last)
        return np.ascontiguousarray(wave_T.cpu().numpy(), dtype=np.float32)
