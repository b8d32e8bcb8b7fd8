"""How loud it is in the band of speech, a hundred times a second.

Hum and rumble lie under the band, hiss mostly above it; a voice, high or low, on a telephone or not, has its strongest partials in it.

Legend: wave_T mono float32 at 16 kHz; frames_GS windows of samples; power_GK their spectra; level_G in dB of full scale.
"""

from __future__ import annotations

import numpy as np

from tokenization.voice_activity.contract import LEVEL_MS, RATE

HOP = RATE * LEVEL_MS // 1000
SIZE = 2 * HOP
LOW_HZ, HIGH_HZ = 150, 4_000
QUIETEST_DB = -100.0
BLOCK = 1_000 * HOP  # ten seconds


class Levels:
    """Collects the levels of one recording from blocks of :data:`BLOCK` samples, the last one shorter."""

    def __init__(self) -> None:
        self._window_S = np.hanning(SIZE + 1)[:SIZE].astype(np.float32)
        self._scale = np.float32(2.0 / (SIZE * float((self._window_S**2).sum())))
        bin_hz = RATE / SIZE
        self._band = slice(round(LOW_HZ / bin_hz), round(HIGH_HZ / bin_hz) + 1)
        self._tail_T = np.zeros(SIZE - HOP, np.float32)
        self._parts: list[np.ndarray] = []

    def hear(self, block_T: np.ndarray) -> None:
        """Take the next block. A hundredth of a second is heard together with the one before it."""
        if short := -len(block_T) % HOP:
            block_T = np.pad(block_T, (0, short))
        whole_T = np.concatenate([self._tail_T, block_T])
        self._tail_T = whole_T[-(SIZE - HOP) :].copy()
        frames_GS = np.lib.stride_tricks.sliding_window_view(whole_T, SIZE)[::HOP]
        spectrum_GK = np.fft.rfft(frames_GS * self._window_S)[:, self._band]
        power_G = (spectrum_GK.real**2 + spectrum_GK.imag**2).sum(axis=1) * self._scale
        self._parts.append(np.maximum(10 * np.log10(power_G + np.float32(1e-12)), QUIETEST_DB).astype(np.float32))

    def done(self) -> np.ndarray:
        """``level_G`` of all that was heard."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)


def smoothed(level_G: np.ndarray, width: int) -> np.ndarray:
    """The mean over ``width`` (odd) levels around each; at the ends over those there are."""
    if not len(level_G):
        return level_G
    half = width // 2
    sum_G = np.concatenate([[0.0], np.cumsum(level_G, dtype=np.float64)])
    place_G = np.arange(len(level_G))
    first_G, end_G = np.maximum(place_G - half, 0), np.minimum(place_G + half + 1, len(level_G))
    return (sum_G[end_G] - sum_G[first_G]) / (end_G - first_G)
