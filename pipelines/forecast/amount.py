"""How much there is to do: hours of audio, utterances, and the units that they are dealt into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.engine.contract import Unit


@dataclass(frozen=True)
class Amount:
    """A corpus, as far as its cost goes. ``lengths`` are seconds of audio of its units, in plan order."""

    seconds: float
    utterances: float
    lengths: tuple[float, ...]

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    @property
    def units(self) -> int:
        return len(self.lengths)

    @classmethod
    def of_units(cls, units: Iterable[Unit]) -> Amount:
        """That of a plan."""
        units = tuple(units)
        return cls(sum(u.seconds for u in units), sum(u.count for u in units), tuple(u.seconds for u in units))

    def at(self, hours: float, unit_seconds: float) -> Amount:
        """So many hours of a corpus like this one, in units of ``unit_seconds`` and one of what is left over."""
        seconds = hours * 3600
        each = self.utterances / self.seconds if self.seconds else 0.0
        return Amount(seconds, seconds * each, cut(seconds, unit_seconds))

    def chunks(self, utterances: int) -> tuple[float, ...]:
        """Seconds of audio of chunks of so many utterances."""
        return cut(self.seconds, utterances * self.seconds / self.utterances) if self.utterances else ()


def cut(seconds: float, each: float) -> tuple[float, ...]:
    """``seconds`` in pieces of ``each``, and what is left over. More seconds only add to the end."""
    if seconds <= 0 or each <= 0:
        return ()
    whole = int(seconds / each)
    rest = seconds - whole * each
    return (each,) * whole + ((rest,) if rest > 1e-9 * each else ())
