"""Whisper as OpenAI's package runs it, from a checkpoint of its own or a folder of Hugging Face transformers (``whisper_files.py``).

Shapes: N windows, T samples, M mel bands, L mel frames, F frames of the encoder (50 a second), D its width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from manifests.fingerprint import canonical, sha256
from manifests.settings.recognisers import WhisperSettings
from tokenization.adapter import Wave
from tokenization.codecs.neural import chosen_device
from tokenization.codecs.weights import Found
from tokenization.recognisers.base import RecogniserSpec
from tokenization.recognisers.whisper_files import (
    MULTILINGUAL,
    found_weights,
    library,
    loaded,
    require_words,
    sizes,
)
from tokenization.recognisers.windows import BLOCK, WINDOW, Piece, WhisperRecogniser

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "2"  # 2: what is a loop is told from signs, not bytes of UTF-8, and in each window alone
BEST_OF = 5  # texts drawn at a temperature above 0, of which the likeliest is taken; as the package's command does


def described(settings: WhisperSettings) -> RecogniserSpec:
    """What the weights are. Raises ``RecogniserError`` and ``TokenizerError``."""
    library(BLOCK)
    found = found_weights(settings, BLOCK)
    return _spec(settings, found, sizes(found, BLOCK))


def opened(settings: WhisperSettings) -> WhisperRecogniser:
    """Raises ``RecogniserError`` and ``TokenizerError`` where library, weights or device are missing, or the weights are not Whisper's."""
    device, found = chosen_device(settings.device, BLOCK), found_weights(settings, BLOCK)
    model, dims = loaded(found, BLOCK)
    return WhisperRecogniser(_spec(settings, found, dims), settings, OpenAI(model.to(device), settings))


def _spec(settings: WhisperSettings, found: Found, dims: Mapping[str, int]) -> RecogniserSpec:
    """Of a folder, whose sizes do not stand in the file that is hashed, they are part of the version."""
    require_words(found, dims, BLOCK)
    version = VERSION if found.config is None else f"{VERSION}-{sha256(canonical(dict(dims)))[:12]}"
    language = None if dims["n_vocab"] >= MULTILINGUAL else "en"
    return RecogniserSpec(settings.name, version, found.checksum, WINDOW, language)


def encoded(model: Any, windows: Sequence[Wave], half: bool = False) -> Tensor:
    """``features_NFD``: the encoder's states of each window, filled with silence to 30 s."""
    import torch

    audio = library(BLOCK).audio
    rows = [audio.pad_or_trim(torch.from_numpy(np.array(window_T))) for window_T in windows]
    mel_NML = torch.stack([audio.log_mel_spectrogram(row_T, model.dims.n_mels) for row_T in rows])
    return model.encoder(mel_NML.to(model.device, torch.float16 if half else torch.float32))


@dataclass(frozen=True)
class OpenAI:
    """The package's model."""

    model: Any
    settings: WhisperSettings

    def likeliest(self, windows: Sequence[Wave]) -> list[Piece]:
        return self._pieces(encoded(self.model, windows, self.settings.half), beam_size=self.settings.beam_size)

    def drawn(self, window_T: Wave, temperature: float, seed: int) -> Piece:
        with _seeded(seed, self.model.device):
            [piece] = self._pieces(
                encoded(self.model, [window_T], self.settings.half), temperature=temperature, best_of=BEST_OF
            )
        return piece

    def _pieces(self, features_NFD: Tensor, **options: Any) -> list[Piece]:
        asked = library(BLOCK).DecodingOptions(
            language=self.settings.language, without_timestamps=True, fp16=self.settings.half, **options
        )
        results = self.model.decode(features_NFD, asked)
        several = self.model.is_multilingual  # what the package hears of languages on its way it does not tell
        heard = self.model.detect_language(features_NFD)[1] if several else [None] * len(results)
        return [_piece(result, probs) for result, probs in zip(results, heard, strict=True)]


def _piece(result: Any, probs: dict[str, float] | None) -> Piece:
    language = max(probs, key=probs.__getitem__) if probs else None
    return Piece(
        result.text,
        len(result.tokens) + 1,
        float(result.avg_logprob),
        float(result.no_speech_prob),
        float(result.temperature),
        language,
        probs[language] if probs and language else None,
    )


@contextmanager
def _seeded(seed: int, device: Any) -> Iterator[None]:
    import torch

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed % 2**63)
        yield
