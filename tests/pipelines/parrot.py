"""A recogniser that says how long what it heard was, and nothing of short sounds; and, as a module, one that is registered in Whisper's place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from manifests.settings.recognisers import WhisperSettings
from tokenization.codecs.weights import find
from tokenization.recognisers.base import RecogniserSpec, Transcript
from tokenization.recognisers.windows import BLOCK


class Parrot:
    """``asked`` counts the sounds of all parrots."""

    asked = 0

    spec = RecogniserSpec("parrot", "1", "")

    def recognise(self, waves: Sequence[np.ndarray]) -> list[Transcript]:
        Parrot.asked += len(waves)
        return [Transcript(f"speaker 3 says line {len(w) // 4000}" if len(w) > 2000 else "") for w in waves]


def described(settings: WhisperSettings) -> RecogniserSpec:
    """Weights that begin with ``en`` know English only."""
    found = find(settings, settings.name, ("weights",), BLOCK)
    known = "en" if found.weights.read_bytes().startswith(b"en") else None
    return RecogniserSpec(settings.name, "1", found.checksum, language=known)


def opened(settings: WhisperSettings) -> Parrot:
    return Parrot()
