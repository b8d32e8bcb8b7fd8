"""What SRT and VTT share: blocks of lines, the times above a caption, tags inside it, and captions that roll up the screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from manifests.corpora.times.transcript import Phrase, check_span, checked, faulty, lines_of

ARROW = "-->"
CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})", re.ASCII)
TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>", re.ASCII)


FLASH = 0.05  # seconds: nobody reads a caption that stands no longer


@dataclass(frozen=True)
class Block:
    """Lines between empty ones; ``number`` is that of the first."""

    number: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Cue:
    """A caption as it stands in the file: its lines with their tags."""

    where: str
    start: float
    end: float
    lines: tuple[str, ...]


def blocks(text: str, spaces_part: bool) -> Iterator[Block]:
    """``spaces_part``: a line of spaces parts blocks as an empty one does."""
    held: list[str] = []
    first = 1
    for number, line in lines_of(text):
        if line.strip() or (line and held and not spaces_part):
            first = number if not held else first
            held.append(line)
        elif held:
            yield Block(first, tuple(held))
            held = []
    if held:
        yield Block(first, tuple(held))


def clock(text: str) -> float:
    """``[hours:]minutes:seconds.thousandths`` in seconds. Raises ValueError."""
    match = CLOCK.fullmatch(text)
    if match is None or int(match[2]) > 59 or int(match[3]) > 59:
        raise ValueError(f"{text[:40]!r} is no time such as 00:01:02.500")
    hours, minutes, whole = (int(part or 0) for part in match.group(1, 2, 3))
    return checked(3600 * hours + 60 * minutes + whole + int(match[4].ljust(3, "0")) / 1000)


def times(line: str) -> tuple[float, float]:
    """(start, end) of a line with an arrow; settings behind it are passed over. Raises ValueError."""
    before, _, behind = line.partition(ARROW)
    start, end = clock(before.strip()), clock((behind.split() or [""])[0])
    check_span(start, end)
    return start, end


def plain(text: str) -> str:
    """Without tags, on one line."""
    return " ".join(TAG.sub("", text).split())


def cue_of(lines: list[str], name: str, number: int) -> Cue | Phrase:
    """The cue whose line of times comes first, on line ``number``; a faulty phrase where it is none."""
    where = f"{name} line {number}"
    if ARROW not in lines[0]:
        return faulty(where, "text without times")
    if any(ARROW in line for line in lines[1:]):
        return faulty(where, "two captions without an empty line between")
    try:
        return Cue(where, *times(lines[0]), tuple(line for line in lines[1:] if line.strip()))
    except ValueError as error:
        return faulty(where, error)


def unrolled(cues: Iterable[Cue | Phrase]) -> Iterator[Cue | Phrase]:
    """Cues as they are; of captions that roll up the screen, each line only where it comes up first.

    Made by machines, these show every line again above the next one, and once for a moment between two. That moment is how they are known.
    """
    whole = list(cues)
    if not any(_flashes(b, a) for a, b in pairwise(whole)):
        yield from whole
        return
    shown: list[str] = []
    for cue in whole:
        if isinstance(cue, Phrase):
            yield cue
            continue
        new = list(cue.lines)
        while new and plain(new[0]) in shown:
            del new[0]
        shown = [plain(line) for line in cue.lines]
        yield replace(cue, lines=tuple(new))


def _flashes(cue: Cue | Phrase, before: Cue | Phrase) -> bool:
    """Whether a cue shows a line of the one before for a moment."""
    if isinstance(cue, Phrase) or isinstance(before, Phrase) or not cue.lines or not before.lines:
        return False
    return cue.end - cue.start <= FLASH and plain(cue.lines[-1]) == plain(before.lines[-1])
