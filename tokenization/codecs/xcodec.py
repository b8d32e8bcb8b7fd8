"""X-codec through transformers' XcodecModel: DAC's encoder beside HuBERT, whose attention and normalisation span the utterance.

So an utterance goes through whole, however long it is, and only utterances of the same number of frames go through together.

Shapes: N utterances, T samples, F frames, Q codebooks, K codes, Z dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manifests.settings.codecs import XcodecSettings
from tokenization.adapter import TokenizerError, TokenizerSpec, frames_by_hop
from tokenization.codecs import pretrained
from tokenization.codecs.grouping import Grouping, encode_framed
from tokenization.codecs.layers import layer_of
from tokenization.codecs.neural import NeuralTokenizer, chosen_device, sized
from tokenization.codecs.streaming import LayeredSteps
from tokenization.codecs.weights import Found, find

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "1"  # changes whenever the same weights would give other codes


def opened(settings: XcodecSettings) -> NeuralTokenizer:
    """Raises :class:`TokenizerError` where library, weights or device are missing, or do not fit the recipe."""
    device = chosen_device(settings.device)
    found = find(settings, settings.name)
    config = configured(settings, found)
    model = pretrained.model_of("Xcodec", config, found, settings.name, device)
    codebooks = model.quantizer.get_num_quantizers_for_bandwidth(settings.bandwidth)
    spec = TokenizerSpec(
        settings.name, pretrained.version(VERSION, config), config.sample_rate / config.hop_length, codebooks,
        config.codebook_size, config.sample_rate, found.checksum,
    )  # fmt: skip
    return NeuralTokenizer(spec, Xcodec(model, settings.bandwidth, settings.batch_seconds), device)


def configured(settings: XcodecSettings, found: Found) -> Any:
    config = pretrained.config_of("Xcodec", settings, found, settings.name)
    pretrained.rate_is(settings, config.sample_rate, found)
    if settings.bandwidth not in config.target_bandwidths:
        raise TokenizerError(
            f"speech.bandwidth is {settings.bandwidth:g}, but {found.weights} has {', '.join(f'{b:g}' for b in config.target_bandwidths)}"
        )
    return config


@dataclass(frozen=True)
class Xcodec:
    model: Any
    bandwidth: float
    batch_seconds: float

    @property
    def hop(self) -> int:
        return self.model.config.hop_length

    def frames(self, samples: int) -> int:
        return frames_by_hop(samples, self.hop)

    def encode(self, waves: Sequence[Tensor]) -> list[Tensor]:
        limit = int(self.batch_seconds * self.model.config.sample_rate)
        return encode_framed(waves, self.hop, Grouping(limit, equal=True), self._codes)

    def _codes(self, waves_NT: Tensor) -> Tensor:
        return self.model.encode(waves_NT[:, None], bandwidth=self.bandwidth, return_dict=True).audio_codes.mT

    def decode(self, codes_FQ: Tensor) -> Tensor:
        wave_T = self.model.decode(codes_FQ.T[None], return_dict=True).audio_values[0, 0]
        return sized(wave_T, len(codes_FQ) * self.hop)

    def steps(self) -> LayeredSteps:
        return LayeredSteps(self._points, layer_of(self.model.acoustic_decoder), self.hop)

    def _points(self, codes_FQ: Tensor) -> Tensor:
        """``x_1DF``, what the codes stand for."""
        return self.model.fc2(self.model.quantizer.decode(codes_FQ.T[:, None]).mT).mT

    def vectors(self) -> Tensor:
        import torch

        count = self.model.quantizer.get_num_quantizers_for_bandwidth(self.bandwidth)
        return torch.stack([layer.codebook.embed for layer in self.model.quantizer.quantizers[:count]])
