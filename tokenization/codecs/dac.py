"""DAC through transformers' DacModel: convolutions that hear as far ahead as back.

Audio goes through in pieces that overlap by what a frame can hear, and the overlap is cut off: the codes are those of the whole. Only
utterances of the same number of frames go through together.

Shapes: N utterances, T samples, F frames, Q codebooks, K codes, Z dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from manifests.settings.codecs import DacSettings
from tokenization.adapter import TokenizerSpec, frames_by_hop
from tokenization.codecs import pretrained
from tokenization.codecs.encodec import pieces_of
from tokenization.codecs.encodec import reach as heard_by
from tokenization.codecs.grouping import Grouping, encode_framed
from tokenization.codecs.layers import layer_of
from tokenization.codecs.neural import NeuralTokenizer, chosen_device, sized
from tokenization.codecs.streaming import LayeredSteps
from tokenization.codecs.weights import Found, find

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "1"  # changes whenever the same weights would give other codes


def opened(settings: DacSettings) -> NeuralTokenizer:
    """Raises ``TokenizerError`` where library, weights or device are missing, or do not fit the recipe."""
    device = chosen_device(settings.device)
    found = find(settings, settings.name)
    config = configured(settings, found)
    codebooks = pretrained.asked_codebooks(settings.codebooks, config.n_codebooks, settings.name)
    model = pretrained.model_of("Dac", config, found, settings.name, device)
    network = Dac(model, codebooks, settings.chunk_seconds, settings.batch_seconds)
    spec = TokenizerSpec(
        settings.name, pretrained.version(VERSION, config), config.sampling_rate / config.hop_length, codebooks,
        config.codebook_size, config.sampling_rate, found.checksum,
    )  # fmt: skip
    return NeuralTokenizer(spec, network, device)


def configured(settings: DacSettings, found: Found) -> Any:
    config = pretrained.config_of("Dac", settings, found, settings.name)
    pretrained.rate_is(settings, config.sampling_rate, found)
    return config


@dataclass(frozen=True)
class Dac:
    model: Any
    codebooks: int
    chunk_seconds: float
    batch_seconds: float

    @property
    def hop(self) -> int:
        return self.model.config.hop_length

    @cached_property
    def _margin(self) -> int:
        """Samples that a frame hears on either side, and more: the sum over all convolutions, in whole frames."""
        return math.ceil(heard_by([self.model.encoder]) / self.hop) * self.hop

    def frames(self, samples: int) -> int:
        return frames_by_hop(samples, self.hop)

    def encode(self, waves: Sequence[Tensor]) -> list[Tensor]:
        limit = int(self.batch_seconds * self.model.config.sampling_rate)
        return encode_framed(waves, self.hop, Grouping(limit, equal=True), self._codes)

    def _codes(self, waves_NT: Tensor) -> Tensor:
        import torch

        piece = math.ceil(self.chunk_seconds * self.model.config.sampling_rate / self.hop) * self.hop
        pieces = pieces_of(waves_NT.shape[-1], piece)
        return torch.cat([self._piece(waves_NT, start, end) for start, end in pieces], dim=1)

    def _piece(self, waves_NT: Tensor, start: int, end: int) -> Tensor:
        first = max(0, start - self._margin)
        heard_NT = waves_NT[:, first : end + self._margin]
        codes_NQF = self.model.encode(heard_NT[:, None], n_quantizers=self.codebooks, return_dict=True).audio_codes
        return codes_NQF[..., (start - first) // self.hop : (end - first) // self.hop].mT

    def decode(self, codes_FQ: Tensor) -> Tensor:
        wave_T = self.model.decode(audio_codes=codes_FQ.T[None], return_dict=True).audio_values[0]
        return sized(wave_T, len(codes_FQ) * self.hop)

    def steps(self) -> LayeredSteps:
        return LayeredSteps(self._points, layer_of(self.model.decoder), self.hop)

    def _points(self, codes_FQ: Tensor) -> Tensor:
        """``x_1DF``, what the codes stand for."""
        return self.model.quantizer.from_codes(codes_FQ.T[None])[0]

    def vectors(self) -> Tensor:
        import torch

        return torch.stack([book.codebook.weight for book in self.model.quantizer.quantizers[: self.codebooks]])
