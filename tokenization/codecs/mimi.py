"""Mimi through transformers' MimiModel: causal convolutions and a causal transformer over the last 10 seconds.

Audio goes through in pieces with the model's own caches, so the codes are those of the whole.

Shapes: N utterances, T samples, F frames, Q codebooks, K codes, Z dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manifests.settings.codecs import MimiSettings
from tokenization.adapter import TokenizerSpec, frames_by_hop
from tokenization.codecs import pretrained
from tokenization.codecs.encodec import pieces_of
from tokenization.codecs.grouping import Grouping, encode_framed
from tokenization.codecs.layers import chain
from tokenization.codecs.neural import NeuralTokenizer, chosen_device, sized
from tokenization.codecs.streaming import LayeredSteps
from tokenization.codecs.weights import Found, find

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "1"  # changes whenever the same weights would give other codes


def opened(settings: MimiSettings) -> NeuralTokenizer:
    """Raises ``TokenizerError`` where library, weights or device are missing, or do not fit the recipe."""
    device = chosen_device(settings.device)
    found = find(settings, settings.name)
    config = configured(settings, found)
    codebooks = pretrained.asked_codebooks(settings.codebooks, config.num_quantizers, settings.name)
    model = pretrained.model_of("Mimi", config, found, settings.name, device)
    network = Mimi(model, codebooks, settings.chunk_seconds, settings.batch_seconds)
    spec = TokenizerSpec(
        settings.name, pretrained.version(VERSION, config), config.frame_rate, codebooks, config.codebook_size,
        config.sampling_rate, found.checksum,
    )  # fmt: skip
    return NeuralTokenizer(spec, network, device)


def configured(settings: MimiSettings, found: Found) -> Any:
    config = pretrained.config_of("Mimi", settings, found, settings.name)
    pretrained.rate_is(settings, config.sampling_rate, found)
    return config


@dataclass(frozen=True)
class Mimi:
    model: Any
    codebooks: int
    chunk_seconds: float
    batch_seconds: float

    @property
    def hop(self) -> int:
        return round(self.model.config.sampling_rate / self.model.config.frame_rate)

    def frames(self, samples: int) -> int:
        return frames_by_hop(samples, self.hop)

    def encode(self, waves: Sequence[Tensor]) -> list[Tensor]:
        limit = int(self.batch_seconds * self.model.config.sampling_rate)
        return encode_framed(waves, self.hop, Grouping(limit), self._codes)

    def _codes(self, waves_NT: Tensor) -> Tensor:
        import torch

        asked = {"num_quantizers": self.codebooks, "return_dict": True}
        piece = max(int(self.chunk_seconds * self.model.config.frame_rate), 1) * self.hop
        if waves_NT.shape[-1] <= piece:
            return self.model.encode(waves_NT[:, None], **asked).audio_codes.mT
        codes, caches = [], {}
        for start, end in pieces_of(waves_NT.shape[-1], piece):
            made = self.model.encode(waves_NT[:, None, start:end], use_streaming=True, **caches, **asked)
            caches = {"encoder_past_key_values": made.encoder_past_key_values, "padding_cache": made.padding_cache}
            codes.append(made.audio_codes.mT)
        return torch.cat(codes, dim=1)

    def decode(self, codes_FQ: Tensor) -> Tensor:
        wave_T = self.model.decode(codes_FQ.T[None], return_dict=True).audio_values[0, 0]
        return sized(wave_T, len(codes_FQ) * self.hop)

    def steps(self) -> LayeredSteps:
        half = self.model.decoder
        upwards = [] if half.upsample is None else [half.upsample]
        return LayeredSteps(
            self._points, chain([*upwards, half.decoder_transformer, *half.decoder_seanet.layers]), self.hop
        )

    def _points(self, codes_FQ: Tensor) -> Tensor:
        """``x_1DF``, what the codes stand for."""
        return self.model.quantizer.decode(codes_FQ.T[None])

    def vectors(self) -> Tensor:
        import torch

        split = self.model.quantizer
        layers = [*split.semantic_residual_vector_quantizer.layers, *split.acoustic_residual_vector_quantizer.layers]
        return torch.stack([layer.codebook.embed for layer in layers[: self.codebooks]])
