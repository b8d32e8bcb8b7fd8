"""Texts made comparable, by Whisper's own normalisers, and how far two of them differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tokenization.recognisers.score import wer

SPACELESS = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km"})  # written without spaces: each sign counts as a word
SAME = {
    "cmn": "zh",
    "yue": "zh",
    "iw": "he",
    "nb": "no",
    "jw": "jv",
    "fil": "tl",
}  # other names, and what sounds alike to a recogniser
ENGLISH_NAMES = {
    "english": "en", "german": "de", "french": "fr", "spanish": "es", "italian": "it", "portuguese": "pt", "dutch": "nl",
    "polish": "pl", "russian": "ru", "turkish": "tr", "arabic": "ar", "hindi": "hi", "chinese": "zh", "mandarin": "zh",
    "cantonese": "zh", "japanese": "ja", "korean": "ko", "eng": "en", "deu": "de", "fra": "fr", "spa": "es", "zho": "zh",
    "jpn": "ja", "kor": "ko", "rus": "ru",
}  # fmt: skip

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")  # letters and digits, apostrophes within

Normaliser = Callable[[str], str]


def language_code(language: str | None) -> str | None:
    """The two letters of a language as corpora write them (``en-US``, ``English``, ``cmn``); None where they are not told."""
    if not language:
        return None
    head = language.strip().lower().replace("_", "-").partition("-")[0]
    code = SAME.get(head, ENGLISH_NAMES.get(head, head))
    return code if len(code) == 2 and code.isascii() and code.isalpha() else None


def normaliser(kind: Literal["auto", "english", "basic"], language: str | None) -> Normaliser:
    """What both texts go through. ``language`` is a code, or None where nobody says."""
    english = kind == "english" or (kind == "auto" and language == "en")
    return _english() if english else _basic(language in SPACELESS)


@cache
def _english() -> Normaliser:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()


@cache
def _basic(split_letters: bool) -> Normaliser:
    from whisper_normalizer.basic import BasicTextNormalizer

    return BasicTextNormalizer(split_letters=split_letters)


def plain(text: str) -> str:
    """The words alone: lower case, without punctuation, numbers and spellings as they are."""
    return " ".join(word.replace("’", "'") for word in WORD.findall(text.lower()))


@dataclass(frozen=True, slots=True)
class Difference:
    """Errors of the heard text over words, and over characters, of the said one; of a text without words, over one."""

    wer: float
    cer: float


def difference(said: str, heard: str, language: str | None = None) -> Difference:
    """Of two normalised texts. ``language`` is a code; in those of :data:`SPACELESS` the spaces are the normaliser's, and no characters."""
    import jiwer

    found = wer([said], [heard])
    space = "" if language in SPACELESS else " "
    one, other = space.join(said.split()), space.join(heard.split())
    characters = jiwer.process_characters(one, other) if one and other else None
    errors = (
        max(len(one), len(other))
        if characters is None
        else characters.substitutions + characters.deletions + characters.insertions
    )
    return Difference(round(found.errors / max(found.words, 1), 4), round(errors / max(len(one), 1), 4))


def repeats(words: list[str], longest: int = 12) -> tuple[int, str]:
    """How often in a row the most repeated words stand, and which: runs of one to ``longest`` words are looked at."""
    best = (min(len(words), 1), words[0] if words else "")
    for size in range(1, min(longest, len(words) // 2) + 1):
        run = 0
        for i in range(size, len(words)):
            run = run + 1 if words[i] == words[i - size] else 0
            if run // size + 1 > best[0]:
                best = (run // size + 1, " ".join(words[i - size + 1 : i + 1]))
    return best
