"""Where somebody speaks: what the detectors find in sound whose speech is known, and that it does not matter how the sound comes."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.settings.segment import DetectorSettings, EnergySettings, SegmentSettings, SileroSettings
from tests.corpora import corpus
from tokenization.voice_activity import silero
from tokenization.voice_activity.activity import Activity, Blocks, Ear, Span, hysteresis
from tokenization.voice_activity.contract import RATE, DetectorError, Threshold
from tokenization.voice_activity.levels import smoothed
from tokenization.voice_activity.registry import DETECTORS, open_detector
from tokenization.voice_activity.utterances import Bounds, utterances

NEEDS_VAD = pytest.mark.skipif(None in (find_spec("silero_vad"), find_spec("onnxruntime")), reason="no extra vad")
DETECTORS_HERE = [
    pytest.param(EnergySettings(), id="energy"),
    pytest.param(SileroSettings(), id="silero", marks=NEEDS_VAD),
]
TOLERANCE = 200  # ms that a boundary may be off
BOUNDS = Bounds.of(SegmentSettings())


def voice(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A buzz with formants that rises and falls four times a second."""
    time_T = np.arange(int(seconds * rate)) / rate
    pitch_T = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * (1.3 + 0.1 * seed) * time_T)) / rate
    wave_T = sum(np.sin(k * pitch_T) / (1 + abs(k - 5)) for k in range(1, 16))
    return (0.08 * wave_T * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_T))).astype(np.float32)


def timeline(parts: list[tuple[str, float]], rate: int = RATE, noise: float = 0.0) -> tuple[np.ndarray, list[Span]]:
    """Sound of ("voice" or "rest", seconds) parts, and where the voice is, in ms."""
    waves, spans, at = [], [], 0.0
    for i, (kind, seconds) in enumerate(parts):
        waves.append(voice(seconds, rate, i) if kind == "voice" else np.zeros(int(seconds * rate), np.float32))
        spans += [(round(1000 * at), round(1000 * (at + seconds)))] if kind == "voice" else []
        at += seconds
    wave_T = np.concatenate(waves)
    hiss_T = np.random.default_rng(0).standard_normal(len(wave_T)).astype(np.float32)
    return wave_T + np.float32(noise) * hiss_T, spans


def heard(
    wave: np.ndarray, detector: DetectorSettings, rate: int = RATE, piece: int = 1 << 20, **more: int
) -> Activity:
    """What an ear hears of ``wave_T`` or ``wave_CT`` in pieces of so many samples."""
    wave_CT = np.atleast_2d(wave)
    ear = Ear(open_detector(detector), rate, **more)
    for first in range(0, wave_CT.shape[1], piece):
        ear.hear(wave_CT[:, first : first + piece])
    return ear.done()


def found(wave: np.ndarray, detector: DetectorSettings, rate: int = RATE, **more: int) -> list[Span]:
    """Utterances without any silence around them."""
    activity = heard(wave, detector, rate, **more)
    bounds = Bounds(100, 600_000, 600, 0, 60)
    return utterances(
        activity.speech(open_detector(detector).threshold), activity.milliseconds, activity.level_G, bounds
    )


PARTS = [("rest", 1.5), ("voice", 2.0), ("rest", 1.0), ("voice", 0.7), ("rest", 2.2), ("voice", 4.0), ("rest", 0.8)]


