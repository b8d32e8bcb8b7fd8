"""The cleaning rules: what passes, what does not and why, and what passing does to sound."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from manifests.audio.decode import Decoded, Span, decode
from manifests.fingerprint import content_hash
from manifests.settings.clean import CleanSettings
from pipelines.stages.s40_clean import REASONS, Clean, Dropped, clean, clipped_share, levels
from tests.manifests.sounds import LIMITS, encode, voice

RATE = 16_000
USUAL = CleanSettings()
AS_RECORDED = CleanSettings(trim=False, normalise_db=None, min_seconds=0, max_silence=1, max_clipped=1)


def stored(wave: np.ndarray, rate: int = RATE, declared: int | None = None, broken_off: bool = False) -> Decoded:
    return Decoded(np.atleast_2d(wave).astype(np.float32), rate, declared, "soundfile", broken_off)


def passed(decoded: Decoded, s: CleanSettings = USUAL, rate: int = RATE, channel: int | None = None) -> Clean:
    result = clean(decoded, s, rate, channel)
    assert isinstance(result, Clean), result
    return result


def dropped(decoded: Decoded, s: CleanSettings = USUAL, channel: int | None = None) -> tuple[str, str]:
    result = clean(decoded, s, RATE, channel)
    assert isinstance(result, Dropped), "it passed"
    assert result.reason in REASONS
    assert any(digit in result.detail for digit in "0123456789") or result.reason == "no_samples"
    assert "\n" not in result.detail
    return result.status, result.reason


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


class TestWhatIsBroken:
    def test_no_samples(self) -> None:
        assert dropped(stored(np.zeros((2, 0)))) == ("quarantined", "no_samples")

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("count", [1, 2, 1000])
    def test_samples_that_are_no_numbers(self, bad: float, count: int) -> None:
        wave_T = voice(1.0)
        wave_T[5000 : 5000 + count] = bad
        assert dropped(stored(wave_T)) == ("quarantined", "not_finite")
        assert dropped(decode(encode(wave_T, subtype="FLOAT"), LIMITS)) == ("quarantined", "not_finite")

    def test_both_infinities_at_once(self) -> None:
        wave_T = voice(1.0)
        wave_T[10], wave_T[20] = np.inf, -np.inf
        assert dropped(stored(wave_T)) == ("quarantined", "not_finite")

    def test_sound_shorter_than_promised(self) -> None:
        wave_T = voice(2.0)
        assert dropped(stored(wave_T, declared=40_001)) == ("quarantined", "truncated")
        assert passed(stored(wave_T, declared=40_000))

    def test_sound_longer_than_promised(self) -> None:
        wave_T = voice(2.0)
        assert dropped(stored(wave_T, declared=23_999)) == ("quarantined", "length_mismatch")
        assert passed(stored(wave_T, declared=24_000))

    def test_sound_that_promises_nothing_breaks_no_promise(self) -> None:
        assert passed(stored(voice(2.0), declared=None))

    def test_a_file_that_ends_inside_a_page_even_where_the_length_tells_nothing(self) -> None:
        assert dropped(stored(voice(2.0), broken_off=True)) == ("quarantined", "truncated")

    @pytest.mark.parametrize("kind", ["wav", "ogg", "opus", "mp3", "aiff", "sph", "rf64", "w64", "au"])
    def test_half_a_file_of_any_format(self, kind: str) -> None:
        data = encode(voice(4.0), kind=kind)
        assert dropped(decode(data[: len(data) // 2], LIMITS)) == ("quarantined", "truncated")
        assert passed(decode(data, LIMITS))

    def test_a_segment_that_reaches_past_its_recording(self) -> None:
        data = encode(voice(3.0))
        assert dropped(decode(data, LIMITS, Span(2.0, 2.0))) == ("quarantined", "truncated")
        assert passed(decode(data, LIMITS, Span(2.0, 1.2)))
        assert dropped(decode(data, LIMITS, Span(5.0, 1.0))) == ("quarantined", "no_samples")

    def test_a_channel_that_is_not_there(self) -> None:
        stereo = stored(np.stack([voice(1.0)] * 2))
        assert dropped(stereo, CleanSettings(channel=2)) == ("quarantined", "no_such_channel")
        assert dropped(stereo, channel=2) == ("quarantined", "no_such_channel")


class TestWhatIsUnwanted:
    def test_low_rates(self) -> None:
        assert dropped(stored(voice(1.0, 4_000), 4_000)) == ("filtered", "low_rate")
        assert passed(stored(voice(1.0, 8_000), 8_000))

    @pytest.mark.parametrize("seconds", [1 / RATE, 0.001, 0.01, 0.29])
    def test_short_sound(self, seconds: float) -> None:
        assert dropped(stored(voice(seconds))) == ("filtered", "too_short")

    def test_sound_that_is_short_once_trimmed(self) -> None:
        wave_T = np.concatenate([silence(1), voice(0.05), silence(1)])
        assert dropped(stored(wave_T)) == ("filtered", "too_short")
        assert passed(stored(wave_T), CleanSettings(min_seconds=0.1))

    def test_long_sound(self) -> None:
        assert dropped(stored(voice(3.0)), CleanSettings(max_seconds=2.9)) == ("filtered", "too_long_utterance")

    @pytest.mark.parametrize("level", [0.0, 0.5, -1.0, 1e-5])
    def test_silence_also_with_an_offset(self, level: float) -> None:
        assert dropped(stored(silence(2.0) + level), CleanSettings(max_clipped=1)) == ("filtered", "silent")

    def test_mostly_silence(self) -> None:
        wave_T = np.concatenate([voice(0.3), silence(3), voice(0.3)])
        assert dropped(stored(wave_T)) == ("filtered", "silent")
        assert passed(stored(wave_T), CleanSettings(max_silence=0.9))

    def test_clipping(self) -> None:
        assert dropped(stored((voice(2.0) * 6).clip(-1, 1))) == ("filtered", "clipped")
        assert dropped(decode(encode((voice(2.0) * 6).clip(-1, 1)), LIMITS)) == ("filtered", "clipped")

    def test_quiet_and_loud_sound(self) -> None:
        assert dropped(stored(voice(1.0, peak=0.002)), CleanSettings(min_loudness_db=-60)) == ("filtered", "too_quiet")
        square_T = np.where(np.sin(np.arange(RATE) / 20) > 0, 0.9, -0.9)
        assert dropped(stored(square_T)) == ("filtered", "too_loud")

    def test_a_detail_says_the_number_and_the_setting(self) -> None:
        result = clean(stored(voice(0.12)), USUAL, RATE)
        assert result == Dropped("filtered", "too_short", "0.12 s is under clean.min_seconds = 0.3")


class TestClipping:
    def test_sound_normalised_to_its_peak_is_not_clipped(self) -> None:
        for hertz in (60, 100, 440, 3000):
            tone_T = np.sin(2 * np.pi * hertz * np.arange(48_000) / 48_000)
            pcm_T = np.rint(tone_T * 32767) / 32768
            assert clipped_share(pcm_T[None].astype(np.float32)) < 0.001

    def test_plateaus_just_under_full_scale_are_clipped(self) -> None:
        for top in (1.0, 0.9999, 0.985):
            wave_T = (voice(1.0) * 6).clip(-1, 1) * top
            assert clipped_share(wave_T[None]) > 0.1

    def test_floats_beyond_full_scale_are_clipped(self) -> None:
        assert clipped_share(voice(1.0, peak=6.0)[None]) > 0.1

    def test_two_samples_are_no_plateau_and_three_are(self) -> None:
        wave_T = np.zeros(100, np.float32)
        wave_T[10:12] = wave_T[20:22] = 1.0
        wave_T[22:24] = -1.0
        assert clipped_share(wave_T[None]) == 0.0
        wave_T[12] = 1.0
        assert clipped_share(wave_T[None]) == 0.03

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.sampled_from([0.0, 0.5, 0.98, 0.99, 1.0, -1.0, 2.0]), max_size=40))
    def test_it_counts_what_a_loop_counts(self, values: list[float]) -> None:
        wave_T, count, i = np.array(values, np.float32), 0, 0
        held = np.clip(wave_T, -32767 / 32768, 32767 / 32768)
        while i < len(values):
            j = i
            while j < len(values) and held[j] == held[i]:
                j += 1
            if abs(wave_T[i]) >= np.float32(0.98) and j - i >= 3:
                count += j - i
            i = j
        assert clipped_share(wave_T[None]) == (count / len(values) if values else 0.0)


class TestChannels:
    left_T, right_T = voice(1.0), voice(1.0, seed=1)[::-1].copy()

    def one(self, s: CleanSettings, channel: int | None = None) -> np.ndarray:
        return passed(stored(np.stack([self.left_T, self.right_T])), s, channel=channel).wave_T

    def test_the_recipe_takes_one_or_the_mean(self) -> None:
        for choice, wave_T in ((0, self.left_T), (1, self.right_T), ("mix", (self.left_T + self.right_T) / 2)):
            found_T = self.one(AS_RECORDED.model_copy(update={"channel": choice}))
            assert np.abs(found_T - (wave_T - wave_T.mean())).max() <= 2**-15

    def test_the_channel_of_a_cut_comes_first(self) -> None:
        for recipe in ("mix", 0):
            found_T = self.one(AS_RECORDED.model_copy(update={"channel": recipe}), channel=1)
            assert np.abs(found_T - (self.right_T - self.right_T.mean())).max() <= 2**-15

    def test_of_a_mono_recording_there_is_nothing_to_choose(self) -> None:
        assert passed(stored(self.left_T), CleanSettings(channel=1), channel=1)

    @pytest.mark.parametrize("spoilt", [np.full(RATE, np.nan), (voice(1.0) * 20).clip(-1, 1)])
    def test_a_channel_that_is_not_used_spoils_nothing(self, spoilt: np.ndarray) -> None:
        both = stored(np.stack([self.left_T, spoilt]))
        assert passed(both, channel=0).facts.clipped == 0
        assert isinstance(clean(both, USUAL, RATE), Dropped)

    @pytest.mark.parametrize("other", [-1.0, -0.95])
    @pytest.mark.parametrize("offset", [0.0, 0.2])
    def test_channels_that_cancel_each_other_out_are_told_from_a_silent_recording(
        self, other: float, offset: float
    ) -> None:
        s = CleanSettings(min_loudness_db=-40)
        inverted = clean(stored(np.stack([self.left_T * 0.3, self.left_T * 0.3 * other]) + offset), s, RATE)
        assert isinstance(inverted, Dropped)
        assert inverted.reason in ("silent", "too_quiet")
        assert inverted.detail.endswith(
            "; its channels cancel each other out when mixed: choose one with clean.channel"
        )
        for wave_CT in (np.zeros((2, RATE)), np.stack([self.left_T, self.right_T]) * 1e-3):
            quiet = clean(stored(wave_CT), s, RATE)
            assert isinstance(quiet, Dropped)
            assert "cancel" not in quiet.detail

    def test_a_transposed_view_is_as_good_as_an_array(self) -> None:
        wave_CT = np.stack([self.left_T, self.right_T])
        view = Decoded(np.ascontiguousarray(wave_CT.T).T, RATE, None, "soundfile")
        for choice in ("mix", 0, 1):
            s = CleanSettings(channel=choice)
            assert passed(view, s).facts == passed(stored(wave_CT), s).facts


class TestWhatComesOut:
    def test_sound_as_recorded_changes_by_its_offset_and_rounding_only(self) -> None:
        wave_T = voice(1.0) + np.float32(0.1)
        found_T = passed(stored(wave_T), AS_RECORDED).wave_T
        assert np.abs(found_T - (wave_T - wave_T.mean())).max() <= 2**-15

    @pytest.mark.parametrize("db", [-30.0, -23.0])
    def test_loudness_is_what_the_recipe_says(self, db: float) -> None:
        for peak in (0.01, 0.1, 0.7):
            result = passed(stored(voice(2.0, peak=peak)), CleanSettings(normalise_db=db))
            assert 20 * np.log10(np.sqrt((result.wave_T**2).mean())) == pytest.approx(db, abs=0.2)

    def test_no_gain_makes_a_peak_clip(self) -> None:
        wave_T = voice(2.0, peak=0.01)
        wave_T[9000] = 0.5
        result = passed(stored(wave_T), CleanSettings(normalise_db=-6))
        assert np.abs(result.wave_T).max() == pytest.approx(0.999, abs=1e-3)

    def test_the_hash_is_of_the_int16_samples_that_come_out(self) -> None:
        result = passed(stored(voice(1.0)))
        pcm_T = (result.wave_T * 32768).astype(np.int16)
        assert np.array_equal(pcm_T / np.float32(32768), result.wave_T)
        assert result.facts.pcm_hash == content_hash(pcm_T.tobytes())

    def test_the_facts_are_json_and_add_up(self) -> None:
        wave_T = np.concatenate([silence(1.0), voice(2.0), silence(0.5)])
        facts = passed(stored(np.stack([wave_T, wave_T]))).facts
        assert json.loads(json.dumps(facts.to_json(), allow_nan=False)) == facts.to_json()
        assert (facts.source_rate, facts.channels, facts.seconds_in) == (RATE, 2, 3.5)
        assert facts.trim_start + facts.seconds_out + facts.trim_end == pytest.approx(facts.seconds_in, abs=1e-5)
        assert (facts.trim_start, facts.trim_end) == (pytest.approx(0.9, abs=0.021), pytest.approx(0.4, abs=0.021))

    @settings(max_examples=40, deadline=None)
    @given(
        st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000]),
        st.sampled_from([8_000, 16_000, 24_000, 48_000]),
        st.floats(0.05, 2.0),
    )
    def test_the_length_is_the_ratio_of_the_rates(self, source: int, target: int, seconds: float) -> None:
        wave_T = voice(seconds, source)
        result = passed(stored(wave_T, source), AS_RECORDED, target)
        assert abs(len(result.wave_T) - len(wave_T) * target / source) <= 1
        assert result.wave_T.dtype == np.float32

    def test_resampling_is_soxrs_high_quality(self) -> None:
        wave_T = voice(1.0, 44_100)
        wanted_T = soxr.resample(wave_T, 44_100, RATE, quality="HQ")
        found_T = passed(stored(wave_T, 44_100), AS_RECORDED).wave_T
        assert np.abs(found_T - (wanted_T - wanted_T.mean())).max() <= 2**-15

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**31), st.sampled_from([8_000, 16_000, 44_100]), st.integers(1, 2))
    def test_cleaning_is_a_function_of_its_input(self, seed: int, rate: int, channels: int) -> None:
        wave_CT = np.stack([voice(0.7, rate, seed + c) for c in range(channels)])
        before_CT = wave_CT.copy()
        first, second = passed(stored(wave_CT, rate)), passed(stored(wave_CT.copy(), rate))
        assert np.array_equal(first.wave_T, second.wave_T)
        assert first.facts == second.facts
        assert np.array_equal(wave_CT, before_CT)


class TestTrimming:
    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.tuples(st.floats(0.01, 0.6), st.sampled_from([0.0, 1e-5, 0.003, 0.05, 0.5])), min_size=1, max_size=6
        ),
        st.sampled_from([0.0, 0.05, 0.1, 0.333]),
        st.sampled_from([-20.0, -50.0]),
    )
    def test_nothing_above_the_threshold_is_cut_off(
        self, parts: list[tuple[float, float]], keep: float, db: float
    ) -> None:
        wave_T = np.concatenate([voice(seconds, seed=i) * 2 * peak for i, (seconds, peak) in enumerate(parts)])
        s = AS_RECORDED.model_copy(update={"trim": True, "trim_keep": keep, "trim_db": db, "min_loudness_db": -200.0})
        result = clean(stored(wave_T), s, RATE)
        level_F = levels(wave_T - np.float32(wave_T.mean(dtype=np.float64)), RATE)
        if isinstance(result, Dropped):
            assert result.reason == "silent"
            assert level_F.max() < 10 ** (-69 / 20)
            return
        loud = np.flatnonzero(level_F > level_F.max() * 10 ** (db / 20) * 1.001)
        start, end = result.facts.trim_start * RATE, len(wave_T) - result.facts.trim_end * RATE
        assert start <= loud[0] * 320 + 0.01
        assert end >= min((loud[-1] + 1) * 320, len(wave_T)) - 0.01
        assert start <= max(loud[0] * 320 - keep * RATE, 0) + 1

    def test_turned_off_it_cuts_nothing(self) -> None:
        wave_T = np.concatenate([silence(1.0), voice(2.0), silence(1.0)])
        assert passed(stored(wave_T), CleanSettings(trim=False)).facts.seconds_out == 4.0


class TestSettings:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"channel": -1}, {"channel": "left"}, {"max_seconds": float("inf")}, {"trim_db": 0.0}, {"max_clipped": 1.5},
            {"min_seconds": 5, "max_seconds": 5}, {"min_loudness_db": 0.0}, {"normalise_db": 3.0}, {"sample_rate": 16_000},
        ],
    )  # fmt: skip
    def test_what_makes_no_sense_is_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            CleanSettings.model_validate(wrong)

    def test_every_setting_is_described(self) -> None:
        assert all(field.description for field in CleanSettings.model_fields.values())

    def test_every_reason_is_a_snake_case_code_with_a_meaning_of_one_line(self) -> None:
        assert all(code == code.lower() and code.isidentifier() for code in REASONS)
        assert all(meaning and "\n" not in meaning for meaning in REASONS.values())
