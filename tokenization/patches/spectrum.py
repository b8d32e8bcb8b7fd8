"""Waveform to patches of log-mel, in whole half-decibels.

A patch is 40 ms: four spectra of 40 ms windows, 10 ms apart, symmetric about the patch's middle, so that patch p covers
samples [p * hop, (p + 1) * hop) and a second has exactly 25. Every waveform is worked through alone, in blocks of one
fixed shape and in float64, and levels are rounded to half-decibels: from there on all arithmetic is on whole numbers
and exact. So the codes of a waveform cannot depend on what it is batched with. Threads and processors could only
change them where a level lies within float64's rounding of a half-decibel's border.

Shapes: T samples, S spectra (4 per patch), W bins, M mel bands, P patches, D = 4 * M.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from manifests.settings.speech import PatchesSettings
from tokenization.adapter import Wave

Float = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int16]

SPECTRA = 4  # per patch
STEPS_PER_DB = 2
CEILING_DB = 20  # a full-scale sine is 0 dB; float audio may exceed full scale
BLOCK = 32  # patches worked through at once


def mel_of(hertz: npt.ArrayLike) -> Float:
    """Slaney's mel scale: linear to 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    f = np.asarray(hertz, dtype=np.float64)
    return np.where(f < 1000, f * 0.015, 15 + 27 * np.log(np.maximum(f, 1000) / 1000) / np.log(6.4))


def hertz_of(mel: npt.ArrayLike) -> Float:
    """The inverse of :func:`mel_of`."""
    m = np.asarray(mel, dtype=np.float64)
    return np.where(m < 15, m / 0.015, 1000 * np.exp((np.maximum(m, 15) - 15) * np.log(6.4) / 27))


def mel_filters(sample_rate: int, bins: int, mels: int) -> Float:
    """``filters_WM``: triangles of height 1, evenly spaced in mel from 0 Hz to half the sample rate."""
    corners = hertz_of(np.linspace(0, mel_of(sample_rate / 2), mels + 2))
    bins_W = np.linspace(0, sample_rate / 2, bins)[:, None]
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    rising_WM = (bins_W - low) / (centre - low)
    falling_WM = (high - bins_W) / (high - centre)
    return np.maximum(np.minimum(rising_WM, falling_WM), 0)


@dataclass(frozen=True)
class Spectrum:
    """The clock and the bands, shared by encoder and decoder."""

    sample_rate: int
    mels: int
    floor_db: int

    @classmethod
    def of(cls, settings: PatchesSettings) -> Spectrum:
        return cls(settings.sample_rate, settings.mels, settings.floor_db)

    @property
    def shift(self) -> int:
        """Samples between spectra: 10 ms."""
        return self.sample_rate // 100

    @property
    def hop(self) -> int:
        """Samples of a patch, and of a window: 40 ms."""
        return SPECTRA * self.shift

    @property
    def margin(self) -> int:
        """Samples by which the first window reaches out before its patch, and the last one after."""
        return (self.hop - self.shift) // 2

    @cached_property
    def window(self) -> Float:
        """A periodic Hann window of one patch's length; shifted windows sum to 2."""
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.hop) / self.hop)

    @cached_property
    def filters_WM(self) -> Float:
        return mel_filters(self.sample_rate, self.hop // 2 + 1, self.mels)

    @property
    def full_scale(self) -> float:
        """The magnitude of a full-scale sine's peak."""
        return float(self.window.sum()) / 2

    def patches(self, wave_T: Wave) -> Levels:
        """``levels_PD``: the patches of a waveform, in half-decibels; ceil(T / hop) of them.

        The end is padded with silence to a whole patch.
        """
        count = -(-len(wave_T) // self.hop)
        blocks = -(-count // BLOCK)
        padded_T = np.zeros(blocks * BLOCK * self.hop + 2 * self.margin)
        padded_T[self.margin : self.margin + len(wave_T)] = wave_T
        levels_PD = np.empty((blocks * BLOCK, SPECTRA * self.mels), dtype=np.int16)
        for first in range(0, blocks * BLOCK, BLOCK):
            reach = BLOCK * self.hop + 2 * self.margin
            levels_PD[first : first + BLOCK] = self._block(padded_T[first * self.hop :][:reach])
        return levels_PD[:count]

    def _block(self, reach_T: Float) -> Levels:
        windows_ST = np.lib.stride_tricks.sliding_window_view(reach_T, self.hop)[:: self.shift]
        spectra_SW = np.fft.rfft(windows_ST * self.window, axis=1)
        power_SW = spectra_SW.real**2 + spectra_SW.imag**2
        power_SM = (power_SW @ self.filters_WM) / self.full_scale**2
        quietest = 10.0 ** (self.floor_db / 10)
        decibels_SM = 10 * np.log10(np.clip(power_SM, quietest, 10.0 ** (CEILING_DB / 10)))
        return np.rint(STEPS_PER_DB * decibels_SM).astype(np.int16).reshape(BLOCK, -1)
