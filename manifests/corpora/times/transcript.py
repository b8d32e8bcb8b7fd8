"""What every format comes to: phrases, and words where it tells them apart. Times are in seconds of the recording."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from manifests.corpora.listing import Fault

MOST_SECONDS = 1e6  # eleven days: no recording is longer, a typing error is
SILENCES = frozenset(
    ["", "<eps>", "<s>", "</s>", "<sil>", "sil", "SIL", "sp", "<p:>"]
)  # what aligners write for nothing


class BadTranscript(ValueError):
    """A transcript that cannot be believed as a whole: says the file, the line, and why, on one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True, slots=True)
class Word:
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """Something that is said from ``start`` to ``end``.

    text      None where only a speaker is known
    speaker   as the file names it
    channel   counted from 0, where the file has several
    words     what it is made of, where the file says so; ``text`` is made of them
    fault     why it cannot be used; its times are 0 where they make no sense
    """

    start: float
    end: float
    text: str | None = None
    speaker: str | None = None
    channel: int | None = None
    words: tuple[Word, ...] = ()
    fault: Fault | None = None


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of every line, without its end: Unix, DOS or old Mac."""
    return enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1)


def seconds(value: str) -> float:
    """A time as a decimal number. Raises ValueError for what is none, negative, infinite or absurd."""
    try:
        time = float(value[:40])
    except ValueError:
        raise ValueError(f"{value[:40]!r} is no number of seconds") from None
    return checked(time)


def checked(time: float) -> float:
    """Raises ValueError, saying what is wrong."""
    if math.isnan(time) or math.isinf(time):
        raise ValueError("a time is no number")
    if time < 0:
        raise ValueError(f"a time is negative ({time:g} s)")
    if time > MOST_SECONDS:
        raise ValueError(f"a time of {time:g} s")
    return round(time, 6)


def check_span(start: float, end: float) -> None:
    """Raises ValueError where nothing lies between two times."""
    if end <= start:
        raise ValueError(f"it ends at {end:g} s and begins at {start:g} s")


def faulty(where: str, why: object) -> Phrase:
    """What stands for a line that cannot be read."""
    said = " ".join(str(why).split())[:200]
    return Phrase(0.0, 0.0, fault=("bad_line", f"{where}: {said}"))
