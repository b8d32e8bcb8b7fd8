"""The codebook: fitted the same each time, whatever the threads; saved, loaded, refused when it is another."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manifests.fingerprint import sha256
from manifests.settings.speech import PatchesSettings
from tokenization.adapter import TokenizerError
from tokenization.patches import CodebookDamaged, CodebookMismatch, fit, load, save
from tokenization.patches.files import ARRAYS
from tokenization.patches.fitting import RUN, sample
from tokenization.patches.kmeans import kmeans, means, nearest, revived, squared_errors
from tokenization.patches.spectrum import Spectrum

SMALL = PatchesSettings(codebook_size=32, pca=12, iterations=6, fit_seconds=60)


def wave(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Something with formant-like bands that change: a seeded sum of gliding harmonics, and noise."""
    draw = np.random.default_rng(seed)
    t = np.arange(int(16_000 * seconds)) / 16_000
    pitch = draw.uniform(90, 240) * (1 + 0.2 * np.sin(2 * np.pi * draw.uniform(0.5, 2) * t))
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    loud = 0.5 + 0.5 * np.sin(2 * np.pi * draw.uniform(1, 4) * t)
    tones = sum(np.sin(n * phase) / n * draw.uniform(0, 1) for n in range(1, 20))
    return (0.1 * loud * tones + 0.003 * draw.standard_normal(len(t))).astype(np.float32)


WAVES = [wave(i) for i in range(6)]
BOOK = fit(WAVES, SMALL)

