"""SubRip captions (``.srt``): a number, a line of times, lines of text, an empty line."""

from __future__ import annotations

import re

from manifests.corpora.times.cues import ARROW, Block, Cue, blocks, cue_of, plain, unrolled
from manifests.corpora.times.transcript import Phrase

PLACES = re.compile(r"\{\\[^{}]*\}")  # {\an8}: where on the screen


def read_srt(text: str, name: str, recording: str) -> list[Phrase]:
    """One phrase a caption; empty ones are none. A caption that cannot be read costs itself."""
    cues = [cue for block in blocks(text, spaces_part=True) if (cue := _cue(block, name)) is not None]
    return [phrase for cue in unrolled(cues) if (phrase := _phrase(cue)) is not None]


def _cue(block: Block, name: str) -> Cue | Phrase | None:
    lines, number = list(block.lines), block.number
    if lines[0].strip().isdigit() and (len(lines) == 1 or ARROW in lines[1]):
        del lines[0]
        number += 1
    return cue_of(lines, name, number) if lines else None  # the number of a caption, without anything else


def _phrase(cue: Cue | Phrase) -> Phrase | None:
    if isinstance(cue, Phrase):
        return cue
    said = plain(PLACES.sub("", " ".join(cue.lines)))
    return Phrase(cue.start, cue.end, said) if said else None
