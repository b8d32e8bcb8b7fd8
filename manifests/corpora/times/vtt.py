"""WebVTT captions (``.vtt``): cues with names, settings, voices, nested tags, and times inside the text."""

from __future__ import annotations

import html
import re

from manifests.corpora.times.cues import ARROW, Block, Cue, blocks, clock, cue_of, plain, unrolled
from manifests.corpora.times.transcript import BadTranscript, Phrase, Word, faulty

VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]+([^<>]+)>")
INNER = re.compile(r"<(\d[\d:.]*)>", re.ASCII)
OTHERS = ("NOTE", "STYLE", "REGION")


def read_vtt(text: str, name: str, recording: str) -> list[Phrase]:
    """One phrase a cue; empty ones are none. The voice of a cue (``<v Name>``) is its speaker, where it has one only.

    Where times stand in the text (``<00:00:01.500>``), what lies between them are its words. A cue that cannot be read costs itself; raises :class:`BadTranscript`
    for a file that does not begin with ``WEBVTT``.
    """
    found = list(blocks(text, spaces_part=False))
    if not found or not re.match(r"WEBVTT(?:[ \t]|$)", found[0].lines[0]):
        raise BadTranscript(f"{name} does not begin with WEBVTT; is it an .srt?")
    first = Block(found[0].number + 1, found[0].lines[1:])
    rest = [*([first] if any(ARROW in line for line in first.lines) else []), *found[1:]]
    cues = [cue for block in rest if (cue := _cue(block, name)) is not None]
    return [phrase for cue in unrolled(cues) if (phrase := _phrase(cue)) is not None]


def _cue(block: Block, name: str) -> Cue | Phrase | None:
    lines, number = list(block.lines), block.number
    if lines[0].split(maxsplit=1)[0] in OTHERS and ARROW not in lines[0]:
        return None
    if ARROW not in lines[0] and len(lines) > 1:  # the name of the cue
        del lines[0]
        number += 1
    return cue_of(lines, name, number)


def _phrase(cue: Cue | Phrase) -> Phrase | None:
    if isinstance(cue, Phrase):
        return cue
    raw = " ".join(cue.lines)
    try:
        words = _words(raw, cue.start, cue.end)
    except ValueError as error:
        return faulty(cue.where, error)
    said = _said(raw)
    voices = {html.unescape(" ".join(voice.split())) for voice in VOICE.findall(raw)}
    return Phrase(cue.start, cue.end, said, voices.pop() if len(voices) == 1 else None, None, words) if said else None


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
