"""Whisper as OpenAI's package runs it, from a checkpoint in its own format: ``{dims, model_state_dict}``.

Shapes: N windows, T samples, M mel bands, L mel frames, F frames of the encoder (50 a second), D its width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

import numpy as np

from manifests.settings.features import FeaturesSettings
from manifests.settings.recognisers import WhisperSettings
from tokenization.adapter import TokenizerError, Wave
from tokenization.codecs.neural import chosen_device
from tokenization.codecs.weights import Found, find
from tokenization.recognisers.base import RecogniserError, RecogniserSpec
from tokenization.recognisers.windows import BLOCK, WINDOW, Piece, WhisperRecogniser

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "1"
BEST_OF = 5  # texts drawn at a temperature above 0, of which the likeliest is taken; as the package's command does
MULTILINGUAL = 51_865  # entries of a vocabulary from which on it has marks for languages


def described(settings: WhisperSettings) -> RecogniserSpec:
    """What the weights are. Raises :class:`RecogniserError` and ``TokenizerError``."""
    library()
    found = found_weights(settings)
    return _spec(settings, found, checkpoint(found.weights)["dims"])


def opened(settings: WhisperSettings) -> WhisperRecogniser:
    """Raises :class:`RecogniserError` and ``TokenizerError`` where library, weights or device are missing, or the weights are not Whisper's."""
    device, found = chosen_device(settings.device, BLOCK), found_weights(settings)
    model, dims = loaded(found.weights)
    return WhisperRecogniser(_spec(settings, found, dims), settings, OpenAI(model.to(device), settings))


def library(block: str = BLOCK) -> Any:
    """The package. Raises :class:`RecogniserError` where it is not installed; ``block`` of the recipe asks for it."""
    try:
        return import_module("whisper")
    except ImportError as error:
        raise RecogniserError(
            f"{block}.name is 'whisper', which needs the library openai-whisper ({error}): pip install 'speechmill[whisper]'"
        ) from error


def found_weights(settings: WhisperSettings | FeaturesSettings, block: str = BLOCK) -> Found:
    """The checkpoint: a file, or one of a folder by its name. Raises ``TokenizerError``."""
    if settings.weights and settings.model is None and Path(settings.weights).expanduser().is_dir():
        raise TokenizerError(
            f"{block}.weights: {settings.weights} is a folder: name a checkpoint in it with {block}.model"
        )
    return find(settings, settings.name, (f"{settings.model or 'model'}.pt",), block)


def _spec(settings: WhisperSettings, found: Found, dims: dict[str, int]) -> RecogniserSpec:
    language = None if dims["n_vocab"] >= MULTILINGUAL else "en"
    return RecogniserSpec(settings.name, VERSION, found.checksum, WINDOW, language)


def checkpoint(path: Path, block: str = BLOCK) -> dict[str, Any]:
    """What the file holds: numbers and arrays, nothing is executed. Arrays are mapped, not read, where the format lets them be."""
    import torch

    names = {field.name for field in fields(library(block).model.ModelDimensions)}
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
        dims, state = dict(value["dims"]), value["model_state_dict"]
        if set(dims) != names or not all(isinstance(n, int) and 0 < n < 1 << 20 for n in dims.values()):
            raise ValueError(f"its dims are not {', '.join(sorted(names))}")
        return {"dims": dims, "model_state_dict": dict(state)}
    except Exception as error:  # unpickling refuses with errors of many types
        raise RecogniserError(
            f"{block}.weights: {path} is no checkpoint of Whisper ({' '.join(str(error).split())[:200]})"
        ) from error


def loaded(path: Path, block: str = BLOCK) -> tuple[Any, dict[str, int]]:
    """The model, in float32, and its sizes. Raises :class:`RecogniserError`."""
    held, model = checkpoint(path, block), library(block).model
    try:
        network = model.Whisper(model.ModelDimensions(**held["dims"]))
        network.load_state_dict(held["model_state_dict"])
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecogniserError(
            f"{block}.weights: {path}: its arrays do not fit its dims ({' '.join(str(error).split())[:200]})"
        ) from error
    return network.float().eval(), held["dims"]


def encoded(model: Any, windows: Sequence[Wave], half: bool = False) -> Tensor:
    """``features_NFD``: the encoder's states of each window, filled with silence to 30 s."""
    import torch

    audio = library().audio
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
        asked = library().DecodingOptions(
            language=self.settings.language, without_timestamps=True, fp16=self.settings.half, **options
        )
        results = self.model.decode(features_NFD, asked)
        several = self.model.is_multilingual  # what the package hears of languages on its way it does not tell
        heard = self.model.detect_language(features_NFD)[1] if several else [None] * len(results)
        return [_piece(result, probs) for result, probs in zip(results, heard, strict=True)]


def _pieces(self, features_NFD: Tensor, **options: Any) -> list[Piece]:
    asked = library().DecodingOptions(
        language=self.settings.language, without_timestamps=True, fp16=self.settings.half, **options
    )
    results = self.model.decode(features_NFD, asked)
    heard = [result.language_probs for result in results]
    if (
        self.model.is_multilingual and self.settings.language is not None
    ):  # told what is spoken, the package does not ask
        heard = self.model.detect_language(features_NFD)[1]
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