FIT_AND_PRINT = """
from tests.tokenization.test_codebook import SMALL, WAVES
from tokenization.patches import fit, save
from manifests.fingerprint import sha256
print(sha256(save(fit(WAVES, SMALL))))
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_another_process_with_any_number_of_threads_fits_the_same_bytes(threads: str) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, threads), "PYTHONHASHSEED": threads}
    command = [sys.executable, "-c", FIT_AND_PRINT]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == sha256(save(BOOK))


def test_waves_may_come_from_a_generator_that_is_read_once() -> None:
    assert save(fit((w for w in WAVES), SMALL)) == save(BOOK)


def test_the_seed_changes_the_codebook() -> None:
    assert save(fit(WAVES, SMALL.model_copy(update={"seed": 1}))) != save(BOOK)


def test_every_code_is_used_on_the_sample_it_was_fitted_on() -> None:
    spectrum = Spectrum.of(SMALL)
    codes = np.concatenate([BOOK.quantize(BOOK.project(spectrum.patches(w))) for w in WAVES])
    assert set(codes[:, 0].tolist()) == set(range(32))
    assert BOOK.facts["live"] == [32]
    assert 16 < BOOK.facts["perplexity"][0] <= 32


def test_further_codebooks_bring_patches_nearer() -> None:
    finer = fit(WAVES, SMALL.model_copy(update={"codebooks": 3}))
    assert finer.facts["distortion_db"] < 0.9 * BOOK.facts["distortion_db"]
    assert finer.centroids_QKZ.shape[0] == 3


def test_the_smoother_never_makes_the_sample_worse() -> None:
    spectrum = Spectrum.of(SMALL)
    plain, smooth = 0.0, 0.0
    for w in WAVES:
        levels = spectrum.patches(w)
        codes = BOOK.quantize(BOOK.project(levels))
        plain += float(((levels - BOOK.plain_levels(codes)) ** 2.0).sum())
        smooth += float(((levels - BOOK.levels(codes)) ** 2).sum())
    assert smooth < plain


def test_fewer_patches_than_codes_leave_the_vocabulary_as_the_recipe_says() -> None:
    book = fit([wave(0, 0.4)], SMALL)
    assert book.centroids_QKZ.shape[1] == 32
    assert book.facts["live"][0] <= 10
    codes = book.quantize(book.project(Spectrum.of(SMALL).patches(wave(0, 0.4))))
    assert codes.max() < book.facts["live"][0]
    every = book.levels(np.arange(32, dtype=np.uint16)[:, None])
    assert np.isfinite(every).all()


@pytest.mark.parametrize("level", [0.0, 1.0, -0.25, 1e-30])
def test_silence_and_constants_are_fitted(level: float) -> None:
    book = fit([np.full(32_000, level, dtype=np.float32)], SMALL)
    assert 1 <= book.facts["live"][0] <= 3
    assert load(save(book), SMALL).facts == book.facts


def test_no_speech_at_all_is_refused_with_what_to_do() -> None:
    with pytest.raises(TokenizerError, match="no speech reached the fit stage"):
        fit([np.zeros(0, dtype=np.float32)], SMALL)


def test_samples_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(TokenizerError, match="1 of 4 samples are NaN"):
        fit([np.array([0, np.nan, 0, 0], dtype=np.float32)], SMALL)


def test_the_sample_stays_within_fit_seconds_and_does_not_favour_the_beginning() -> None:
    few = SMALL.model_copy(update={"fit_seconds": 8})
    marked = [np.full(2 * 16_000, (i + 1) / 1000, dtype=np.float32) for i in range(60)]
    kept = sample(marked, few)
    assert len(kept.levels_PD) == 8 * 25
    assert kept.heard == 60 * RUN
    loudest = Spectrum.of(few).patches(marked[3]).max()
    assert kept.levels_PD.max() > loudest
    assert sample(marked, few).levels_PD.tobytes() == kept.levels_PD.tobytes()


def test_progress_is_told() -> None:
    heard: list[tuple[str, int, int]] = []
    fit(WAVES[:1], SMALL, lambda *news: heard.append(news))
    assert heard[-1] == ("codebook 1 of 1", 6, 6)


def test_a_codebook_comes_back_from_its_bytes() -> None:
    back = load(save(BOOK), SMALL)
    for name in ARRAYS:
        assert np.array_equal(getattr(back, name), getattr(BOOK, name))
    assert save(back) == save(BOOK)


def test_any_safetensors_reader_can_open_it() -> None:
    reader = pytest.importorskip("safetensors.numpy")
    assert np.array_equal(reader.load(save(BOOK))["centroids_QKZ"], BOOK.centroids_QKZ)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_refused_or_leaves_the_arrays_as_they_were(data: st.DataObject) -> None:
    whole = bytearray(save(BOOK))
    place = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 900))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        back = load(bytes(whole), SMALL)
    except TokenizerError:
        return
    for name in ARRAYS:
        assert np.array_equal(getattr(back, name), getattr(BOOK, name))


def test_damage_of_any_array_is_refused() -> None:
    whole = save(BOOK)
    begin = 8 + int.from_bytes(whole[:8], "little")
    for place in range(begin, len(whole), 997):
        damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        with pytest.raises(CodebookDamaged, match="checksum"):
            load(damaged, SMALL)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_a_truncated_file_is_refused_in_one_line(keep: int) -> None:
    whole = save(BOOK)
    with pytest.raises(CodebookDamaged, match="fit stage") as caught:
        load(whole[: keep % len(whole)], SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("junk", [b"", b"\0" * 7, b"\0" * 8, b"\xff" * 64, b"not a codebook at all, but some text"])
def test_other_files_are_refused(junk: bytes) -> None:
    with pytest.raises(CodebookDamaged):
        load(junk, SMALL)


@pytest.mark.parametrize(("name", "value"), [("codebook_size", 64), ("mels", 40), ("seed", 9), ("codebooks", 2)])
def test_a_codebook_of_another_recipe_is_refused_naming_the_setting(name: str, value: Any) -> None:
    with pytest.raises(CodebookMismatch, match=f"{name} is .* the recipe says {value}"):
        load(save(BOOK), SMALL.model_copy(update={name: value}))


def test_settings_of_sound_alone_do_not_need_another_codebook() -> None:
    assert load(save(BOOK), SMALL.model_copy(update={"griffin_lim": 4, "momentum": 0.5})).facts == BOOK.facts


points = hnp.arrays(np.int16, st.tuples(st.integers(1, 60), st.just(3)), elements=st.integers(-900, 900))


@settings(max_examples=80, deadline=None)
@given(points, st.integers(1, 12))
def test_nearest_is_what_exhaustive_search_in_whole_numbers_finds(xs: np.ndarray, size: int) -> None:
    centroids = xs[:size]
    distances = ((xs[:, None].astype(np.int64) - centroids[None]) ** 2).sum(axis=2)
    assert np.array_equal(nearest(xs, centroids), distances.argmin(axis=1))


def test_nearest_is_exact_beyond_what_float32_can_hold() -> None:
    xs = np.array([[30_000, 30_000], [30_000, 29_999]], dtype=np.int16)
    assert nearest(xs, xs).tolist() == [0, 1]


@settings(max_examples=60, deadline=None)
@given(points, st.integers(1, 12), st.integers(0, 5))
def test_kmeans_uses_every_centroid_and_never_more_than_asked(xs: np.ndarray, size: int, seed: int) -> None:
    centroids = kmeans(xs, size, 4, seed)
    used = np.unique(nearest(xs, centroids))
    assert 1 <= len(centroids) <= min(size, len(np.unique(xs, axis=0)))
    assert np.array_equal(used, np.arange(len(centroids)))


def test_kmeans_finds_clusters_that_lie_apart() -> None:
    draw = np.random.default_rng(0)
    middles = np.array([[-500, 0], [500, 0], [0, 500], [0, -500]], dtype=np.int16)
    xs = (np.repeat(middles, 40, axis=0) + draw.integers(-9, 10, (160, 2))).astype(np.int16)
    found = kmeans(xs, 4, 20, 0)
    assert np.abs(found[nearest(middles, found)] - middles).max() < 10


def test_rounds_of_kmeans_lower_the_error() -> None:
    xs = np.random.default_rng(0).integers(-300, 300, (800, 4)).astype(np.int16)

    def error(rounds: int) -> int:
        centroids = kmeans(xs, 16, rounds, 0)
        return int(squared_errors(xs, centroids, nearest(xs, centroids)).sum())

    assert error(12) < error(1)


def test_a_centroid_without_points_moves_to_the_point_worst_served() -> None:
    points = np.array([[0], [2], [100], [150]], dtype=np.int16)
    centroids = np.array([[1], [120], [9_000], [9_001], [9_002]], dtype=np.int16)
    moved = revived(points, centroids, nearest(points, centroids))
    assert moved.tolist() == [[1], [120], [150], [0], [9_002]]


def test_kmeans_keeps_all_its_centroids_where_some_lose_their_points_on_the_way() -> None:
    xs = np.rint(np.random.default_rng(3).standard_normal((300, 3)) * 200).astype(np.int16)
    assert len(kmeans(xs, 200, 20, 3)) == 200


def test_kmeans_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="no points"):
        kmeans(np.zeros((0, 3), dtype=np.int16), 4, 1, 0)


def test_means_round_and_leave_absent_labels_as_they_were() -> None:
    values = np.array([[1, 10], [2, 20], [9, 9]], dtype=np.int16)
    spare = np.full((3, 2), -7, dtype=np.int16)
    assert means(values, np.array([0, 0, 2]), 3, spare).tolist() == [[2, 15], [-7, -7], [9, 9]]
