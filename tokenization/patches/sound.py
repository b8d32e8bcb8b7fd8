"""Patches back to sound: mel bands to a spectrum, then phase recovery.

Griffin & Lim (1984) with the momentum of Perraudin, Balazs & Sondergaard (2013), from a start phase that is the same
each time.

Shapes: T samples, S spectra (4 per patch), W bins, M mel bands.
"""

from __future__ import annotations

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
    windows_ST = np.lib.stride_tricks.sliding_window_view(wave_T, spectrum.hop)[:: spectrum.shift]
    return np.fft.rfft(windows_ST * spectrum.window, axis=1)


def synthesise(spectra_SW: Complex, spectrum: Spectrum) -> Float:
    """The waveform whose spectra come nearest (least squares), with one margin at both ends."""
    windows_ST = np.fft.irfft(spectra_SW, n=spectrum.hop, axis=1) * (spectrum.window / SQUARES_SUM)
    count, shift = len(windows_ST), spectrum.shift
    pieces = windows_ST.reshape(count, SPECTRA, shift)
    wave = np.zeros((count + SPECTRA - 1, shift))
    for part in range(SPECTRA):
        wave[part : part + count] += pieces[:, part]
    return wave.reshape(-1)


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
    last_SW, given = np.zeros_like(spectra_SW), len(before_SW)
    for _ in range(rounds):
        wave_T = synthesise(np.concatenate([before_SW, spectra_SW]), spectrum)
        found_SW = analyse(wave_T[given * spectrum.shift :], spectrum)
        pushed_SW = found_SW + momentum * (found_SW - last_SW)
        last_SW = found_SW
        spectra_SW = (pushed_SW * (magnitudes_SW / (np.abs(pushed_SW) + 1e-12))).astype(np.complex128)
    return spectra_SW


def recover(magnitudes_SW: Float, spectrum: Spectrum, rounds: int, momentum: float) -> Float:
    """A waveform with about these magnitudes, with one margin at both ends."""
    started_SW = (magnitudes_SW * start_phases(phase_draws(), len(magnitudes_SW), spectrum)).astype(np.complex128)
    return synthesise(settled(started_SW, magnitudes_SW, started_SW[:0], spectrum, rounds, momentum), spectrum)


def sound(decibels_SM: Float, spectrum: Spectrum, rounds: int, momentum: float) -> Wave:
    """``wave_T`` float32 of ``decibels_SM`` mel levels (at least one), one shift of samples for each."""
    wave = recover(magnitudes(decibels_SM, spectrum), spectrum, rounds, momentum)
    return np.clip(wave[spectrum.margin : len(wave) - spectrum.margin], -1, 1).astype(np.float32)
