"""Which speech tokenizers there are: settings to adapter, each imported only when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from manifests.settings.base import Settings
from manifests.settings.speech import GivenSettings, PatchesSettings
from tokenization.adapter import SpeechTokenizer, TokenizerError

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


OPENERS: Mapping[type[Settings], Opener] = {PatchesSettings: _patches, GivenSettings: _given}
FITTED: frozenset[type[Settings]] = frozenset({PatchesSettings})


def needs_fit(settings: Settings) -> bool:
    """Whether this tokenizer's weights are made from the corpus, by a stage of their own."""
    return type(settings) in FITTED


def open_tokenizer(settings: Settings, weights: bytes | None = None) -> SpeechTokenizer:
    """The adapter that ``settings`` ask for, with the bytes of its weights where it has some.

    Raises :class:`TokenizerError` where the weights are missing, damaged, or made under other settings.
    """
    opener = OPENERS.get(type(settings))
    if opener is None:
        raise TokenizerError(f"no speech tokenizer for {type(settings).__name__}")
    return opener(settings, weights)
