"""Sound in windows: what is heard piece by piece is what decoding the whole gives, in memory that does not grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from manifests.audio.decode import Span, decode
from manifests.audio.probe import Unreadable
from manifests.audio.windows import listen
from tests.manifests.sounds import LIMITS, encode, encode_av, speech_then_silence, untagged_mp3, voice
from tests.memory import peak_of


class Keeper:
    """Keeps all that it hears."""

    def __init__(self, rate: int, channels: int) -> None:
        self.rate, self.pieces, self.longest = rate, [np.zeros((channels, 0), np.float32)], 0

    def hear(self, piece_CT: np.ndarray) -> None:
        self.pieces.append(piece_CT.copy())
        self.longest = max(self.longest, piece_CT.size)


def kept(data: bytes | Path, window: int, span: Span | None = None) -> tuple[np.ndarray, int]:
    """(all that was heard, samples of the longest window)."""
    heard = listen(data, Keeper, 600, span, window)
    return np.concatenate(heard.listener.pieces, axis=1), heard.listener.longest


def sounds() -> dict[str, bytes]:
    both_CT = np.stack([voice(1.7, 22_050), voice(1.7, 22_050, 1)])
    return {
        **{kind: encode(both_CT, 22_050, kind) for kind in ("wav", "flac", "ogg", "mp3", "aiff")},
        "m4a": encode_av(both_CT, 22_050, "ipod", "aac"),
        "flac that counts too few": short_flac(both_CT),
    }


def short_flac(wave_CT: np.ndarray) -> bytes:
    """A FLAC whose header counts half of its samples, as a concatenated one does."""
    data = bytearray(encode(wave_CT, 22_050, "flac"))
    data[21] &= 0xF0
    data[22:26] = (wave_CT.shape[1] // 2).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("window", [64, 999, 1 << 16, 1 << 20])
@pytest.mark.parametrize("kind", sorted(sounds()))
def test_windows_together_are_what_decoding_gives(kind: str, window: int) -> None:
    data = sounds()[kind]
    span = Span(0, 400 / 22_050) if window == 64 and kind != "flac that counts too few" else None
    whole_CT = decode(data, LIMITS, span).wave_CT
    got_CT, longest = kept(data, window, span)
    assert got_CT.shape == whole_CT.shape
    assert np.allclose(got_CT, whole_CT, rtol=0, atol=1e-7 if kind == "mp3" else 0)
    assert longest <= window


def test_a_part_is_heard_as_it_is_decoded() -> None:
    data = sounds()["flac"]
    for span in (Span(0.25, 0.5), Span(1.0, None), Span(1.6, 3.0)):
        assert np.array_equal(kept(data, 999, span)[0], decode(data, LIMITS, span).wave_CT)


@pytest.mark.parametrize("kind", ["untagged mp3", "mp3", "ogg", "opus"])
def test_what_goes_on_where_libsndfile_stops_is_heard_to_its_end(kind: str) -> None:
    data = untagged_mp3(speech_then_silence()) if kind == "untagged mp3" else 2 * encode(voice(17.5), kind=kind)
    for span in (None, Span(20.0, None), Span(28.0, 5.0)):
        decoded = decode(data, LIMITS, span)
        seconds = span.seconds if span and span.seconds else 35.0 - (span.start if span else 0.0)
        assert decoded.wave_CT.shape[1] / decoded.sample_rate == pytest.approx(seconds, abs=0.2)
        assert np.allclose(kept(data, 9_999, span)[0], decoded.wave_CT, rtol=0, atol=1e-6)


def test_what_was_promised_and_how_it_ended_is_known_as_of_a_decode(tmp_path: Path) -> None:
    cut = encode(voice(2.0))[:32_000]
    heard, decoded = listen(cut, Keeper, 600).decoded, decode(cut, LIMITS)
    assert heard.wave_CT.shape == decoded.wave_CT.shape
    assert (heard.declared_frames, heard.broken_off, heard.sample_rate) == (
        decoded.declared_frames, decoded.broken_off, decoded.sample_rate,
    )  # fmt: skip


def test_more_than_the_limit_is_refused_before_it_is_heard() -> None:
    with pytest.raises(Unreadable, match=r"more than segment\.max_recording_seconds = 1") as caught:
        listen(encode(voice(3.0)), Keeper, 1.0, window=4_000)
    assert caught.value.reason == "too_long"
    with pytest.raises(Unreadable):
        listen(b"RIFF and nothing", Keeper, 1.0)


def test_an_hour_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    class Deaf(Keeper):
        def hear(self, piece_CT: np.ndarray) -> None:
            self.longest += piece_CT.shape[1]

    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(np.zeros(8_000 * 60, np.int16))
    heard, peak = peak_of(lambda: listen(path, Deaf, 10_000, window=1 << 16))
    assert heard.listener.longest == 3_600 * 8_000
    assert peak < 4 << 20
