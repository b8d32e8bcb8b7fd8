"""The embedded tokenizer: codes are a function of the waveform alone, and turn back to sound."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpora import corpus
from tests.tokenization.test_codebook import SMALL, WAVES, wave
from tokenization.adapter import TokenizerError
from tokenization.patches import PatchesTokenizer, fit
from tokenization.patches.spectrum import Spectrum

TOKENIZER = PatchesTokenizer(fit(WAVES, SMALL), SMALL)
SPEECH = np.concatenate([wave(90 + i, 3) for i in range(3)])

ENCODE_AND_PRINT = """
from tests.tokenization.test_patches import SPEECH, TOKENIZER
print(TOKENIZER.encode([SPEECH])[0].tobytes().hex())
"""


def test_the_clock_is_25_hz() -> None:
    assert TOKENIZER.spec.frame_rate == 25.0
    assert TOKENIZER.spec.bits_per_second == 25 * 5
    assert len(TOKENIZER.encode([wave(1, 4.0)])[0]) == 100


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60_000))
def test_encode_gives_as_many_frames_as_frames_says(samples: int) -> None:
    codes = TOKENIZER.encode([np.resize(SPEECH, samples)])[0]
    assert codes.shape == (TOKENIZER.frames(samples), 1)
    assert codes.dtype == np.uint16
    assert (len(codes) == 0) == (samples == 0)


def test_the_vectors_are_what_codes_are_compared_with() -> None:
    vectors_QKZ = TOKENIZER.vectors()
    assert vectors_QKZ.shape == (1, TOKENIZER.spec.vocab_size, TOKENIZER.codebook.centroids_QKZ.shape[2])
    used = np.unique(TOKENIZER.encode([SPEECH])[0])
    assert np.array_equal(TOKENIZER.codebook.quantize(vectors_QKZ[0, used].astype(np.int64))[:, 0], used)


cuts = st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 40_000)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(cuts, st.randoms(use_true_random=False))
def test_codes_do_not_depend_on_batch_or_order(spans: list[tuple[int, int]], random: object) -> None:
    waves = [SPEECH[start : start + length] for start, length in spans]
    order = list(range(len(waves)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = TOKENIZER.encode([waves[i] for i in order])
    for place, i in enumerate(order):
        assert shuffled[place].tobytes() == TOKENIZER.encode([waves[i]])[0].tobytes()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 100_000), st.integers(0, 30_000))
def test_silence_after_the_end_changes_no_code_of_a_whole_patch(samples: int, padding: int) -> None:
    alone = TOKENIZER.encode([SPEECH[:samples]])[0]
    padded = TOKENIZER.encode([np.pad(SPEECH[:samples], (0, padding))])[0]
    assert np.array_equal(padded[: len(alone)], alone)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 100), st.integers(0, 100))
def test_a_code_hears_no_further_than_15_ms_beyond_its_patch(patch: int, other: int) -> None:
    end = patch * 640 + 240
    changed = SPEECH.copy()
    changed[end:] = wave(other, 9)[end:]
    assert np.array_equal(TOKENIZER.encode([changed])[0][:patch], TOKENIZER.encode([SPEECH])[0][:patch])


@pytest.mark.parametrize("threads", ["1", "2"])
def test_codes_are_the_same_in_another_process_with_any_number_of_threads(threads: str) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    told = subprocess.run(
        [sys.executable, "-c", ENCODE_AND_PRINT],
        env={**os.environ, **dict.fromkeys(names, threads)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == TOKENIZER.encode([SPEECH])[0].tobytes().hex()


def test_samples_in_another_memory_layout_give_the_same_codes() -> None:
    spread = np.zeros((len(SPEECH), 2), dtype=np.float32)
    spread[:, 1] = SPEECH
    shifted = np.zeros(len(SPEECH) + 1, dtype=np.float32)
    shifted[1:] = SPEECH
    for same in (spread[:, 1], shifted[1:]):
        assert np.array_equal(TOKENIZER.encode([same])[0], TOKENIZER.encode([SPEECH])[0])


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (np.zeros((2, 100), dtype=np.float32), "one channel"),
        (np.zeros(100, dtype=np.int16), "floating-point"),
        (np.array([0, np.inf], dtype=np.float32), "infinite"),
    ],
)
def test_what_is_no_waveform_is_refused(bad: np.ndarray, why: str) -> None:
    with pytest.raises(TokenizerError, match=why):
        TOKENIZER.encode([bad])


@pytest.mark.parametrize("samples", [1, 640, 641, 30_000])
def test_sound_comes_back_in_whole_patches(samples: int) -> None:
    sound = TOKENIZER.decode(TOKENIZER.encode([SPEECH[:samples]])[0])
    assert sound.dtype == np.float32
    assert len(sound) == 640 * TOKENIZER.frames(samples)
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1


def test_no_codes_are_no_sound() -> None:
    assert TOKENIZER.decode(np.zeros((0, 1), dtype=np.uint16)).shape == (0,)


def test_decoding_is_repeatable() -> None:
    codes = TOKENIZER.encode([SPEECH[:20_000]])[0]
    assert TOKENIZER.decode(codes).tobytes() == TOKENIZER.decode(codes).tobytes()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 31), min_size=1, max_size=20))
def test_any_codes_of_the_vocabulary_make_a_sound(codes: list[int]) -> None:
    sound = TOKENIZER.decode(np.array(codes, dtype=np.uint16)[:, None])
    assert len(sound) == 640 * len(codes)
    assert np.isfinite(sound).all()


@pytest.mark.parametrize("bad", [[[32]], [[0, 1]], [[0.5]], [[-1]]])
def test_codes_that_are_not_its_own_are_refused(bad: list) -> None:
    with pytest.raises(TokenizerError, match="codes of patches"):
        TOKENIZER.decode(np.array(bad))


def test_resynthesis_keeps_the_shape_of_the_spectrum() -> None:
    """With many residual codes the decoded levels come near the original's; one small codebook is further off."""
    spectrum = Spectrum.of(SMALL)

    def distance(codebooks: int) -> float:
        recipe = SMALL.model_copy(update={"codebooks": codebooks})
        tokenizer = PatchesTokenizer(fit(WAVES, recipe), recipe)
        again = tokenizer.decode(tokenizer.encode(WAVES[:1])[0])
        return float(np.abs(spectrum.patches(again) - spectrum.patches(WAVES[0])).mean()) / 2

    fine, coarse = distance(8), distance(1)
    assert fine < coarse < 8


