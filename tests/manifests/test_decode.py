"""Decoding: what comes out, and that no file makes more come out than the limits allow."""

from __future__ import annotations

import errno
import gc
import io
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.audio.decode import Decoded, DecodeLimits, Span, _part, decode
from manifests.audio.probe import Unreadable
from tests.manifests.sounds import (
    LIMITS,
    SOUNDFILE,
    correlation,
    encode,
    encode_av,
    speech_then_silence,
    untagged_mp3,
    voice,
)
from tests.memory import peak_of

STEREO_CT = np.stack([voice(2.0), voice(2.0, seed=1)])
EXACT = [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("flac", "PCM_24")]
WHOLE = {pair: decode(encode(STEREO_CT, kind=pair[0], subtype=pair[1]), LIMITS).wave_CT for pair in EXACT}


def refused(data: bytes | Path, limits: DecodeLimits = LIMITS, span: Span | None = None) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        decode(data, limits, span)
    assert "\n" not in caught.value.message
    return caught.value


def same(a: Decoded, b: Decoded) -> bool:
    facts = [(d.sample_rate, d.declared_frames, d.decoder, d.broken_off) for d in (a, b)]
    return facts[0] == facts[1] and np.array_equal(a.wave_CT, b.wave_CT)


@pytest.mark.parametrize(
    ("kind", "subtype", "step"),
    [
        ("wav", "PCM_U8", 2**-7), ("wav", "PCM_16", 2**-15), ("wav", "PCM_24", 2**-23), ("wav", "PCM_32", 2**-23),
        ("wav", "FLOAT", 2**-23), ("wav", "DOUBLE", 2**-23), ("wav", "ALAW", 2**-5), ("wav", "ULAW", 2**-5),
        ("flac", "PCM_S8", 2**-7), ("flac", "PCM_16", 2**-15), ("flac", "PCM_24", 2**-23), ("aiff", "PCM_16", 2**-15),
        ("sph", "PCM_16", 2**-15), ("rf64", "PCM_16", 2**-15),
    ],
)  # fmt: skip
def test_every_bit_depth_comes_back_at_full_scale_one(kind: str, subtype: str, step: float) -> None:
    found = decode(encode(STEREO_CT, kind=kind, subtype=subtype), LIMITS)
    assert found.wave_CT.dtype == np.float32
    assert found.wave_CT.shape == STEREO_CT.shape
    assert np.abs(found.wave_CT - STEREO_CT).max() <= step
    assert found.declared_frames == STEREO_CT.shape[1]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_every_rate_comes_back_as_it_was(rate: int) -> None:
    wave_T = voice(0.5, rate)
    found = decode(encode(wave_T, rate), LIMITS)
    assert found.sample_rate == rate
    assert found.wave_CT.shape == (1, len(wave_T))


@pytest.mark.parametrize("kind", ["ogg", "opus", "mp3"])
def test_lossy_formats_sound_like_what_went_in(kind: str) -> None:
    found = decode(encode(STEREO_CT, kind=kind), LIMITS)
    assert found.decoder == "soundfile"
    assert all(correlation(STEREO_CT[c], found.wave_CT[c]) > 0.9 for c in range(2))


@pytest.mark.parametrize(
    ("container", "codec"), [("ipod", "aac"), ("webm", "libopus"), ("adts", "aac"), ("asf", "wmav2")]
)
def test_what_libsndfile_does_not_read_ffmpeg_does(container: str, codec: str) -> None:
    wave_CT = np.stack([voice(2.0, 48_000), voice(2.0, 48_000, seed=1)])
    found = decode(encode_av(wave_CT, 48_000, container, codec), LIMITS)
    assert (found.decoder, found.sample_rate, len(found.wave_CT)) == ("pyav", 48_000, 2)
    assert found.wave_CT.shape[1] == pytest.approx(96_000, abs=4_800)
    assert all(correlation(wave_CT[c, ::3], found.wave_CT[c, ::3]) > 0.9 for c in range(2))


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_ffmpegs_sample_formats_are_all_brought_to_full_scale_one(codec: str) -> None:
    found = decode(encode_av(STEREO_CT, 16_000, "matroska", codec), LIMITS)
    assert found.decoder == "pyav"
    assert np.abs(found.wave_CT - STEREO_CT).max() <= (2**-6 if codec == "pcm_u8" else 2**-14)


