"""Speaking rate: letters and digits for each second of speech. Far from a language's own it tells a text that is not what is said."""

from __future__ import annotations

import unicodedata

from tokenization.scores.base import Sound, Values

COUNTED = "LMN"  # letters, the marks that many scripts write vowels with, numbers


def characters_per_second(sound: Sound) -> Values:
    """``characters_per_second`` to a hundredth; None without text or without speech."""
    if sound.text is None or sound.speech_seconds <= 0:
        return {"characters_per_second": None}
    text = unicodedata.normalize("NFC", sound.text)
    count = sum(unicodedata.category(character)[0] in COUNTED for character in text)
    return {"characters_per_second": round(count / sound.speech_seconds, 2)}
