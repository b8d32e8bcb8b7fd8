"""Scores: what they say of sounds of which it is known, that gain changes none, and that no sound makes them infinite."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from manifests.filters.columns import COLUMNS, SCORES
from manifests.settings.scores import DnsmosSettings, ScoresSettings
from tests.corpora import corpus
from tests.small_corpus import RATE, tone
from tokenization.scores.bandwidth import bandwidth_hz
from tokenization.scores.base import ScoreError, Sound
from tokenization.scores.dnsmos import COLUMNS as MOS
from tokenization.scores.dnsmos import SAMPLES, SCALES, opened, pinned
from tokenization.scores.rate import characters_per_second
from tokenization.scores.registry import OPENERS, Scorer
from tokenization.scores.snr import snr_db

PLAIN = ("snr_db", "bandwidth_hz", "characters_per_second")


def sound(wave_T: np.ndarray, rate: int = RATE, text: str | None = "hello there", speech: float = 1.0) -> Sound:
    return Sound(wave_T.astype(np.float32), rate, text, speech)


def words(seed: int, seconds: float = 4.0) -> np.ndarray:
    """Sound with pauses: a second of it, a quarter of a second without."""
    wave_T = tone(seed, seconds)
    wave_T[np.arange(len(wave_T)) % (RATE * 5 // 4) > RATE] = 0
    return wave_T


def noised(wave_T: np.ndarray, db: float, seed: int = 0) -> np.ndarray:
    """With white noise ``db`` under the power of what is no pause."""
    power = float((wave_T[wave_T != 0].astype(np.float64) ** 2).mean())
    return wave_T + np.random.default_rng(seed).standard_normal(len(wave_T)) * np.sqrt(power * 10 ** (-db / 10))


# Every score


def test_the_registry_the_settings_and_the_columns_know_the_same_scores() -> None:
    assert list(OPENERS) == list(ScoresSettings.model_fields)
    assert {column.score for column in SCORES} == set(OPENERS)
    made = set(Scorer(ScoresSettings.model_validate(list(PLAIN)), PLAIN)(sound(words(0))))
    assert made | set(MOS) == {column.name for column in SCORES}
    assert all(f"query_{column.name}" in COLUMNS for column in SCORES)


SOUNDS = st.one_of(
    st.lists(st.floats(-1, 1, width=32), max_size=3000).map(np.array),
    st.tuples(st.integers(0, 6000), st.floats(-1, 1, width=32)).map(lambda p: np.full(*p)),
    st.integers(1, 9000).map(lambda n: np.eye(1, n)[0]),
)


@given(SOUNDS, st.sampled_from([8000, 16000, 44100]), st.one_of(st.none(), st.text(max_size=9)), st.floats(0, 9))
def test_no_sound_and_no_text_gives_anything_but_finite_rounded_numbers(
    wave_T: np.ndarray, rate: int, text: str | None, speech: float
) -> None:
    scores = Scorer(ScoresSettings(), PLAIN)(sound(wave_T, rate, text, speech))
    assert all(np.isfinite(value) and round(value, 2) == value for value in scores.values())
    assert scores == Scorer(ScoresSettings(), PLAIN)(sound(wave_T, rate, text, speech))


@pytest.mark.parametrize("gain", [0.05, 0.5])
def test_how_loud_a_sound_is_changes_no_score(gain: float) -> None:
    wave_T = noised(words(3), 20)
    loud, soft = (Scorer(ScoresSettings(), PLAIN)(sound(wave_T * g)) for g in (1.0, gain))
    assert loud == soft


# Signal to noise


@pytest.mark.parametrize("db", [0, 5, 10, 20, 30])
def test_the_noise_that_was_added_is_found(db: int) -> None:
    found = [snr_db(sound(noised(words(seed), db, seed)))["snr_db"] for seed in range(5)]
    assert np.median([f for f in found if f is not None]) == pytest.approx(db, abs=2)


def test_noise_is_found_in_real_speech() -> None:
    root = corpus("librispeech_mini") / "LibriSpeech/train-clean-5/118/47824"
    off = []
    for file in sorted(root.glob("*.flac"))[:3]:
        wave_T, rate = soundfile.read(file, dtype="float32")
        frames = wave_T[: len(wave_T) // 320 * 320].reshape(-1, 320)
        power = (frames**2).mean(axis=1)
        speech = float(power[power > power.max() * 1e-4].mean())
        for db in (5, 10, 20):
            noise_T = np.random.default_rng(db).standard_normal(len(wave_T)) * np.sqrt(speech * 10 ** (-db / 10))
            off.append((snr_db(sound(wave_T + noise_T, rate))["snr_db"] or 0.0) - db)
    assert np.abs(off).max() < 3


def test_of_digital_silence_and_of_too_little_nothing_is_told() -> None:
    assert snr_db(sound(np.zeros(RATE)))["snr_db"] is None
    assert snr_db(sound(words(0)[:2000]))["snr_db"] is None


@pytest.mark.parametrize("share", [0.05, 0.12, 0.3])
@pytest.mark.parametrize("offset", [0.0, -3e-6, 1e-4])
def test_digital_silence_before_a_recording_is_no_noise_even_where_the_dc_offset_was_taken_off(
    share: float, offset: float
) -> None:
    wave_T = noised(words(1), 12)
    filled_T = np.concatenate([np.zeros(int(share * len(wave_T))), wave_T])
    assert snr_db(sound(filled_T - offset))["snr_db"] == pytest.approx(snr_db(sound(wave_T))["snr_db"], abs=1)


# Bandwidth


def test_an_upsampled_file_holds_no_more_than_it_held_before() -> None:
    full_T = np.random.default_rng(0).standard_normal(3 * 44_100).astype(np.float32) * 0.1
    assert bandwidth_hz(sound(full_T, 44_100))["bandwidth_hz"] == 22_050
    for rate in (8_000, 16_000, 24_000):
        low_T = soxr.resample(soxr.resample(full_T, 44_100, rate), rate, 44_100)
        stored_T = np.round(low_T * 32767) / 32768
        assert bandwidth_hz(sound(stored_T, 44_100))["bandwidth_hz"] == pytest.approx(rate / 2, rel=0.06)


def test_the_bandwidth_of_real_speech_is_that_of_the_rate_it_was_recorded_at() -> None:
    wave_T, rate = soundfile.read(corpus("ljspeech") / "LJSpeech-1.1/wavs/LJ001-0004.wav", dtype="float32")
    assert (bandwidth_hz(sound(wave_T, rate))["bandwidth_hz"] or 0) > 10_000
    narrow_T = soxr.resample(soxr.resample(wave_T, rate, 8000), 8000, rate)
    assert bandwidth_hz(sound(narrow_T, rate))["bandwidth_hz"] == pytest.approx(4000, abs=150)


def test_the_bandwidth_of_a_long_sound_takes_no_more_memory_than_that_of_a_short_one() -> None:
    long_T = np.tile(noised(words(1), 30), 60)
    assert bandwidth_hz(sound(long_T))["bandwidth_hz"] == bandwidth_hz(sound(noised(words(1), 30)))["bandwidth_hz"]


# Speaking rate


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Hello, there!", 10),
        ("  ", 0),
        ("e\u0301te\u0301", 3),
        ("\u00e9t\u00e9", 3),
        ("第三次", 3),
        ("नमस्ते", 6),
        ("4 of 10", 5),
    ],
)
def test_letters_and_digits_are_counted_for_each_second_of_speech(text: str, count: int) -> None:
    heard = sound(words(0), text=text, speech=2.5)
    assert characters_per_second(heard)["characters_per_second"] == round(count / 2.5, 2)


def test_without_text_or_speech_there_is_no_rate() -> None:
    assert characters_per_second(sound(words(0), text=None))["characters_per_second"] is None
    assert characters_per_second(sound(words(0), speech=0.0))["characters_per_second"] is None


# DNSMOS


def write_model(path: Path, outputs: int = 3, weight: float = 10.0) -> Path:
    """A network of DNSMOS's interface: its answers are the mean amplitude times 1, 2, 3 (and ``weight``), plus 1."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights = numpy_helper.from_array(weight * np.arange(1, outputs + 1, dtype=np.float32)[None], "weights")
    one = numpy_helper.from_array(np.ones(outputs, np.float32), "one")
    axes = numpy_helper.from_array(np.array([1]), "axes")
    nodes = [
        helper.make_node("Abs", ["input_1"], ["size"]), helper.make_node("ReduceMean", ["size", "axes"], ["mean"]),
        helper.make_node("MatMul", ["mean", "weights"], ["scaled"]), helper.make_node("Add", ["scaled", "one"], ["Identity:0"]),
    ]  # fmt: skip
    given = helper.make_tensor_value_info("input_1", onnx.TensorProto.FLOAT, ["batch", SAMPLES])
    made = helper.make_tensor_value_info("Identity:0", onnx.TensorProto.FLOAT, ["batch", outputs])
    graph = helper.make_graph(nodes, "mos", [given], [made], [weights, one, axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    return write_model(tmp_path / "sig_bak_ovr.onnx")


@pytest.mark.parametrize("personalised", [False, True])
def test_dnsmos_hears_windows_of_nine_seconds_and_averages_them(model: Path, personalised: bool) -> None:
    wave_T = np.concatenate([np.full(RATE, amplitude) for amplitude in np.linspace(0.02, 0.2, 12)]).astype(np.float32)
    heard = opened(DnsmosSettings(model=str(model), personalised=personalised))(sound(wave_T))
    means = [np.abs(wave_T[first * RATE : first * RATE + SAMPLES]).mean() for first in (0, 1, 2)]
    for o, name in enumerate(MOS):
        answers = [10.0 * (o + 1) * mean + 1 for mean in means]
        assert heard[name] == pytest.approx(np.polyval(SCALES[personalised][o], answers).mean(), abs=0.006)


def test_dnsmos_repeats_a_short_sound_and_resamples_another_rate(model: Path) -> None:
    score = opened(DnsmosSettings(model=str(model)))
    wave_T = np.full(2 * RATE, 0.1)
    assert score(sound(wave_T)) == score(sound(np.full(20 * RATE, 0.1)))
    again = score(sound(np.full(3 * 48_000, 0.1), 48_000))
    assert again["dnsmos_ovrl"] == pytest.approx(score(sound(wave_T))["dnsmos_ovrl"], abs=0.05)


def test_a_scorer_loads_its_model_where_it_hears_and_travels_without_it(model: Path) -> None:
    scorer = Scorer(ScoresSettings(dnsmos=DnsmosSettings(model=str(model))), ("dnsmos",))
    before = scorer(sound(words(0)))
    assert pickle.loads(pickle.dumps(scorer))(sound(words(0))) == before
    assert set(before) == set(MOS)


def test_a_model_is_pinned_by_its_checksum(model: Path, tmp_path: Path) -> None:
    settings = pinned(DnsmosSettings(model=str(model)))
    assert pinned(settings) == settings
    write_model(model, weight=3.0)
    with pytest.raises(ScoreError, match="another model gives other scores"):
        opened(settings)


def test_a_model_that_is_missing_or_another_one_is_refused_in_a_line(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    other = write_model(tmp_path / "other.onnx", outputs=4)
    for place, said in (
        ("", "where is the ONNX file"),
        ("/no/such", "cannot be read"),
        (broken, "is not DNSMOS"),
        (other, "(1, 4)"),
    ):
        with pytest.raises(ScoreError, match=re.escape(said)) as refused:
            opened(DnsmosSettings(model=str(place)))
        assert "\n" not in str(refused.value)