def test_more_rounds_of_phase_recovery_bring_the_sound_nearer_to_its_spectrum() -> None:
    spectrum = Spectrum.of(SMALL)
    codes = TOKENIZER.encode(WAVES[:1])[0]
    wanted = TOKENIZER.codebook.levels(codes)

    def off(rounds: int) -> float:
        tokenizer = PatchesTokenizer(TOKENIZER.codebook, SMALL.model_copy(update={"griffin_lim": rounds}))
        return float(np.abs(spectrum.patches(tokenizer.decode(codes)) - wanted).mean())

    assert off(32) < off(0)


def test_human_speech_keeps_its_rhythm() -> None:
    """Fitted on LibriSpeech readings, the loudness over time of the resynthesis follows the original's."""
    soundfile = pytest.importorskip("soundfile")
    files = sorted(corpus("librispeech_mini").rglob("*.flac"))
    waves = [soundfile.read(f, dtype="float32")[0] for f in files[:8]]
    recipe = SMALL.model_copy(update={"codebook_size": 256, "pca": 32})
    tokenizer = PatchesTokenizer(fit(waves, recipe), recipe)
    again = tokenizer.decode(tokenizer.encode(waves[:1])[0])[: len(waves[0])]

    def loudness(w: np.ndarray) -> np.ndarray:
        return np.log10(np.sqrt((w[: len(w) // 320 * 320].reshape(-1, 320) ** 2).mean(axis=1)) + 1e-3)

    assert np.corrcoef(loudness(again), loudness(waves[0]))[0, 1] > 0.9
