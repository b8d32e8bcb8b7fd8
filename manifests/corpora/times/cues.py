"""What SRT and VTT share: blocks of lines, the times above a caption, tags inside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from manifests.corpora.times.transcript import check_span, checked, lines_of

ARROW = "-->"
CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})", re.ASCII)
TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>", re.ASCII)


@dataclass(frozen=True)
class Block:
    """Lines between empty ones; ``number`` is that of the first."""

    number: int
    lines: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    held: list[str] = []
    first = 1
    for number, line in lines_of(text):
        if line.strip():
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
