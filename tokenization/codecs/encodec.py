"""EnCodec through transformers' EncodecModel: checkpoints of the hub, and original ``.th`` files with their names changed.

24 kHz: causal convolutions and an LSTM. Audio goes through in pieces: convolutions hear enough of what came before, the LSTM
keeps its state, so the codes are those of the whole. 48 kHz: see ``encodec_48.py``.

Shapes: N utterances, T samples, F frames, D channels, Q codebooks, K codes, Z dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from manifests.settings.codecs import EncodecSettings
from tokenization.adapter import TokenizerError, TokenizerSpec, frames_by_hop
from tokenization.codecs import pretrained
from tokenization.codecs.encodec_original import load_original, original_config
from tokenization.codecs.grouping import Grouping, encode_framed
from tokenization.codecs.layers import chain
from tokenization.codecs.neural import NeuralTokenizer, chosen_device
from tokenization.codecs.streaming import LayeredSteps
from tokenization.codecs.weights import Found, find

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "1"  # changes whenever the same weights would give other codes
MIRRORED = 32  # frames: far more than the convolutions mirror at the start of an utterance


def opened(settings: EncodecSettings) -> NeuralTokenizer:
    """Raises :class:`TokenizerError` where library, weights or device are missing, or do not fit the recipe."""
    from tokenization.codecs.encodec_48 import SegmentedEncodec

    device = chosen_device(settings.device)
    found = find(settings, settings.name)
    config = configured(settings, found)
    model = _model(config, found, device)
    codebooks = model.quantizer.get_num_quantizers_for_bandwidth(settings.bandwidth)
    if config.chunk_length is None:
        network: Any = CausalEncodec(model, settings.bandwidth, settings.chunk_seconds, settings.batch_seconds)
    else:
        network = SegmentedEncodec(model, settings.bandwidth, settings.batch_seconds)
    spec = TokenizerSpec(
        settings.name, pretrained.version(VERSION, config), network.frame_rate, codebooks, config.codebook_size,
        config.sampling_rate, found.checksum,
    )  # fmt: skip
    return NeuralTokenizer(spec, network, device)


def configured(settings: EncodecSettings, found: Found) -> Any:
    """The architecture: beside the weights, or that of the published model where these are an original file."""
    if found.config is None:
        return original_config(settings.sample_rate)
    config = pretrained.config_of("Encodec", settings, found, settings.name)
    pretrained.rate_is(settings, config.sampling_rate, found)
    if settings.bandwidth not in config.target_bandwidths:
        raise TokenizerError(
            f"speech.bandwidth is {settings.bandwidth:g}, but {found.weights} has {', '.join(f'{b:g}' for b in config.target_bandwidths)}"
        )
    if config.chunk_length is None and not config.use_causal_conv:
        raise TokenizerError(
            f"speech.weights: {found.config}: neither causal nor of fixed segments: no such EnCodec is known here"
        )
    return config


def _model(config: Any, found: Found, device: str) -> Any:
    if found.config is None:
        return load_original(config, found).eval().to(device)
    return pretrained.model_of("Encodec", config, found, "encodec", device)


def quantized(model: Any, latents_NDF: Tensor, bandwidth: float) -> Tensor:
    """``codes_NFQ`` of the encoder's output."""
    return model.quantizer.encode(latents_NDF, bandwidth).permute(1, 2, 0)


def codebook_vectors(model: Any, codes_FQ: int) -> Tensor:
    """``vectors_QKZ`` of the first so many codebooks."""
    import torch

    return torch.stack([layer.codebook.embed for layer in model.quantizer.layers[:codes_FQ]])


@dataclass(frozen=True)
class CausalEncodec:
    """EnCodec of 24 kHz."""

    model: Any
    bandwidth: float
    chunk_seconds: float
    batch_seconds: float

    @property
    def hop(self) -> int:
        return self.model.config.hop_length

    @property
    def frame_rate(self) -> float:
        return self.model.config.sampling_rate / self.hop

    def frames(self, samples: int) -> int:
        return frames_by_hop(samples, self.hop)

    def encode(self, waves: Sequence[Tensor]) -> list[Tensor]:
        limit = int(self.batch_seconds * self.model.config.sampling_rate)
        grouping = Grouping(limit, alone_below=MIRRORED * self.hop)
        return encode_framed(waves, self.hop, grouping, self._codes)

    def _codes(self, waves_NT: Tensor) -> Tensor:
        import torch

        pieces = [quantized(self.model, latents, self.bandwidth) for latents in self._latents(waves_NT)]
        return torch.cat(pieces, dim=1)

    def _latents(self, waves_NT: Tensor) -> Iterator[Tensor]:
        """The encoder's output ``latents_NDF``, piece by piece."""
        import torch

        layers = list(self.model.encoder.layers)
        at = next(i for i, layer in enumerate(layers) if hasattr(layer, "lstm"))
        recurrent, tail = layers[at].lstm, layers[at + 1 :]
        lead = math.ceil(reach(layers[:at]) / self.hop) * self.hop
        behind = reach(tail)
        state, held_NDF = None, None
        for start, end in pieces_of(waves_NT.shape[-1], self._piece):
            first = max(0, start - lead)
            x_NDF = waves_NT[:, None, first:end]
            for layer in layers[:at]:
                x_NDF = layer(x_NDF)
            x_FND = x_NDF[..., (start - first) // self.hop :].permute(2, 0, 1)
            y_FND, state = recurrent(x_FND, state)
            y_NDF = (y_FND + x_FND).permute(1, 2, 0)
            whole_NDF = y_NDF if held_NDF is None else torch.cat([held_NDF, y_NDF], dim=-1)
            skipped = whole_NDF.shape[-1] - y_NDF.shape[-1]
            held_NDF = whole_NDF[..., -behind:]
            for layer in tail:
                whole_NDF = layer(whole_NDF)
            yield whole_NDF[..., skipped:]

    @property
    def _piece(self) -> int:
        """Samples of a piece: whole frames, and more than the network mirrors."""
        frames = int(self.chunk_seconds * self.frame_rate)
        return max(frames, MIRRORED) * self.hop

    def decode(self, codes_FQ: Tensor) -> Tensor:
        return self.model._decode_frame(codes_FQ.T[None])[0, 0]

    def steps(self) -> LayeredSteps:
        return LayeredSteps(self._points, chain(self.model.decoder.layers), self.hop)

    def _points(self, codes_FQ: Tensor) -> Tensor:
        """``x_1DF``, what the codes stand for."""
        return self.model.quantizer.decode(codes_FQ.T[:, None])

    def vectors(self) -> Tensor:
        return codebook_vectors(self.model, self.model.quantizer.get_num_quantizers_for_bandwidth(self.bandwidth))


def pieces_of(samples: int, piece: int) -> list[tuple[int, int]]:
    """(start, end) of the pieces of an utterance, in samples; all but the last are ``piece`` long."""
    return list(pairwise([*range(0, samples, piece), samples]))


def reach(layers: Sequence[Any]) -> int:
    """How far back, in samples of its input, a stack of causal convolutions hears beyond what it steps over."""
    import torch

    heard, step = 0, 1
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, torch.nn.Conv1d):
                heard += (module.kernel_size[0] - 1) * module.dilation[0] * step
                step *= module.stride[0]
    return heard