class TestEnergy:
    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
    @pytest.mark.parametrize("noise", [0.0, 0.0005, 0.004])
    def test_voice_is_found_where_it_is_in_silence_and_in_noise_at_any_rate(self, rate: int, noise: float) -> None:
        wave_T, spans = timeline(PARTS, rate, noise)
        assert np.allclose(found(wave_T, EnergySettings(), rate), spans, atol=60)

    def test_noise_alone_hum_and_silence_are_no_speech(self) -> None:
        hiss_T = np.random.default_rng(1).standard_normal(RATE * 20).astype(np.float32)
        hum_T = np.sin(2 * np.pi * 50 * np.arange(RATE * 20) / RATE).astype(np.float32)
        for wave_T in (0 * hiss_T, 1e-4 * hiss_T, 0.05 * hiss_T, 0.3 * hum_T, 0.2 * hum_T + 0.01 * hiss_T):
            assert found(wave_T, EnergySettings()) == []

    def test_the_floor_follows_a_fan_that_is_switched_on(self) -> None:
        quiet_T, first = timeline(PARTS * 4)
        loud_T, second = timeline(PARTS * 4, noise=0.006)
        shift = round(1000 * len(quiet_T) / RATE)
        got = found(np.concatenate([quiet_T, loud_T]), EnergySettings())
        wanted = [*first, *((a + shift, b + shift) for a, b in second)]
        for a, b in wanted:  # nothing of the voice is missing, whatever the moment of switching on is taken for
            assert any(x <= a + 80 and b - 80 <= y for x, y in got), (a, b)
        settled = [(a, b) for a, b in got if a > shift + 25_000]
        assert np.allclose(settled, [(a, b) for a, b in wanted if a > shift + 25_000], atol=80)

    def test_a_click_is_no_speech_and_a_short_word_is(self) -> None:
        wave_T, _ = timeline([("rest", 3.0), ("voice", 0.25), ("rest", 3.0)])
        wave_T[RATE : RATE + 40] = 0.5
        assert len(found(wave_T, EnergySettings())) == 1

    def test_samples_that_are_no_numbers_are_heard_as_silence(self) -> None:
        wave_T, spans = timeline(PARTS)
        wave_T[100], wave_T[200], wave_T[300] = np.nan, np.inf, -np.inf
        assert np.allclose(found(wave_T, EnergySettings()), spans, atol=60)

    def test_one_channel_may_be_listened_to_alone(self) -> None:
        left_T, left = timeline([("voice", 2.0), ("rest", 3.0)])
        right_T, right = timeline([("rest", 3.0), ("voice", 2.0)])
        both_CT = np.stack([left_T, right_T])
        assert np.allclose(found(both_CT, EnergySettings(), channel=0), left, atol=60)
        assert np.allclose(found(both_CT, EnergySettings(), channel=1), right, atol=60)
        assert np.allclose(found(both_CT, EnergySettings()), [*left, *right], atol=60)

    def test_nothing_is_heard_of_nothing(self) -> None:
        for samples in (0, 1, 100, 159):
            activity = heard(np.zeros(samples, np.float32), EnergySettings())
            assert activity.milliseconds == samples * 1000 // RATE
            assert activity.speech(Threshold(1, 1)) == []


Reading = tuple[Span, Span]
"""Where a sentence's file begins and ends, and its first and last frame of 20 ms that is plainly loud; in ms."""


