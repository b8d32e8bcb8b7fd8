"""How much there is to do: hours of audio, utterances, and the units that they are dealt into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.engine.contract import Unit


@dataclass(frozen=True)
class Amount:
    """A corpus, as far as its cost goes.

    lengths      seconds of audio of its units, in plan order
    recordings   what its utterances are cut from; None where they are what the corpus lists
    """

    seconds: float
    utterances: float
    lengths: tuple[float, ...]
    recordings: Amount | None = None

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    @property
    def units(self) -> int:
        return len(self.lengths)

    @property
    def listed(self) -> Amount:
        """What the corpus lists: recordings, where these are cut up, else the utterances."""
        return self if self.recordings is None else self.recordings

    @classmethod
    def of_units(cls, units: Iterable[Unit], recordings: Amount | None = None) -> Amount:
        """That of a plan."""
        units = tuple(units)
        lengths = tuple(u.seconds for u in units)
        return cls(sum(lengths), sum(u.count for u in units), lengths, recordings)

    def at(self, hours: float, unit_seconds: float, recording_seconds: float = 0.0) -> Amount:
        """A corpus like this one of which so many hours are listed, in units of ``unit_seconds`` (of recordings: ``recording_seconds``) and one of
        what is left over.
        """
        if self.recordings is not None:
            return self.recordings.at(hours, recording_seconds).cut_up(Cutting.between(self), unit_seconds)
        seconds = hours * 3600
        each = self.utterances / self.seconds if self.seconds else 0.0
        return Amount(seconds, seconds * each, cut(seconds, unit_seconds))

    def cut_up(self, cutting: Cutting, unit_seconds: float) -> Amount:
        """The utterances of these recordings."""
        seconds = self.seconds * cutting.kept
        return Amount(seconds, self.seconds * cutting.each, cut(seconds, unit_seconds), self)

    def chunks(self, utterances: int) -> tuple[float, ...]:
        """Seconds of audio of chunks of so many utterances."""
        return cut(self.seconds, utterances * self.seconds / self.utterances) if self.utterances else ()


@dataclass(frozen=True)
class Cutting:
    """What a second of recordings becomes: seconds of utterances that are ``kept``, and so many utterances (``each``)."""

    kept: float
    each: float

    @classmethod
    def between(cls, made: Amount) -> Cutting:
        """That of utterances whose recordings are known."""
        whole = made.listed.seconds
        return cls(made.seconds / whole, made.utterances / whole) if whole else cls(0.0, 0.0)


def cut(seconds: float, each: float) -> tuple[float, ...]:
    """``seconds`` in pieces of ``each``, and what is left over. More seconds only add to the end."""
    if seconds <= 0 or each <= 0:
        return ()
    whole = int(seconds / each)
    rest = seconds - whole * each
    return (each,) * whole + ((rest,) if rest > 1e-9 * each else ())
