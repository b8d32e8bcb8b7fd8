"""Phrases of usable length: short ones joined, those with words parted at pauses. A text is never cut where no word's time says how.

Where two captions of one speaker overlap, nobody knows what is said when: both are set aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from manifests.corpora.times.speakers import of_words
from manifests.corpora.times.transcript import Phrase, Word

OVERLAP = 0.1  # seconds: less is the sloppiness of whoever wrote the times


@dataclass(frozen=True, slots=True)
class Lengths:
    """All in seconds; as the options of the layout."""

    shortest: float
    longest: float
    pause: float
    pad: float


def fitted(phrases: Iterable[Phrase], lengths: Lengths) -> list[Phrase]:
    """Phrases as utterances, in the order of their times; faulty ones come first. None is lost, and none longer than it was before it was joined or parted."""
    whole = list(phrases)
    faulty, sides = [p for p in whole if p.fault], dict[tuple[str, int | None], list[Phrase]]()
    for phrase in (p for p in whole if not p.fault):
        sides.setdefault((phrase.speaker or "", phrase.channel), []).append(phrase)
    done = [p for side in sides.values() for p in _side(side, lengths)]
    return faulty + sorted(done, key=lambda p: (p.start, p.end, p.channel or 0, p.speaker or ""))


def _side(phrases: list[Phrase], lengths: Lengths) -> Iterator[Phrase]:
    """The phrases of one speaker on one channel."""
    ordered = sorted(phrases, key=lambda p: (p.start, p.end))
    parts = [part for phrase in ordered for part in parted(phrase, lengths)]
    yield from _roomy(list(_joined(_apart(parts), lengths)), lengths.pad)


def parted(phrase: Phrase, lengths: Lengths) -> list[Phrase]:
    """A phrase with words, parted at its pauses, and at the longest ones where it is too long still; any other as it is."""
    if not phrase.words:
        return [phrase]
    for one, other in pairwise(phrase.words):
        if one.end - other.start > OVERLAP:
            why = f"the words {one.text[:40]!r} and {other.text[:40]!r} overlap at {other.start:g} s"
            return [replace(phrase, fault=("overlap", why))]
    groups: list[list[Word]] = []
    end = 0.0
    for word in phrase.words:
        if groups and word.start - end < lengths.pause:
            groups[-1].append(word)
        else:
            groups.append([word])
        end = max(end, word.end) if len(groups[-1]) > 1 else word.end
    return [of_words(part, phrase, phrase.speaker) for group in groups for part in _shortened(group, lengths)]


def _shortened(words: Sequence[Word], lengths: Lengths) -> Iterator[Sequence[Word]]:
    """Runs of words, cut at the longest pause in the second half of what may be, until none is too long; a word that is too long alone stays."""
    longest = max(lengths.longest - 2 * lengths.pad, 0.0)
    while len(words) > 1 and words[-1].end - words[0].start > longest:
        begin = words[0].start
        fits = [i for i in range(1, len(words)) if words[i - 1].end - begin <= longest] or [1]
        late = [i for i in fits if words[i].start - begin >= longest / 2] or fits[-1:]
        at = max(late, key=lambda i: (words[i].start - words[i - 1].end, -i))
        yield words[:at]
        words = words[at:]
    yield words


def _apart(phrases: list[Phrase]) -> list[Phrase]:
    """Phrases in order with those marked that overlap; less than :data:`OVERLAP` is taken off the earlier one. Turns of a speaker become one."""
    done: list[Phrase] = []
    last = 0  # the one so far that ends last
    for phrase in phrases:
        before = done[last] if done else phrase
        common = before.end - phrase.start if done else 0.0
        if common > 0 and before.text is None and phrase.text is None:
            done[last] = replace(before, end=max(before.end, phrase.end))
            continue
        if common > OVERLAP:
            done[last], phrase = _overlapping(before, before, phrase), _overlapping(phrase, before, phrase)
        elif 0 < common < before.end - before.start:
            done[last] = replace(before, end=phrase.start)
        done.append(phrase)
        if phrase.end >= done[last].end:
            last = len(done) - 1
    return done


def _overlapping(phrase: Phrase, first: Phrase, second: Phrase) -> Phrase:
    times = f"{first.start:g} to {first.end:g} s and {second.start:g} to {second.end:g} s"
    return (
        phrase if phrase.fault else replace(phrase, fault=("overlap", f"two captions of one speaker overlap: {times}"))
    )


def _joined(phrases: list[Phrase], lengths: Lengths) -> Iterator[Phrase]:
    """Phrases that are too short, joined with the next or the one before, where both are near and together not too long."""
    held: Phrase | None = None
    for phrase in phrases:
        if held is not None and _belong(held, phrase, lengths):
            text = " ".join(t for t in (held.text, phrase.text) if t) or None
            held = replace(held, end=phrase.end, text=text, words=(*held.words, *phrase.words))
            continue
        if held is not None:
            yield held
        held = phrase
    if held is not None:
        yield held


def _belong(a: Phrase, b: Phrase, lengths: Lengths) -> bool:
    short = min(a.end - a.start, b.end - b.start) < lengths.shortest
    near = b.start - a.end < lengths.pause and b.end - a.start <= lengths.longest
    return short and near and not (a.fault or b.fault) and (a.text is None) == (b.text is None)


def _roomy(phrases: list[Phrase], pad: float) -> Iterator[Phrase]:
    """Those made of words, which end where the word ends, with some silence, up to the middle between two. Captions have it already."""
    for i, phrase in enumerate(phrases):
        if not phrase.words or phrase.fault:
            yield phrase
            continue
        low = (phrases[i - 1].end + phrase.start) / 2 if i else 0.0
        high = (
            (phrase.end + phrases[i + 1].start) / 2 if i + 1 < len(phrases) else phrase.end
        )  # the recording may end there
        start, end = max(phrase.start - pad, low, 0.0), min(phrase.end + pad, high)
        yield replace(phrase, start=round(min(start, phrase.start), 6), end=round(max(end, phrase.end), 6))
