"""TextGrid, Praat's tiers, as text in its long or short form; what the Montreal Forced Aligner gives.

Praat itself reads such a file as a row of numbers and quoted strings, and passes over everything else; so both forms are one here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from manifests.corpora.times.transcript import SILENCES, BadTranscript, Phrase, Word, seconds

TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(-?\d[\d.eE+-]*)(?!\S)|(?<!\S)<(\w+)>(?!\S)|![^\n]*')
BINARY = "ooBinaryFile"
WORDS, SOUNDS = ("words", "word"), ("phones", "phone", "phonemes", "segments")


@dataclass(frozen=True)
class Tier:
    """An interval tier; points are left out."""

    name: str
    intervals: tuple[Word, ...]


def read_textgrid(text: str, name: str, recording: str) -> list[Phrase]:
    """Phrases from the tiers of words (``words``, or ``SPEAKER - words``), all words of a tier in one; where there are none, each interval of the other tiers.

    Tiers of sounds (``phones``) are passed over. Where several tiers are read, each is a speaker of its name. Raises :class:`BadTranscript`.
    """
    tiers = [tier for tier in read_tiers(text, name) if _last(tier.name) not in SOUNDS]
    worded = [tier for tier in tiers if _last(tier.name) in WORDS]
    if worded:
        return [_of_words(tier, _speaker(tier.name)) for tier in worded if tier.intervals]
    several = len(tiers) > 1
    return [
        Phrase(word.start, word.end, " ".join(word.text.split()), tier.name if several else None)
        for tier in tiers
        for word in tier.intervals
    ]


def _last(name: str) -> str:
    return name.rsplit(" - ", 1)[-1].strip().lower()


def _speaker(name: str) -> str | None:
    head, dash, _ = name.rpartition(" - ")
    return head.strip() if dash else None


def _of_words(tier: Tier, speaker: str | None) -> Phrase:
    words = tier.intervals
    return Phrase(words[0].start, words[-1].end, " ".join(word.text for word in words), speaker, None, words)


def read_tiers(text: str, name: str) -> list[Tier]:
    """The interval tiers, without empty intervals. Raises :class:`BadTranscript` for what is no TextGrid, breaks off, or has times that make no sense."""
    if text.startswith(BINARY):
        raise BadTranscript(f"{name} is a binary TextGrid; save it as text in Praat")
    tokens = _tokens(text)
    head = (next(tokens, "").split(" ")[0], next(tokens, ""))
    if head != ('"ooTextFile', '"TextGrid'):
        raise BadTranscript(f"{name} is no TextGrid in text form")
    try:
        _span(tokens)
        if next(tokens) != "<exists":
            return []
        return [tier for _ in range(_count(next(tokens))) if (tier := _tier(tokens)) is not None]
    except (StopIteration, RuntimeError):
        raise BadTranscript(f"{name} breaks off in the middle of a tier; fetch or save it again") from None
    except ValueError as error:
        raise BadTranscript(f"{name}: {error}") from None


def _tokens(text: str) -> Iterator[str]:
    """Strings (as ``"text``), numbers, and flags (as ``<exists``), in order."""
    for match in TOKEN.finditer(text):
        if match[1] is not None:
            yield '"' + match[1].replace('""', '"')
        elif match[2] is not None or match[3] is not None:
            yield match[2] or f"<{match[3]}"


def _tier(tokens: Iterator[str]) -> Tier | None:
    kind, name = _string(next(tokens)), _string(next(tokens))
    _span(tokens)
    if kind == "TextTier":
        for _ in range(_count(next(tokens))):
            _point(tokens)
        return None
    if kind != "IntervalTier":
        raise ValueError(f"a tier is a {kind[:40]!r}, not an IntervalTier or TextTier")
    found, end = list[Word](), 0.0
    for number in range(1, _count(next(tokens)) + 1):
        word = Word(_time(next(tokens)), _time(next(tokens)), " ".join(_string(next(tokens)).split()))
        where = f"tier {name[:40]!r}, interval {number}"
        if word.end < word.start or word.start < end - 1e-4:
            raise ValueError(f"{where} from {word.start:g} s to {word.end:g} s is not behind the one before it")
        end = word.end
        if word.text not in SILENCES and word.end > word.start:
            found.append(word)
    return Tier(name, tuple(found))


def _span(tokens: Iterator[str]) -> tuple[float, float]:
    return _time(next(tokens)), _time(next(tokens))


def _point(tokens: Iterator[str]) -> tuple[float, str]:
    return _time(next(tokens)), _string(next(tokens))


def _string(token: str) -> str:
    if not token.startswith('"'):
        raise ValueError(f"a text was expected, and {token[:40]} came")
    return token[1:]


def _time(token: str) -> float:
    if token.startswith(('"', "<")):
        raise ValueError(f"a number was expected, and {token[:40]} came")
    return seconds(token)


def _count(token: str) -> int:
    if not token.isascii() or not token.isdigit() or len(token) > 9:
        raise ValueError(f"a number of intervals was expected, and {token[:40]} came")
    return int(token)
