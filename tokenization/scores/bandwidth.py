"""Real bandwidth: up to which frequency a file holds anything, whatever its sample rate says.

A file that was made of one with a lower rate, or went through a codec that cut its top off, is empty above. As in NVIDIA's NeMo, the highest
frequency is taken that is within so many dB of the strongest; but of its loudest frames, since the top of speech is in its fricatives alone.

Legend: wave_T as stored; power_FK by frame and frequency.
"""

from __future__ import annotations

import numpy as np

from tokenization.scores.base import Sound, Values

WINDOW_SECONDS = 0.032
DEPTH_DB = -60.0  # below the strongest frequency there is nothing; resampling leaves -80 dB and less
LOUD = 0.95  # quantile over frames
MOST_FRAMES = 2000  # spread over longer sounds


def bandwidth_hz(sound: Sound) -> Values:
    """``bandwidth_hz`` in whole Hz, to about 30; at most half the sample rate."""
    size = 1 << max(round(np.log2(WINDOW_SECONDS * sound.rate)), 4)
    power_FK = _power(sound.stored_T, size)
    level_K = np.quantile(power_FK, LOUD, axis=0)
    if not level_K.max() > 0:
        return {"bandwidth_hz": None}
    above = np.flatnonzero(level_K >= level_K.max() * 10 ** (DEPTH_DB / 10))
    return {"bandwidth_hz": min(round((int(above[-1]) + 0.5) * sound.rate / size), sound.rate // 2)}


def _power(wave_T: np.ndarray, size: int) -> np.ndarray:
    """``power_FK`` of half-overlapping windows, at most :data:`MOST_FRAMES` of them."""
    padded_T = np.pad(wave_T, (0, max(size - len(wave_T), 0)))
    frames_FS = np.lib.stride_tricks.sliding_window_view(padded_T, size)[:: size // 2]
    chosen = np.unique(np.linspace(0, len(frames_FS) - 1, min(len(frames_FS), MOST_FRAMES)).astype(int))
    spectrum_FK = np.fft.rfft(frames_FS[chosen] * np.hanning(size).astype(np.float32), axis=1)
    return spectrum_FK.real**2 + spectrum_FK.imag**2
