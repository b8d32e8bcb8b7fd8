"""Which speech tokenizers there are: settings to adapter, each imported only when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from manifests.settings.base import Settings
from manifests.settings.codecs import (
    CodecSettings,
    DacSettings,
    EncodecSettings,
    MimiSettings,
    S3Settings,
    XcodecSettings,
)
from manifests.settings.speech import GivenSettings, PatchesSettings
from tokenization.adapter import SpeechTokenizer, TokenizerError
from tokenization.codecs.weights import at_checksum

S = TypeVar("S", bound=Settings)
Opener = Callable[[Any, bytes | None], SpeechTokenizer]


def _patches(settings: PatchesSettings, weights: bytes | None) -> SpeechTokenizer:
    from tokenization.patches import PatchesTokenizer, load

    if weights is None:
        raise TokenizerError("the 'patches' tokenizer needs its codebook: run the fit stage first")
    return PatchesTokenizer(load(weights, settings), settings)


def _given(settings: GivenSettings, weights: bytes | None) -> SpeechTokenizer:
    from tokenization.given import GivenTokenizer

    if weights is not None:
        raise TokenizerError("tokens that came with the corpus have no weights to load")
    return GivenTokenizer(settings)


CODECS: Mapping[type[Settings], str] = {
    EncodecSettings: "tokenization.codecs.encodec",
    MimiSettings: "tokenization.codecs.mimi",
    DacSettings: "tokenization.codecs.dac",
    XcodecSettings: "tokenization.codecs.xcodec",
    S3Settings: "tokenization.codecs.s3.tokenizer",
}
"""The module of each codec with weights of its own; its ``opened`` makes the adapter."""


def _codec(settings: CodecSettings, weights: bytes | None) -> SpeechTokenizer:
    if weights is not None:
        raise TokenizerError(f"the weights of {CODECS[type(settings)]} come from speech.weights, not from the corpus")
    return import_module(CODECS[type(settings)]).opened(settings)


OPENERS: Mapping[type[Settings], Opener] = {
    PatchesSettings: _patches,
    GivenSettings: _given,
    **dict.fromkeys(CODECS, _codec),
}
FITTED: frozenset[type[Settings]] = frozenset({PatchesSettings})


def needs_fit(settings: Settings) -> bool:
    """Whether this tokenizer's weights are made from the corpus, by a stage of their own."""
    return type(settings) in FITTED


def pinned(settings: S, tokenizer: SpeechTokenizer) -> S:
    """``settings`` that say exactly which weights: by their checksum, and as a place that every process finds."""
    if not isinstance(settings, CodecSettings):
        return settings
    return at_checksum(settings, tokenizer.spec.checksum)


def open_tokenizer(settings: Settings, weights: bytes | None = None, device: str | None = None) -> SpeechTokenizer:
    """The adapter that ``settings`` ask for, with the bytes of its weights where it was fitted; ``device``: there, whatever they say.

    Raises :class:`TokenizerError` where the weights are missing, damaged, or made under other settings.
    """
    if device is not None and isinstance(settings, CodecSettings):
        settings = settings.model_copy(update={"device": device})
    opener = OPENERS.get(type(settings))
    if opener is None:
        raise TokenizerError(f"no speech tokenizer for {type(settings).__name__}")
    return opener(settings, weights)
