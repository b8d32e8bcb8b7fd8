"""Which recognisers there are: settings to recogniser, each imported only when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeVar

from manifests.settings.base import Settings
from manifests.settings.recognisers import FasterWhisperSettings, PocketsphinxSettings, WhisperSettings
from manifests.settings.weights import WeightsSettings
from tokenization.codecs.weights import at_checksum
from tokenization.recognisers.base import Recogniser, RecogniserError, RecogniserSpec

S = TypeVar("S", bound=Settings)

RECOGNISERS: Mapping[type[Settings], str] = {
    PocketsphinxSettings: "tokenization.recognisers.pocketsphinx",
    WhisperSettings: "tokenization.recognisers.openai_whisper",
    FasterWhisperSettings: "tokenization.recognisers.faster_whisper",
}
"""The module of each; its ``described`` says what it is without loading it, its ``opened`` makes it."""


def describe_recogniser(settings: Settings) -> RecogniserSpec:
    """What ``settings`` ask for: its library is looked for and its weights are hashed, no model is loaded.

    Raises :class:`RecogniserError` where the library is missing, ``TokenizerError`` where the weights are.
    """
    return _module(settings).described(settings)


def open_recogniser(settings: Settings) -> Recogniser:
    """The recogniser that ``settings`` ask for, on their device.

    Raises :class:`RecogniserError` where the library is missing or the weights are not its own, ``TokenizerError`` where
    weights or device are not here.
    """
    return _module(settings).opened(settings)


def pinned(settings: S, spec: RecogniserSpec) -> S:
    """``settings`` that say exactly which weights: by their checksum, and as a place that every process finds."""
    return at_checksum(settings, spec.checksum) if isinstance(settings, WeightsSettings) else settings


def _module(settings: Settings) -> Any:
    name = RECOGNISERS.get(type(settings))
    if name is None:
        raise RecogniserError(f"no recogniser for {type(settings).__name__}")
    return import_module(name)
