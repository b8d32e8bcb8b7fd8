"""The mel spectrum: clock, bands, levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.settings.speech import PatchesSettings
from tokenization.patches.sound import analyse, magnitudes, synthesise
from tokenization.patches.spectrum import BLOCK, STEPS_PER_DB, Spectrum, hertz_of, mel_filters, mel_of

SPECTRUM = Spectrum.of(PatchesSettings())


def sine(hertz: float, amplitude: float = 1.0, seconds: float = 0.4) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000)).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 24_000))
def test_hertz_to_mel_and_back(hertz: float) -> None:
    assert hertz_of(mel_of(hertz)) == pytest.approx(hertz, rel=1e-9, abs=1e-6)


def test_the_mel_scale_has_slaneys_fixed_points() -> None:
    assert mel_of([0, 1000, 6400]) == pytest.approx([0, 15, 42])


@pytest.mark.parametrize(("rate", "mels"), [(16_000, 80), (8_000, 40), (24_000, 80), (48_000, 128)])
def test_neighbouring_bands_share_every_bin_between_their_centres(rate: int, mels: int) -> None:
    filters_WM = mel_filters(rate, rate // 50 + 1, mels)
    bins_W = np.linspace(0, rate / 2, rate // 50 + 1)
    centres = hertz_of(np.linspace(0, mel_of(rate / 2), mels + 2))[1:-1]
    inside_W = (bins_W >= centres[0]) & (bins_W <= centres[-1])
    assert filters_WM[inside_W].sum(axis=1) == pytest.approx(1.0)
    assert (filters_WM >= 0).all()
    assert (filters_WM.sum(axis=0) > 0).all()


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 3000.0])
def test_a_full_scale_sine_in_the_middle_of_its_band_is_zero_decibels(hertz: float) -> None:
    centres = hertz_of(np.linspace(0, mel_of(8_000), 82))[1:-1]
    band = int(np.abs(centres - hertz).argmin())
    levels = SPECTRUM.patches(sine(round(centres[band] / 25) * 25.0))[4].reshape(4, 80) / STEPS_PER_DB
    assert abs(levels.max(axis=1) - 0).max() <= 3
    assert set(levels.argmax(axis=1).tolist()) <= {band - 1, band, band + 1}


def test_ten_times_the_amplitude_is_twenty_decibels() -> None:
    loud, soft = (SPECTRUM.patches(sine(500, a))[3].max() / STEPS_PER_DB for a in (0.5, 0.05))
    assert loud - soft == pytest.approx(20, abs=0.5)


def test_silence_lies_at_the_floor_and_overload_at_the_ceiling() -> None:
    assert (SPECTRUM.patches(np.zeros(5_000, dtype=np.float32)) == -90 * STEPS_PER_DB).all()
    assert SPECTRUM.patches(sine(1000, 1e6)).max() == 20 * STEPS_PER_DB


def test_a_patch_sees_its_own_40_ms_and_a_margin_of_15() -> None:
    wave = np.zeros(640 * 9, dtype=np.float32)
    wave[640 * 4 : 640 * 5] = sine(1000, seconds=0.04)
    heard = np.flatnonzero((SPECTRUM.patches(wave) > -90 * STEPS_PER_DB).any(axis=1))
    assert heard.tolist() == [3, 4, 5]
    wave[:] = 0
    wave[640 * 4 + 240 : 640 * 5 - 240] = 0.5
    heard = np.flatnonzero((SPECTRUM.patches(wave) > -90 * STEPS_PER_DB).any(axis=1))
    assert heard.tolist() == [4]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3 * BLOCK * 640))
def test_there_is_one_patch_for_every_40_ms_begun(samples: int) -> None:
    assert SPECTRUM.patches(np.ones(samples, dtype=np.float32)).shape == (-(-samples // 640), 320)


def test_blocks_meet_without_a_seam() -> None:
    """A waveform that repeats every patch has the same patch everywhere but at its ends, across block borders too."""
    wave = np.tile(np.random.default_rng(0).standard_normal(640).astype(np.float32) * 0.1, 3 * BLOCK)
    levels = SPECTRUM.patches(wave)[1:-1]
    assert (levels == levels[0]).all()


def test_analysis_of_what_was_synthesised_is_what_was_analysed() -> None:
    wave = np.random.default_rng(1).standard_normal(640 * 6 + 480)
    wave[:640] = wave[-640:] = 0
    back = synthesise(analyse(wave, SPECTRUM), SPECTRUM)
    assert back == pytest.approx(wave, abs=1e-9)


def test_magnitudes_have_the_wanted_bands() -> None:
    wave = np.concatenate([sine(300, 0.3), sine(2500, 0.1)])
    wanted = SPECTRUM.patches(wave).reshape(-1, 80) / STEPS_PER_DB
    found = (magnitudes(wanted, SPECTRUM) / SPECTRUM.full_scale) ** 2 @ SPECTRUM.filters_WM
    off = np.abs(10 * np.log10(found + 1e-12) - wanted)
    assert np.median(off) < 1
    assert off[wanted > -30].mean() < 1.5
