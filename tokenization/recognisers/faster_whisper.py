"""Whisper by CTranslate2, as the package faster-whisper runs it: from a folder that ``ct2-transformers-converter`` made.

Shapes: N windows, T samples, M mel bands, L mel frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import orjson

from manifests.fingerprint import sha256
from manifests.settings.recognisers import FasterWhisperSettings
from tokenization.adapter import Wave
from tokenization.codecs.neural import chosen_device
from tokenization.codecs.weights import Found, find
from tokenization.recognisers.base import RATE, RecogniserError, RecogniserSpec
from tokenization.recognisers.windows import BLOCK, WINDOW, Piece, WhisperRecogniser

VERSION = "2"  # 2: what is a loop is told from signs, not bytes of UTF-8, and in each window alone
BEST_OF = 5  # texts drawn at a temperature above 0, of which the likeliest is taken; as the package does
FILES = ("config.json", "tokenizer.json", "model.bin")
ALSO = ("vocabulary.*", "preprocessor_config.json")


def described(settings: FasterWhisperSettings) -> RecogniserSpec:
    """What the weights are, and all that lies beside them. Raises :class:`RecogniserError` and ``TokenizerError``."""
    library()
    return _spec(settings, find(settings, settings.name, FILES, BLOCK, ALSO))


def opened(settings: FasterWhisperSettings) -> WhisperRecogniser:
    """Raises :class:`RecogniserError` and ``TokenizerError`` where library, weights or device are missing, or the weights are not Whisper's."""
    device, found = chosen_device(settings.device, BLOCK), find(settings, settings.name, FILES, BLOCK, ALSO)
    kind, _, number = device.partition(":")
    try:
        model = library().WhisperModel(
            str(found.folder), device=kind, device_index=int(number or 0), compute_type=settings.compute_type,
            cpu_threads=1, num_workers=1, local_files_only=True,
        )  # fmt: skip
    except (RuntimeError, ValueError, TypeError) as error:
        raise RecogniserError(
            f"{BLOCK}.weights: {found.folder} is no Whisper of CTranslate2 ({' '.join(str(error).split())[:200]})"
        ) from error
    return WhisperRecogniser(_spec(settings, found), settings, CTranslate2(model, settings))


def library() -> Any:
    """The package. Raises :class:`RecogniserError` where it is not installed."""
    try:
        package = import_module("faster_whisper")
        import_module("faster_whisper.tokenizer")
    except ImportError as error:
        raise RecogniserError(
            f"{BLOCK}.name is 'faster-whisper', which needs the library faster-whisper ({error}): pip install 'speechmill[faster-whisper]'"
        ) from error
    return package


def _spec(settings: FasterWhisperSettings, found: Found) -> RecogniserSpec:
    beside = sorted(p for p in found.folder.iterdir() if p.suffix in (".json", ".txt"))
    about = sha256(b"\0".join(part for p in beside for part in (p.name.encode(), p.read_bytes())))[:12]
    try:
        several = bool(orjson.loads((found.folder / FILES[0]).read_bytes()).get("lang_ids"))
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise RecogniserError(f"{BLOCK}.weights: {found.folder / FILES[0]} is damaged ({error})") from error
    return RecogniserSpec(settings.name, f"{VERSION}-{about}", found.checksum, WINDOW, None if several else "en")


@dataclass(frozen=True)
class CTranslate2:
    """The package's model."""

    model: Any
    settings: FasterWhisperSettings

    def likeliest(self, windows: Sequence[Wave]) -> list[Piece]:
        return self._pieces(windows, 0.0, {"beam_size": self.settings.beam_size or 1})

    def drawn(self, window_T: Wave, temperature: float, seed: int) -> Piece:
        import_module("ctranslate2").set_random_seed(seed % 2**32)
        sampling = {"beam_size": 1, "num_hypotheses": BEST_OF, "sampling_topk": 0, "sampling_temperature": temperature}
        [piece] = self._pieces([window_T], temperature, sampling)
        return piece

    def _features(self, windows: Sequence[Wave]) -> Any:
        """The encoder's states of each window, filled with silence to 30 s, as the library holds them."""
        rows = [np.pad(window_T, (0, int(WINDOW * RATE) - len(window_T))) for window_T in windows]
        return self.model.encode(np.stack([self.model.feature_extractor(row_T, padding=0) for row_T in rows]))

    def _pieces(self, windows: Sequence[Wave], temperature: float, search: dict[str, Any]) -> list[Piece]:
        features, network = self._features(windows), self.model.model
        heard = (
            [max(row, key=lambda one: one[1]) for row in network.detect_language(features)]
            if network.is_multilingual
            else []
        )
        languages = [(mark[2:-2], float(probability)) for mark, probability in heard] or [(None, None)] * len(windows)
        tokenizers = [self._tokenizer(self.settings.language or language) for language, _ in languages]
        results = network.generate(
            features, [[*t.sot_sequence, t.no_timestamps] for t in tokenizers], length_penalty=1,
            max_length=self.model.max_length, return_scores=True, return_no_speech_prob=True, suppress_blank=True,
            suppress_tokens=library().transcribe.get_suppressed_tokens(tokenizers[0], [-1]), **search,
        )  # fmt: skip
        return [_piece(r, t, temperature, *who) for r, t, who in zip(results, tokenizers, languages, strict=True)]

    def _tokenizer(self, language: str | None) -> Any:
        several = self.model.model.is_multilingual
        return library().tokenizer.Tokenizer(self.model.hf_tokenizer, several, "transcribe", language)


def _piece(result: Any, tokenizer: Any, temperature: float, language: str | None, probability: float | None) -> Piece:
    tokens = result.sequences_ids[0]
    mean = result.scores[0] * len(tokens) / (len(tokens) + 1)  # the score is a mean without the end
    text = tokenizer.decode(tokens).strip()
    return Piece(text, len(tokens) + 1, float(mean), float(result.no_speech_prob), temperature, language, probability)
