"""SubRip captions (``.srt``): a number, a line of times, lines of text, an empty line."""

from __future__ import annotations

import re

from manifests.corpora.times.cues import ARROW, Block, blocks, plain, times
from manifests.corpora.times.transcript import Phrase, faulty

PLACES = re.compile(r"\{\\[^{}]*\}")  # {\an8}: where on the screen


def read_srt(text: str, name: str, recording: str) -> list[Phrase]:
    """One phrase a caption; empty ones are none. A caption that cannot be read costs itself."""
    return [phrase for block in blocks(text) if (phrase := _phrase(block, name)) is not None]


def _phrase(block: Block, name: str) -> Phrase | None:
    lines = list(block.lines)
    number = block.number
    if lines[0].strip().isdigit() and (len(lines) == 1 or ARROW in lines[1]):
        del lines[0]
        number += 1
    if not lines:  # the number of a caption without anything else
        return None
    where = f"{name} line {number}"
    if ARROW not in lines[0]:
        return faulty(where, "text without times")
    if any(ARROW in line for line in lines[1:]):
        return faulty(where, "two captions without an empty line between")
    try:
        start, end = times(lines[0])
    except ValueError as error:
        return faulty(where, error)
    said = plain(PLACES.sub("", " ".join(lines[1:])))
    return Phrase(start, end, said) if said else None
