"""What was measured of a stage, whoever measured it: the probe, receipts of an earlier run, or the user.

A stage's time has up to three parts. ``pieces`` are done side by side by workers and grow with the audio. ``alone`` is done by one worker.
What the driver does grows with utterances or units: ``before`` workers begin, or ``along`` with them, where it only holds them up if it
takes longer than they do.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from manifests.receipt_index import Brief
from pipelines.engine.contract import Unit
from pipelines.forecast.amount import Amount
from pipelines.forecast.left import Left

Source = Literal["probe", "receipts", "given", "known"]


def quiet(took: float, waited: float, core: float, cpus: float) -> float:
    """Of the seconds that workers took, those without waiting for a core that other programs had; each was given ``cpus``.

    Where workers share a core they wait for each other, in a run as in a probe: that much of the waiting stays.
    """
    shared = 0.0 if cpus >= 1 else core / cpus if cpus > 0 else took
    return min(max(took - waited, shared, 0.0), took)


@dataclass(frozen=True)
class Piece:
    """One unit (or chunk of headers) that one worker did.

    seconds        that it takes with a core to itself, as far as that is known: without those in ``waited``
    core_seconds   of them, those in which its process had a core; None where nobody looked
    waited         seconds that it took besides, because other programs had the core; None where nobody looked
    """

    seconds: float
    audio_seconds: float
    bytes: int = 0
    core_seconds: float | None = None
    waited: float | None = None

    @classmethod
    def of(cls, made: Brief, audio_seconds: float, cpus: float) -> Piece:
        """What a receipt says of a unit whose worker was given ``cpus``."""
        seconds = quiet(made.took, made.waited or 0.0, made.core or 0.0, cpus)
        waited = None if made.waited is None else made.took - seconds
        return cls(seconds, audio_seconds, made.bytes, made.core, waited)


@dataclass(frozen=True)
class Linear:
    """Seconds of work, or bytes, that grow with the number of utterances, of units, and with seconds of audio up to so ``many``."""

    fixed: float = 0.0
    utterance: float = 0.0
    unit: float = 0.0
    second: float = 0.0
    many: float = math.inf

    def of(self, amount: Amount) -> float:
        audio = self.second * min(amount.seconds, self.many) if self.second else 0.0
        return self.fixed + self.utterance * amount.utterances + self.unit * amount.units + audio

    def __add__(self, other: Linear) -> Linear:
        """Both, one after the other."""
        return Linear(
            self.fixed + other.fixed,
            self.utterance + other.utterance,
            self.unit + other.unit,
            self.second + other.second,
            min(self.many, other.many),
        )


NOTHING = Linear()


@dataclass(frozen=True)
class Measurement:
    """One stage.

    chunk     utterances in a piece; None: a piece is a unit
    start     seconds until a worker is up and warm
    parts     shares of a worker's time by what it does, as far as that is known; they add up to 1
    kept      bytes beside those of the pieces
    stores    bytes of other ways to keep the same, as a multiple of those of the pieces (stores of the teach stage)
    left      what goes on of the audio that it is given; None where all of it does, or nobody looked
    listed    whether it is given what the corpus lists, where that is cut up: recordings
    """

    stage: str
    source: Source
    pieces: tuple[Piece, ...] = ()
    chunk: int | None = None
    alone: Linear = NOTHING
    before: Linear = NOTHING
    along: Linear = NOTHING
    start: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    kept: Linear = NOTHING
    stores: Mapping[str, float] = field(default_factory=dict)
    left: Left | None = None
    listed: bool = False

    def given(self, amount: Amount) -> Amount:
        """What it works on."""
        return amount.listed if self.listed else amount

    def lengths(self, amount: Amount) -> tuple[float, ...]:
        """Seconds of audio of each piece there is to do."""
        if not self.pieces:
            return ()
        return amount.lengths if self.chunk is None else amount.chunks(self.chunk)

    @property
    def rate(self) -> float | None:
        """A worker's seconds for each second of audio, all pieces together."""
        audio = sum(p.audio_seconds for p in self.pieces)
        return sum(p.seconds for p in self.pieces) / audio if audio else None

    @property
    def rates(self) -> list[float]:
        """The same, piece by piece."""
        return [p.seconds / p.audio_seconds for p in self.pieces if p.audio_seconds]

    @property
    def byte_rate(self) -> float:
        """Bytes for each second of audio."""
        audio = sum(p.audio_seconds for p in self.pieces)
        return sum(p.bytes for p in self.pieces) / audio if audio else 0.0

    @property
    def disturbed(self) -> Measurement:
        """The same, were the machine always as busy as it was; as it is, where nobody looked."""
        pieces = tuple(replace(p, seconds=p.seconds + (p.waited or 0.0)) for p in self.pieces)
        return replace(self, pieces=pieces)

    @property
    def waited(self) -> float | None:
        """The share of the time in which workers waited for a core that other programs had; None where nobody looked."""
        timed = [p for p in self.pieces if p.waited is not None]
        whole = sum(p.seconds + (p.waited or 0.0) for p in timed)
        return sum(p.waited or 0.0 for p in timed) / whole if whole else None

    @property
    def core(self) -> float | None:
        """The share of the time in which workers had a core: less where they waited for storage; or for other programs, where nobody looked."""
        timed = [p for p in self.pieces if p.core_seconds is not None]
        wall = sum(p.seconds for p in timed)
        return sum(p.core_seconds or 0.0 for p in timed) / wall if wall else None


def spread(rates: Sequence[float]) -> tuple[float, float, float] | None:
    """(median, least, most); None of nothing."""
    return (statistics.median(rates), min(rates), max(rates)) if rates else None


def pieces_of(made: Iterable[Brief], units: Sequence[Unit], cpus: float = 1.0) -> dict[int, Piece]:
    """What receipts say of units that are done, by unit; their own bytes count as well. ``cpus`` are those of a worker."""
    return {b.unit: Piece.of(b, units[b.unit].seconds, cpus) for b in made}