@pytest.fixture(scope="module")
def readings() -> tuple[np.ndarray, list[Reading]]:
    """Sentences of LibriSpeech behind one another, with silences of known length between, in a little noise."""
    random, parts, spans, at = np.random.default_rng(3), [], list[Reading](), 0
    for path in sorted((corpus("librispeech_mini") / "LibriSpeech").rglob("*.flac"))[:8]:
        sentence_T, rate = soundfile.read(path, dtype="float32")
        assert rate == RATE
        frames_FS = sentence_T[: len(sentence_T) // 320 * 320].reshape(-1, 320)
        loud = np.flatnonzero((frames_FS**2).mean(axis=1) > 0.03**2)
        rest_T = np.zeros(int(RATE * random.uniform(1.5, 3.0)), np.float32)
        parts += [rest_T, sentence_T]
        begin, at = at + len(rest_T), at + len(rest_T) + len(sentence_T)
        first, last = (begin * 1000 // RATE + 20 * int(edge) for edge in (loud[0], loud[-1] + 1))
        spans.append(((begin * 1000 // RATE, at * 1000 // RATE), (first, last)))
    wave_T = np.concatenate([*parts, np.zeros(RATE, np.float32)])
    return wave_T + 5e-4 * random.standard_normal(len(wave_T)).astype(np.float32), spans


class TestRealSpeech:
    @pytest.mark.parametrize("detector", DETECTORS_HERE)
    def test_every_sentence_is_found_from_its_first_to_its_last_word_and_nothing_between_two(
        self, detector: DetectorSettings, readings: tuple[np.ndarray, list[Reading]]
    ) -> None:
        got = found(readings[0], detector)
        for (begin, end), (first, last) in readings[1]:
            mine = [span for span in got if span[1] > begin and span[0] < end]
            assert begin - TOLERANCE <= mine[0][0] <= first + TOLERANCE
            assert last - TOLERANCE <= mine[-1][1] <= end + TOLERANCE
        assert all(
            any(begin - TOLERANCE <= x and y <= end + TOLERANCE for (begin, end), _ in readings[1]) for x, y in got
        )

    @pytest.mark.parametrize("detector", DETECTORS_HERE)
    def test_what_is_found_does_not_depend_on_how_the_sound_comes(
        self, detector: DetectorSettings, readings: tuple[np.ndarray, list[Reading]]
    ) -> None:
        wave_T = readings[0][: 40 * RATE]
        whole = heard(wave_T, detector, 22_050)
        for piece in (997, 16_384, 441_000):
            again = heard(wave_T, detector, 22_050, piece)
            assert again.samples == whole.samples
            assert np.array_equal(again.score_F, whole.score_F)
            assert np.array_equal(again.level_G, whole.level_G)


class TestSilero:
    def test_without_the_extra_the_error_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(silero, "find_spec", lambda name: None)
        with pytest.raises(DetectorError, match=r"silero-vad and onnxruntime: pip install 'speechmill\[vad\]'"):
            open_detector(SileroSettings())

    @NEEDS_VAD
    def test_the_package_is_not_imported_and_nothing_is_loaded_before_a_recording_comes(self) -> None:
        code = (
            "import sys; from manifests.settings.segment import SileroSettings as S\n"
            "from tokenization.voice_activity.registry import open_detector\n"
            "d = open_detector(S()); assert 'onnxruntime' not in sys.modules; d.begin()\n"
            "print([m for m in ('torch', 'torchaudio', 'silero_vad') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def test_every_detector_is_registered_by_its_settings_and_tells_its_version() -> None:
    assert {cls().name for cls in DETECTORS} == {"energy", "silero"}
    assert open_detector(EnergySettings()).version == "1"


@given(st.lists(st.integers(0, 70), max_size=12), st.integers(1, 32))
def test_blocks_have_one_size_and_hold_everything_in_order(lengths: list[int], size: int) -> None:
    whole_T, got = np.arange(sum(lengths), dtype=np.float32), list[np.ndarray]()
    blocks = Blocks(size, got.append)
    for first, end in pairwise(np.cumsum([0, *lengths]).tolist()):
        blocks.add(whole_T[first:end])
    blocks.end()
    assert all(len(block) == size for block in got[:-1])
    assert np.array_equal(np.concatenate([*got, whole_T[:0]]), whole_T)


@given(st.lists(st.floats(-1, 1), max_size=60), st.floats(-0.5, 0.5), st.floats(0, 0.5))
def test_speech_goes_on_above_its_offset_and_reached_its_onset(
    scores: list[float], offset: float, above: float
) -> None:
    score_F, threshold = np.array(scores), Threshold(offset + above, offset)
    inside = np.zeros(len(scores), bool)
    for a, b in hysteresis(score_F, threshold):
        assert (score_F[a:b] >= threshold.offset).all()
        assert (score_F[a:b] >= threshold.onset).any()
        inside[a:b] = True
    assert not (score_F[~inside] >= threshold.onset).any()


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Span], int, np.ndarray, Bounds]:
    """Where somebody speaks in a recording, how loud it is, and bounds."""
    edges = sorted(draw(st.sets(st.integers(0, 90_000), max_size=24)))
    speech = list(zip(edges[::2], edges[1::2], strict=False))
    end = draw(st.integers(edges[-1] if edges else 0, 95_000))
    shortest = draw(st.integers(100, 5_000))
    bounds = Bounds(shortest, draw(st.integers(2 * shortest, 30_000)), draw(st.integers(1, 2_000)), draw(st.integers(0, 500)),
                    draw(st.integers(0, 300)))  # fmt: skip
    levels = draw(st.lists(st.integers(-90, -10), min_size=1, max_size=20))
    return speech, end, np.resize(np.array(levels, np.float32), -(-end // 10)), bounds


def groups(speech: list[Span], pause: int) -> list[list[Span]]:
    """Speech with less than a pause between."""
    ends = [i for i in range(1, len(speech)) if speech[i][0] - speech[i - 1][1] >= pause]
    return [speech[a:b] for a, b in pairwise([0, *ends, len(speech)]) if a < b]


class TestUtterances:
    @given(recordings())
    @settings(max_examples=400)
    def test_they_are_in_order_disjoint_bounded_and_hold_all_speech(
        self, recording: tuple[list[Span], int, np.ndarray, Bounds]
    ) -> None:
        speech, end, level_G, bounds = recording
        got = utterances(speech, end, level_G, bounds)
        assert all(0 <= a < b <= end for a, b in got)
        assert all(b <= c for (_, b), (c, _) in pairwise(got))
        assert all(b - a <= bounds.longest for a, b in got)
        if end >= bounds.shortest:
            assert all(b - a >= bounds.shortest for a, b in got)
        inside = np.zeros(end + 1, bool)
        for a, b in got:
            inside[a:b] = True
        for group in groups(speech, bounds.pause):
            blip = sum(b - a for a, b in group) < bounds.blip
            assert blip or all(inside[a:b].all() for a, b in group)
        assert got or all(sum(b - a for a, b in group) < bounds.blip for group in groups(speech, bounds.pause))

    def test_speech_that_is_too_long_is_cut_at_its_deepest_pause(self) -> None:
        level_G = np.full(4_000, -20.0, np.float32)
        level_G[2_230:2_260] = -45.0  # 22.30 to 22.60 s
        level_G[1_000:1_060] = -60.0  # deeper, but the piece before it would be short
        assert utterances([(0, 40_000)], 40_000, level_G, BOUNDS) == [(0, 22_450), (22_450, 40_000)]

    def test_a_stretch_without_any_pause_is_cut_all_the_same(self) -> None:
        got = utterances([(0, 100_000)], 100_000, np.full(10_000, -20.0, np.float32), BOUNDS)
        assert sum(b - a for a, b in got) == 100_000
        assert max(b - a for a, b in got) <= 30_000

    def test_pauses_part_utterances_and_shorter_silences_do_not(self) -> None:
        level_G = np.full(1_000, -20.0, np.float32)
        assert utterances([(1_000, 2_000), (2_500, 4_000), (4_600, 7_000)], 10_000, level_G, BOUNDS) == [
            (850, 4_150), (4_450, 7_150),
        ]  # fmt: skip

    def test_what_is_too_short_takes_silence_around_it_or_its_neighbour(self) -> None:
        level_G = np.full(1_000, -20.0, np.float32)
        assert utterances([(5_000, 5_200)], 10_000, level_G, BOUNDS) == [(4_600, 5_600)]
        tight = Bounds(1_000, 30_000, 100, 0, 0)
        assert utterances([(0, 3_000), (3_150, 3_300), (3_500, 9_000)], 9_000, level_G, tight) == [
            (0, 3_300),
            (3_500, 9_000),
        ]

    def test_a_recording_shorter_than_any_utterance_is_one_out_of_bounds(self) -> None:
        assert utterances([(100, 300)], 500, np.full(50, -20.0, np.float32), BOUNDS) == [(0, 500)]


@given(st.lists(st.floats(-90, 0), max_size=40), st.integers(0, 5))
def test_smoothing_is_the_mean_of_those_around(levels: list[float], half: int) -> None:
    got = smoothed(np.array(levels), 2 * half + 1)
    for i, value in enumerate(got):
        assert value == pytest.approx(np.mean(levels[max(i - half, 0) : i + half + 1]), abs=1e-6)


def test_settings_that_cannot_be_met_are_refused() -> None:
    for wrong in ({"max_seconds": 1.5}, {"detector": {"name": "energy", "onset_db": 3, "offset_db": 6}},
                  {"detector": {"name": "silero", "onset": 0.2, "offset": 0.6}}, {"detector": {"name": "nobody"}}):  # fmt: skip
        with pytest.raises(ValueError, match=r"twice|ends? before|over|does not match"):
            SegmentSettings.model_validate(wrong)
