"""Patches back to sound: mel bands to a spectrum, then phase recovery.

Griffin & Lim (1984) with the momentum of Perraudin, Balazs & Sondergaard (2013), from a start phase that is the same
each time.

Shapes: T samples, S spectra (4 per patch), W bins, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tokenization.adapter import Wave
from tokenization.patches.spectrum import SPECTRA, Float, Spectrum

UNMIX = 12  # rounds of spreading mel bands over bins
SQUARES_SUM = 1.5  # what the squares of shifted Hann windows add up to, four to a window's length
Complex = npt.NDArray[np.complex128]


def magnitudes(decibels_SM: Float, spectrum: Spectrum) -> Float:
    """``magnitudes_SW``: a non-negative spectrum whose mel bands have the wanted levels.

    Starts from an even spread and multiplies by the ratio of wanted to found (the non-negative least-divergence
    updates of Lee & Seung, 2001).
    """
    filters_WM = spectrum.filters_WM
    wanted_SM = 10.0 ** (decibels_SM / 10)
    reach_W = filters_WM.sum(axis=1) + 1e-9
    power_SW = (wanted_SM / filters_WM.sum(axis=0)) @ filters_WM.T / reach_W
    for _ in range(UNMIX):
        found_SM = power_SW @ filters_WM + 1e-20
        power_SW *= ((wanted_SM / found_SM) @ filters_WM.T) / reach_W
    return np.sqrt(power_SW) * spectrum.full_scale


def analyse(wave_T: Float, spectrum: Spectrum) -> Complex:
    """``spectra_SW`` of a waveform that reaches one margin out at both ends."""
    count = len(wave_T) // spectrum.shift - SPECTRA + 1
    found_SW = np.empty((count, spectrum.hop // 2 + 1), np.complex128)
    _Room.of(found_SW, 0, spectrum).analysed(wave_T, found_SW)
    return found_SW


def synthesise(spectra_SW: Complex, spectrum: Spectrum) -> Float:
    """The waveform whose spectra come nearest (least squares), with one margin at both ends."""
    return _Room.of(spectra_SW, 0, spectrum).synthesised()


def start_phases(draws: np.random.Generator, count: int, spectrum: Spectrum) -> Complex:
    """``phases_SW``: unit phases of the next ``count`` spectra of an utterance; its draws begin with :func:`phase_draws`."""
    return np.exp(1j * draws.uniform(-np.pi, np.pi, (count, spectrum.hop // 2 + 1)))


def phase_draws() -> np.random.Generator:
    """The draws of start phases, the same for every utterance."""
    return np.random.Generator(np.random.Philox(0))


def settled(
    spectra_SW: Complex, magnitudes_SW: Float, before_SW: Complex, spectrum: Spectrum, rounds: int, momentum: float
) -> Complex:
    """``spectra_SW`` after phase recovery: those ``before_SW`` them stay as they are, and the new ones are made to fit on."""
    given = len(before_SW)
    room = _Room.of(np.concatenate([before_SW, spectra_SW]), given, spectrum)
    fresh_SW, found_SW, last_SW = room.spectra_SW[given:], np.empty_like(spectra_SW), np.zeros_like(spectra_SW)
    for _ in range(rounds):
        room.analysed(room.synthesised()[given * spectrum.shift :], found_SW)
        np.subtract(found_SW, last_SW, out=fresh_SW)  # found + momentum (found - last)
        fresh_SW *= momentum
        fresh_SW += found_SW
        found_SW, last_SW = last_SW, found_SW
        room.scaled(fresh_SW, magnitudes_SW)
    return fresh_SW


@dataclass(frozen=True)
class _Room:
    """Arrays of one phase recovery, made once: to make them anew in each round takes longer than to fill them.

    ``windows_ST`` are of all ``spectra_SW``, ``scale_SW`` of the new ones.
    """

    spectrum: Spectrum
    spectra_SW: Complex
    windows_ST: Float
    wave_ST: Float
    scale_SW: Float

    @classmethod
    def of(cls, spectra_SW: Complex, given: int, spectrum: Spectrum) -> _Room:
        count = len(spectra_SW)
        windows_ST, wave_ST = np.empty((count, spectrum.hop)), np.empty((count + SPECTRA - 1, spectrum.shift))
        return cls(spectrum, spectra_SW, windows_ST, wave_ST, np.empty(spectra_SW[given:].shape))

    def synthesised(self) -> Float:
        """See :func:`synthesise`. What is returned is filled again by the next call."""
        windows_ST, count = self.windows_ST, len(self.windows_ST)
        np.fft.irfft(self.spectra_SW, n=self.spectrum.hop, axis=1, out=windows_ST)
        windows_ST *= self.spectrum.window / SQUARES_SUM
        pieces = windows_ST.reshape(count, SPECTRA, self.spectrum.shift)
        self.wave_ST[:] = 0
        for part in range(SPECTRA):
            self.wave_ST[part : part + count] += pieces[:, part]
        return self.wave_ST.reshape(-1)

    def analysed(self, wave_T: Float, found_SW: Complex) -> None:
        """See :func:`analyse`."""
        windows_ST = np.lib.stride_tricks.sliding_window_view(wave_T, self.spectrum.hop)[:: self.spectrum.shift]
        weighted_ST = np.multiply(windows_ST, self.spectrum.window, out=self.windows_ST[: len(windows_ST)])
        np.fft.rfft(weighted_ST, axis=1, out=found_SW)

    def scaled(self, spectra_SW: Complex, magnitudes_SW: Float) -> None:
        """Give spectra their magnitudes, and leave them their phases."""
        scale_SW = np.abs(spectra_SW, out=self.scale_SW)
        scale_SW += 1e-12
        np.divide(magnitudes_SW, scale_SW, out=scale_SW)
        parts_SW2 = spectra_SW.view(np.float64).reshape(*spectra_SW.shape, 2)
        parts_SW2 *= scale_SW[..., None]


def recover(magnitudes_SW: Float, spectrum: Spectrum, rounds: int, momentum: float) -> Float:
    """A waveform with about these magnitudes, with one margin at both ends."""
    started_SW = (magnitudes_SW * start_phases(phase_draws(), len(magnitudes_SW), spectrum)).astype(np.complex128)
    return synthesise(settled(started_SW, magnitudes_SW, started_SW[:0], spectrum, rounds, momentum), spectrum)


def sound(decibels_SM: Float, spectrum: Spectrum, rounds: int, momentum: float) -> Wave:
    """``wave_T`` float32 of ``decibels_SM`` mel levels (at least one), one shift of samples for each."""
    wave = recover(magnitudes(decibels_SM, spectrum), spectrum, rounds, momentum)
    return np.clip(wave[spectrum.margin : len(wave) - spectrum.margin], -1, 1).astype(np.float32)
