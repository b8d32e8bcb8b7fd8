"""WebVTT captions (``.vtt``): cues with names, settings, voices, nested tags, and times inside the text."""

from __future__ import annotations

import html
import re

from manifests.corpora.times.cues import ARROW, Block, blocks, clock, plain, times
from manifests.corpora.times.transcript import BadTranscript, Phrase, Word, faulty

VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]+([^<>]+)>")
INNER = re.compile(r"<(\d[\d:.]*)>", re.ASCII)
OTHERS = ("NOTE", "STYLE", "REGION")


def read_vtt(text: str, name: str, recording: str) -> list[Phrase]:
    """One phrase a cue; empty ones are none. The voice of a cue (``<v Name>``) is its speaker, where it has one only.

    Where times stand in the text (``<00:00:01.500>``), what lies between them are its words. A cue that cannot be read costs itself; raises :class:`BadTranscript`
    for a file that does not begin with ``WEBVTT``.
    """
    found = list(blocks(text))
    if not found or not re.match(r"WEBVTT(?:[ \t]|$)", found[0].lines[0]):
        raise BadTranscript(f"{name} does not begin with WEBVTT; is it an .srt?")
    first = Block(found[0].number + 1, found[0].lines[1:])
    cues = [*([first] if any(ARROW in line for line in first.lines) else []), *found[1:]]
    return [phrase for block in cues if (phrase := _phrase(block, name)) is not None]


def _phrase(block: Block, name: str) -> Phrase | None:
    lines = block.lines
    if lines[0].split(maxsplit=1)[0] in OTHERS and ARROW not in lines[0]:
        return None
    at = 0 if ARROW in lines[0] else 1
    where = f"{name} line {block.number + min(at, len(lines) - 1)}"
    if at == len(lines) or ARROW not in lines[at]:
        return faulty(where, "text without times")
    if any(ARROW in line for line in lines[at + 1 :]):
        return faulty(where, "two captions without an empty line between")
    try:
        start, end = times(lines[at])
        raw = " ".join(lines[at + 1 :])
        words = _words(raw, start, end)
    except ValueError as error:
        return faulty(where, error)
    said = _said(raw)
    voices = {html.unescape(" ".join(voice.split())) for voice in VOICE.findall(raw)}
    return Phrase(start, end, said, voices.pop() if len(voices) == 1 else None, None, words) if said else None


def _said(raw: str) -> str:
    return " ".join(html.unescape(plain(raw)).split())


def _words(raw: str, start: float, end: float) -> tuple[Word, ...]:
    """What lies between the times in the text, without what says nothing; none where there are no times. Raises ValueError."""
    parts = INNER.split(raw)
    if len(parts) == 1:
        return ()
    begins = [start, *(clock(time) for time in parts[1::2])]
    if begins != sorted(begins) or begins[-1] > end:
        raise ValueError("the times inside the text are not in order, or beyond its end")
    ends = [*begins[1:], end]
    words = [Word(a, b, _said(part)) for a, b, part in zip(begins, ends, parts[::2], strict=True)]
    return tuple(word for word in words if word.text)
