"""From where somebody speaks to utterances of bounded length: nothing that is speech is left out, nothing is in two of them.

All times are whole milliseconds. First what is too short to be speech goes; then pauses part utterances; each gets some silence around it;
what is still too short takes more of it, or its neighbour; what is too long is cut at its deepest pause.

Legend: level_G in dB by 10 ms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from manifests.settings.segment import SegmentSettings
from tokenization.voice_activity.activity import Span
from tokenization.voice_activity.contract import LEVEL_MS
from tokenization.voice_activity.levels import smoothed

PAUSE_LEVELS = 21  # a pause is as deep as the mean of a fifth of a second


@dataclass(frozen=True, slots=True)
class Bounds:
    """The settings in milliseconds."""

    shortest: int
    longest: int
    pause: int
    pad: int
    blip: int

    @classmethod
    def of(cls, settings: SegmentSettings) -> Bounds:
        seconds = (settings.min_seconds, settings.max_seconds, settings.pause_seconds, settings.pad_seconds)
        return cls(*(round(1000 * s) for s in (*seconds, settings.blip_seconds)))


def utterances(speech: list[Span], end: int, level_G: np.ndarray, bounds: Bounds) -> list[Span]:
    """Utterances of a recording of ``end`` milliseconds, in order, disjoint, each within the bounds.

    All of ``speech`` is in one of them but blips. None where there is no speech; where the whole recording is shorter than the
    shortest utterance, it is one, and out of bounds.
    """
    parted = padded(parted_at_pauses(without_blips(speech, bounds), bounds.pause), end, bounds.pad)
    deep_G = smoothed(level_G, PAUSE_LEVELS)
    return [piece for span in lengthened(parted, end, bounds.shortest) for piece in cut(span, deep_G, bounds)]


def without_blips(speech: Iterable[Span], bounds: Bounds) -> list[Span]:
    """Speech without what is short and stands alone: a door, a click."""
    kept: list[Span] = []
    for group in _groups(speech, bounds.pause):
        if sum(b - a for a, b in group) >= bounds.blip:
            kept += group
    return kept


def _groups(speech: Iterable[Span], pause: int) -> list[list[Span]]:
    """Speech with less than a pause between."""
    groups: list[list[Span]] = []
    for span in speech:
        if groups and span[0] - groups[-1][-1][1] < pause:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def parted_at_pauses(speech: Iterable[Span], pause: int) -> list[Span]:
    """Speech with the shorter silences in it filled."""
    return [(group[0][0], group[-1][1]) for group in _groups(speech, pause)]


def padded(spans: list[Span], end: int, pad: int) -> list[Span]:
    """With ``pad`` of silence at either end, up to the middle between two."""
    inner = [(a[1] + b[0]) // 2 for a, b in pairwise(spans)]
    walls = [0, *inner, end]
    return [(max(a - pad, walls[i]), min(b + pad, walls[i + 1])) for i, (a, b) in enumerate(spans)]


def lengthened(spans: list[Span], end: int, shortest: int) -> list[Span]:
    """What is too short takes silence around it; where there is not enough, it joins the nearer neighbour."""
    todo, done = list(reversed(spans)), list[Span]()
    while todo:
        a, b = todo.pop()
        low = done[-1][1] if done else 0
        high = todo[-1][0] if todo else end
        if b - a >= shortest:
            done.append((a, b))
        elif high - low >= shortest or not (done or todo):
            done.append(_widened(a, b, low, high, shortest))
        elif not todo or (done and a - low <= high - b):
            done[-1] = (done[-1][0], b)
        else:
            todo[-1] = (a, todo[-1][1])
    return done


def _widened(a: int, b: int, low: int, high: int, wanted: int) -> Span:
    """Grown to ``wanted`` on both sides alike, within ``low`` and ``high`` as far as they reach."""
    start = min(max(a - (wanted - (b - a)) // 2, low), max(high - wanted, low))
    return start, min(start + wanted, high)


def cut(span: Span, deep_G: np.ndarray, bounds: Bounds) -> list[Span]:
    """The pieces of a span, none longer than the longest: each ends at the deepest pause in its second half."""
    pieces: list[Span] = []
    a, b = span
    while b - a > bounds.longest:
        first = max(a + bounds.shortest, a + bounds.longest // 2)
        c = _deepest(deep_G, first, min(a + bounds.longest, b - bounds.shortest))
        pieces.append((a, c))
        a = c
    return [*pieces, (a, b)]


def _deepest(deep_G: np.ndarray, first: int, last: int) -> int:
    """The middle of the quietest stretch between two times; the first of several that are equal."""
    low, high = -(-first // LEVEL_MS), last // LEVEL_MS
    near = deep_G[low : high + 1]
    if high < low or not len(near):
        return (first + last) // 2
    start = int(near.argmin())
    louder = np.flatnonzero(near[start:] > near[start])
    stretch = int(louder[0]) if len(louder) else len(near) - start
    return (low + start + stretch // 2) * LEVEL_MS