class FailingDisk(io.BytesIO):
    """A file that ends with an error where it was to go on."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 8_000:
            raise OSError(errno.EIO, "the disk fails")
        return super().read(size)


@pytest.mark.parametrize(("kind", "subtype"), [("wav", "PCM_16"), ("flac", "PCM_16"), ("mp3", "MPEG_LAYER_III")])
def test_a_disk_that_fails_midway_is_no_end_of_the_file_and_no_fault_of_the_sound(
    kind: str, subtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(data := encode(voice(4.0), kind=kind, subtype=subtype))
    monkeypatch.setattr(Path, "open", lambda *_: FailingDisk(data))
    with pytest.raises(OSError, match="the disk fails"):
        decode(tmp_path / "a", LIMITS)


def test_of_several_audio_streams_the_first_is_taken() -> None:
    one = decode(encode_av(STEREO_CT, 16_000, "matroska", "pcm_s16le"), LIMITS)
    two = decode(encode_av(STEREO_CT, 16_000, "matroska", "pcm_s16le", streams=2), LIMITS)
    assert np.array_equal(one.wave_CT, two.wave_CT)


@pytest.mark.parametrize("kind", [*SOUNDFILE, "m4a"])
@pytest.mark.parametrize("span", [None, Span(0.5, 0.7), Span(1.5, None)])
def test_bytes_and_path_are_decoded_alike_and_always_alike(kind: str, span: Span | None, tmp_path: Path) -> None:
    data = encode_av(STEREO_CT, 16_000, "ipod", "aac") if kind == "m4a" else encode(STEREO_CT, kind=kind)
    path = tmp_path / "sound.raw"
    path.write_bytes(data)
    assert same(decode(data, LIMITS, span), decode(path, LIMITS, span))
    assert same(decode(data, LIMITS, span), decode(data, LIMITS, span))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EXACT), st.floats(0, 2.2), st.one_of(st.none(), st.floats(0, 2.2)))
def test_a_span_is_a_slice_of_the_whole(pair: tuple[str, str], start: float, seconds: float | None) -> None:
    data = encode(STEREO_CT, kind=pair[0], subtype=pair[1])
    first = round(start * 16_000)
    end = None if seconds is None else round((start + seconds) * 16_000)
    found = decode(data, LIMITS, Span(start, seconds))
    assert np.array_equal(found.wave_CT, WHOLE[pair][:, first:end])


@pytest.mark.parametrize("kind", ["ogg", "mp3", "opus", "m4a"])
def test_a_span_of_a_lossy_file_is_nearly_a_slice_of_the_whole(kind: str) -> None:
    data = encode_av(STEREO_CT, 16_000, "ipod", "aac") if kind == "m4a" else encode(STEREO_CT, kind=kind)
    found, whole = decode(data, LIMITS, Span(0.75, 0.5)), decode(data, LIMITS)
    assert found.wave_CT.shape == (2, 8_000)
    assert np.abs(found.wave_CT - whole.wave_CT[:, 12_000:20_000]).max() < 1e-3


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000]),
    st.integers(0, 10**7),
    st.lists(st.integers(1, 10**5), min_size=2, max_size=8),
)
def test_spans_that_adjoin_share_no_sample_and_lose_none(rate: int, begin: int, lengths: list[int]) -> None:
    times = [round((begin + sum(lengths[:k])) / 1000, 6) for k in range(len(lengths) + 1)]
    parts = [_part(Span(a, round(b - a, 3)), rate) for a, b in pairwise(times)]
    for (first, count), (following, _) in pairwise(parts):
        assert count is not None
        assert first + count == following


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 999), st.integers(1, 999))
def test_parts_that_adjoin_are_together_the_whole(first: int, second: int) -> None:
    data = encode(wave_T := voice(2.0, 22_050), 22_050)
    a, b = first / 1000, (first + second) / 1000
    spans = [Span(0.0, a), Span(a, round(b - a, 3)), Span(b, None)]
    found_T = np.concatenate([decode(data, LIMITS, span).wave_CT[0] for span in spans])
    assert np.array_equal(found_T, decode(data, LIMITS).wave_CT[0])
    assert len(found_T) == len(wave_T)


def test_a_span_that_reaches_past_the_end_promises_more_than_comes() -> None:
    found = decode(encode(STEREO_CT), LIMITS, Span(1.0, 5.0))
    assert (found.wave_CT.shape[1], found.declared_frames) == (16_000, 80_000)


@pytest.mark.parametrize("kind", ["wav", "aiff", "au", "rf64", "w64", "sph"])
def test_half_an_uncompressed_file_decodes_short_and_its_promise_tells(kind: str) -> None:
    data = encode(voice(4.0), kind=kind)
    found = decode(data[: len(data) // 2], LIMITS)
    assert found.declared_frames == 64_000
    assert 30_000 < found.wave_CT.shape[1] < 33_000


def test_half_an_mp3_decodes_short_and_its_tag_tells() -> None:
    data = encode(voice(4.0), kind="mp3")
    found = decode(data[: len(data) // 2], LIMITS)
    assert found.declared_frames == 64_000
    assert found.wave_CT.shape[1] < 40_000


def test_an_mp3_without_a_length_tag_promises_nothing() -> None:
    data = encode(voice(4.0), kind="mp3")
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    assert decode(data[:tag] + b"none" + data[tag + 4 :], LIMITS).declared_frames is None


@pytest.mark.parametrize("kind", ["ogg", "opus"])
@pytest.mark.parametrize("share", [0.5, 0.75, 0.99])
def test_an_ogg_cut_within_a_page_is_known_to_break_off(kind: str, share: float) -> None:
    data = encode(voice(8.0), kind=kind)
    assert not decode(data, LIMITS).broken_off
    assert decode(data[: int(len(data) * share)], LIMITS).broken_off
    assert not decode(data[: int(len(data) * share)], LIMITS, Span(0.0, 0.2)).broken_off


def test_half_a_flac_breaks_off_with_an_error_that_names_both_decoders() -> None:
    data = encode(voice(4.0), kind="flac")
    error = refused(data[: len(data) // 2])
    assert error.reason == "decode_failed"
    assert "libsndfile" in error.message
    assert "FFmpeg" in error.message
    assert decode(data[: len(data) // 2], LIMITS, Span(0.0, 1.0)).wave_CT.shape[1] == 16_000


def test_a_header_that_understates_hides_no_sound() -> None:
    data = bytearray(encode(voice(30.0), kind="flac"))
    data[22:26] = (16_000).to_bytes(4, "big")  # STREAMINFO: the low 32 bits of the number of samples
    found = decode(bytes(data), LIMITS)
    assert (found.declared_frames, found.wave_CT.shape[1], found.decoder) == (16_000, 480_000, "pyav")


LONGER: dict[str, Callable[[], bytes]] = {
    "an MP3 of variable bit rate without a length": lambda: untagged_mp3(speech_then_silence()),
    **{
        f"joined {kind}": lambda kind=kind: b"".join(encode(voice(17.5, seed=k), kind=kind) for k in (1, 2))
        for kind in ("mp3", "ogg", "opus")
    },
}
"""Files of 35 s whose sound goes on where libsndfile stops."""


def heard_to_the_end(found: Decoded, seconds: float) -> bool:
    """Whether it is so long, 0.2 s more or less, and loud at its end."""
    frames = found.wave_CT.shape[1]
    last_T = found.wave_CT[0, -found.sample_rate :]
    return abs(frames / found.sample_rate - seconds) < 0.2 and float(np.sqrt(np.mean(last_T**2))) > 0.05


@pytest.mark.parametrize("kind", LONGER)
def test_sound_behind_the_place_where_libsndfile_stops_is_decoded(kind: str) -> None:
    found = decode(LONGER[kind](), LIMITS)
    assert heard_to_the_end(found, 35.0)
    assert found.declared_frames is None


@pytest.mark.parametrize("start", [15.0, 28.0])
@pytest.mark.parametrize("kind", LONGER)
def test_spans_behind_that_place_are_found_and_those_across_it_whole(kind: str, start: float) -> None:
    data = LONGER[kind]()
    whole = decode(data, LIMITS)
    for span in (Span(start, 35.0 - start), Span(start, None)):
        found = decode(data, LIMITS, span)
        assert heard_to_the_end(found, 35.0 - start)
        first = round(start * found.sample_rate)
        slice_T = whole.wave_CT[0, first : first + found.wave_CT.shape[1]]
        assert np.abs(found.wave_CT[0] - slice_T).max() < 1e-3
    assert decode(data, LIMITS, Span(60.0, 5.0)).wave_CT.shape[1] == 0


def test_a_span_of_a_flac_whose_header_understates_is_found() -> None:
    data = bytearray(encode(voice(30.0), kind="flac"))
    data[22:26] = (16_000).to_bytes(4, "big")
    assert decode(bytes(data), LIMITS, Span(20.0, 5.0)).wave_CT.shape[1] == 80_000


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_joined_oggs_cut_within_a_page_are_known_to_break_off(kind: str) -> None:
    data = 2 * encode(voice(8.0), kind=kind)
    assert not decode(data, LIMITS).broken_off
    assert decode(data[:-100], LIMITS).broken_off
    assert not decode(data[:-100], LIMITS, Span(9.0, 1.0)).broken_off


def ape_tag(size: int) -> bytes:
    """An APE tag with a picture of so many bytes."""
    item = size.to_bytes(4, "little") + bytes(4) + b"Cover\0" + bytes(range(1, 251)) * (size // 250)
    head = b"APETAGEX" + b"".join(n.to_bytes(4, "little") for n in (2000, len(item) + 32, 1))
    return (
        head + (0xA0000000).to_bytes(4, "little") + bytes(8) + item + head + (1 << 31).to_bytes(4, "little") + bytes(8)
    )


@pytest.mark.parametrize(
    "tail", [b"TAG" + bytes(125), ape_tag(100_000), ape_tag(100_000) + b"TAG" + bytes(125), bytes(5_000)]
)
@pytest.mark.parametrize("span", [None, Span(3.0, 2.0), Span(3.0, None)])
def test_tags_and_padding_at_the_end_of_an_mp3_are_no_sound(tail: bytes, span: Span | None) -> None:
    data = encode(voice(4.0), kind="mp3")
    assert same(decode(data + tail, LIMITS, span), decode(data, LIMITS, span))


def test_a_wav_whose_recorder_died_before_writing_sizes_is_read_to_its_end() -> None:
    data = encode(voice(4.0))
    found = decode(data[:40] + bytes(4) + data[44:], LIMITS)
    assert (found.wave_CT.shape[1], found.declared_frames) == (64_000, None)


def test_a_stream_that_changes_its_channels_is_refused() -> None:
    mono, stereo = encode(voice(4.0), kind="flac"), encode(STEREO_CT, kind="flac")
    open_ended = mono[:21] + bytes([mono[21] & 0xF0]) + bytes(4) + mono[26:]  # no number of samples: it goes on
    second = stereo[stereo.rindex(b"\xff\xf8", 0, 20_000) :]
    error = refused(open_ended + second)
    assert error.reason == "changing_format"
    assert "from 1 channels at 16000 Hz to 2 at 16000 Hz" in error.message


def test_limits_are_exact() -> None:
    data = encode(voice(1.0))
    assert decode(data, DecodeLimits(1.0, 1e9)).wave_CT.shape[1] == 16_000
    assert decode(data, DecodeLimits(60, 64_000)).wave_CT.shape[1] == 16_000
    assert refused(data, DecodeLimits(0.9999, 1e9)).reason == "too_long"
    assert refused(data, DecodeLimits(60, 63_999)).reason == "too_long"


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "m4a"])
def test_limits_count_the_part_that_is_asked_for(kind: str) -> None:
    wave_CT = voice(8.0)[None]
    data = encode_av(wave_CT, 16_000, "ipod", "aac") if kind == "m4a" else encode(wave_CT, kind=kind)
    small = DecodeLimits(1.0, 1e9)
    assert decode(data, small, Span(6.0, 1.0)).wave_CT.shape[1] == 16_000
    assert refused(data, small, Span(6.0, None)).reason == "too_long"
    assert refused(data, small).reason == "too_long"


def bomb(kind: str, seconds: int) -> bytes:
    """Silence, small as a file."""
    silence_CT = np.zeros((1, seconds * 16_000), np.float32)
    return encode_av(silence_CT, 16_000, "ipod", "aac") if kind == "m4a" else encode(silence_CT, kind=kind)


@pytest.mark.parametrize(
    ("kind", "seconds", "liar"), [("flac", 3600, False), ("flac", 3600, True), ("m4a", 600, False)]
)
def test_hours_of_silence_under_a_limit_of_a_minute_cost_a_minute_of_memory(
    kind: str, seconds: int, liar: bool
) -> None:
    data = bomb(kind, seconds)
    if liar:  # STREAMINFO: it says three seconds
        data = data[:21] + bytes([data[21] & 0xF0]) + (48_000).to_bytes(4, "big") + data[26:]
    limits = DecodeLimits(60, 1e9) if not liar else DecodeLimits(1e9, 60 * 16_000 * 4)
    error, peak = peak_of(lambda: refused(data, limits))
    assert error.reason == "too_long"
    assert "60 s" in error.message
    assert peak < 3 * 60 * 16_000 * 4


def test_a_header_that_promises_hours_takes_no_memory_for_them() -> None:
    data = encode(voice(1.0))
    lying = data[:40] + (0x7FF00000).to_bytes(4, "little") + data[44:]
    assert decode(lying, DecodeLimits(1e6, 1e12)).wave_CT.shape[1] == 16_000
    longer = data[:40] + (0x70000000).to_bytes(4, "little") + data[44:]
    found, peak = peak_of(lambda: decode(longer, DecodeLimits(1e6, 1e12)))
    assert found.declared_frames == pytest.approx(0x70000000 // 2, abs=4)
    assert peak < 80 * 2**20


def test_a_file_that_both_libraries_give_up_leaves_no_memory_behind() -> None:
    whole = encode(voice(60.0), kind="flac")
    half = whole[: len(whole) // 2]
    held: list[int] = []
    gc.disable()
    try:
        for _ in range(2):  # the less of two counts: a process grows once for reasons of its own
            tracemalloc.start()
            for _ in range(4):
                assert refused(half).reason == "decode_failed"
            held.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert min(held) < 2**20


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(["wav", "flac", "ogg", "mp3", "opus"]), st.integers(0, 2**31), st.integers(0, 255), st.floats(0, 1)
)
def test_no_flipped_byte_or_cut_gives_anything_but_sound_or_a_reason(
    kind: str, at: int, value: int, kept: float
) -> None:
    data = bytearray(encode(voice(0.6), kind=kind))
    data[at % len(data)] = value
    cut = bytes(data[: max(int(len(data) * kept), 1)]) if kept < 0.5 else bytes(data)
    assert ending(cut) in {
        "sound",
        "not_audio",
        "decode_failed",
        "changing_format",
        "bad_header",
        "too_long",
        "no_audio",
    }


def ending(data: bytes) -> str:
    try:
        found = decode(data, DecodeLimits(60, 2**26))
    except Unreadable as error:
        return error.reason
    return "sound" if found.wave_CT.nbytes <= 2**26 else "too much sound"
