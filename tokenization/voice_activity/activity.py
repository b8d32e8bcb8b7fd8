"""One recording, heard: levels and scores from sound that comes in pieces of any length, then where somebody speaks.

Legend: piece_CT channels x samples as stored; wave_T mono at 16 kHz; level_G, score_F as in :mod:`tokenization.voice_activity.contract`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tokenization.voice_activity.contract import RATE, Detector, Threshold
from tokenization.voice_activity.levels import BLOCK, Levels

Span = tuple[int, int]
"""From and to, in whole milliseconds."""


class Blocks:
    """Cuts a stream of any pieces into blocks of one size, the last one shorter."""

    def __init__(self, size: int, hear: Any) -> None:
        self._size, self._hear = size, hear
        self._waiting: list[np.ndarray] = []
        self._have = 0

    def add(self, wave_T: np.ndarray) -> None:
        self._waiting.append(wave_T)
        self._have += len(wave_T)
        if self._have >= self._size:
            whole_T = np.concatenate(self._waiting)
            end = self._have - self._have % self._size
            for first in range(0, end, self._size):
                self._hear(whole_T[first : first + self._size])
            self._waiting, self._have = [whole_T[end:].copy()], self._have - end

    def end(self) -> None:
        if self._have:
            self._hear(np.concatenate(self._waiting))
        self._waiting, self._have = [], 0


@dataclass(frozen=True)
class Activity:
    """What was heard of a recording.

    samples    at 16 kHz
    """

    samples: int
    level_G: np.ndarray
    score_F: np.ndarray
    frame_ms: int

    @property
    def milliseconds(self) -> int:
        """Whole ones: what is left over at the end is less than one."""
        return self.samples * 1000 // RATE

    def speech(self, threshold: Threshold) -> list[Span]:
        """Where somebody speaks, frame by frame: in order, apart, within the recording."""
        end = self.milliseconds
        spans = [(a * self.frame_ms, min(b * self.frame_ms, end)) for a, b in hysteresis(self.score_F, threshold)]
        return [(a, b) for a, b in spans if a < b]


class Ear:
    """Hears one recording for a detector. ``channel`` None: the mean of all channels."""

    def __init__(self, detector: Detector, rate: int, channel: int | None = None) -> None:
        self._detector, self._channel, self._samples = detector, channel, 0
        self._hearing, self._levels = detector.begin(), Levels()
        self._blocks = (Blocks(BLOCK, self._levels.hear), Blocks(detector.block, self._hearing.hear))
        self._stream = _resampler(rate)

    def hear(self, piece_CT: np.ndarray) -> None:
        """The next piece, of any length. Samples that are no numbers are heard as silence."""
        mono_T = piece_CT.mean(axis=0) if self._channel is None else piece_CT[self._channel]
        if not np.isfinite(mono_T.sum(dtype=np.float64)):
            mono_T = np.nan_to_num(mono_T, nan=0.0, posinf=0.0, neginf=0.0)
        self._take(np.ascontiguousarray(mono_T, np.float32), last=False)

    def _take(self, mono_T: np.ndarray, last: bool) -> None:
        wave_T = mono_T.copy() if self._stream is None else self._stream.resample_chunk(mono_T, last=last)
        self._samples += len(wave_T)
        for blocks in self._blocks:
            blocks.add(wave_T)

    def done(self) -> Activity:
        """What was heard, after the last piece."""
        self._take(np.zeros(0, np.float32), last=True)
        for blocks in self._blocks:
            blocks.end()
        level_G = self._levels.done()
        return Activity(self._samples, level_G, self._hearing.scores(level_G), self._detector.frame_ms)


def _resampler(rate: int) -> Any:
    """A stream whose output does not depend on the pieces that it is given; None where there is nothing to do."""
    if rate == RATE:
        return None
    import soxr

    return soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")


def hysteresis(score_F: np.ndarray, threshold: Threshold) -> list[Span]:
    """Runs of frames, as (first, end), that stay at ``offset`` or above, and reach ``onset`` somewhere."""
    above = np.concatenate([[0], (score_F >= threshold.offset).astype(np.int8), [0]])
    edge = np.flatnonzero(np.diff(above))
    reached = np.concatenate([[0], np.cumsum(score_F >= threshold.onset)])
    return [(int(a), int(b)) for a, b in zip(edge[::2], edge[1::2], strict=True) if reached[b] > reached[a]]
