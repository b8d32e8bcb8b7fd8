"""Whose words they are: speaker turns (RTTM) laid over words and captions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from manifests.corpora.times.transcript import Phrase, Word


@dataclass(frozen=True)
class Turns:
    """Turns in the order of their times; ``reach`` is the longest of them."""

    turns: Sequence[Phrase]
    starts: Sequence[float]
    reach: float

    @classmethod
    def of(cls, turns: Iterable[Phrase]) -> Turns:
        ordered = sorted((t for t in turns if t.fault is None), key=lambda t: (t.start, t.end, t.speaker or ""))
        return cls(ordered, [t.start for t in ordered], max((t.end - t.start for t in ordered), default=0.0))

    def speaker(self, start: float, end: float, channel: int | None) -> str | None:
        """Who speaks most of the time between; the first of several that speak alike, None where nobody does."""
        shares: dict[str, float] = {}
        first = bisect_left(self.starts, start - self.reach)
        for turn in self.turns[first : bisect_left(self.starts, end)]:
            same = channel is None or turn.channel in (None, channel)
            common = min(turn.end, end) - max(turn.start, start)
            if turn.speaker and same and common > 0:
                shares[turn.speaker] = shares.get(turn.speaker, 0.0) + common
        return max(shares, key=lambda name: shares[name], default=None)


def spoken_by(phrases: Iterable[Phrase], turns: Turns) -> Iterator[Phrase]:
    """Phrases with their speakers; one whose words are of several is parted."""
    for phrase in phrases:
        if phrase.fault or phrase.speaker is not None:
            yield phrase
        elif not phrase.words:
            yield replace(phrase, speaker=turns.speaker(phrase.start, phrase.end, phrase.channel))
        else:
            owners = [(turns.speaker(w.start, w.end, phrase.channel), w) for w in phrase.words]
            for speaker, group in groupby(owners, key=lambda pair: pair[0]):
                yield of_words([word for _, word in group], phrase, speaker)


def of_words(words: Sequence[Word], phrase: Phrase, speaker: str | None) -> Phrase:
    """A phrase of some of the words of another one."""
    text = " ".join(word.text for word in words)
    return replace(
        phrase, start=words[0].start, end=max(w.end for w in words), text=text, speaker=speaker, words=tuple(words)
    )
