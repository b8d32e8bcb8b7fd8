"""The header of a sound file, and what is said of files that have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manifests.audio.probe import MAX_RATE, Unreadable, probe
from tests.corpora import corpus
from tests.manifests.sounds import SOUNDFILE, encode, encode_av, untagged_mp3, voice


def reason(data: bytes | Path) -> str:
    with pytest.raises(Unreadable) as caught:
        probe(data)
    assert "\n" not in caught.value.message
    return caught.value.reason


@pytest.mark.parametrize("kind", SOUNDFILE)
def test_the_header_says_rate_channels_length_and_format(kind: str) -> None:
    header = probe(encode(np.stack([voice(1.0), voice(1.0, seed=1)]), 16_000, kind))
    assert (header.sample_rate, header.channels) == (16_000, 2)
    assert header.seconds == pytest.approx(1.0, abs=0.15)
    assert (header.format, header.subtype) == SOUNDFILE[kind]


@pytest.mark.parametrize(
    ("container", "codec"), [("ipod", "aac"), ("adts", "aac"), ("webm", "libopus"), ("asf", "wmav2")]
)
def test_what_libsndfile_does_not_know_ffmpeg_does(container: str, codec: str) -> None:
    header = probe(encode_av(voice(1.0, 48_000)[None], 48_000, container, codec))
    assert (header.sample_rate, header.channels) == (48_000, 1)
    assert header.seconds == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("kind", ["wav", "aiff", "au", "rf64", "w64", "sph", "flac"])
def test_half_a_file_still_promises_its_whole_length(kind: str) -> None:
    data = encode(voice(4.0), kind=kind)
    assert probe(data[: len(data) // 2]).frames == 64_000


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_promises_what_is_there(size: int) -> None:
    data = encode(voice(1.0))
    assert probe(data[:40] + size.to_bytes(4, "little") + data[44:]).frames == 16_000


def test_bytes_and_path_give_the_same_header_whatever_the_name(tmp_path: Path) -> None:
    data = encode(voice(0.5))
    for name in ("a.wav", "a.raw", "a", "a.mp3", "concat:a"):
        (tmp_path / name).write_bytes(data)
        assert probe(tmp_path / name) == probe(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty_file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "lfs_pointer"),
        (b"  <!DOCTYPE html><html><body>404</body></html>", "not_audio"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not_audio"),
        (b"hello, this is a text file\n" * 50, "not_audio"),
        (bytes(5000), "not_audio"),
        (encode(voice(0.2))[:20], "not_audio"),
    ],
)
def test_what_is_no_sound_says_so(data: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(data)
    assert reason(data) == reason(tmp_path / "x.wav") == expected


def test_the_sentence_for_a_pointer_or_a_web_page_says_what_to_do() -> None:
    with pytest.raises(Unreadable, match="git lfs pull"):
        probe(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(Unreadable, match="download the file again"):
        probe(b"<html></html>")


def test_a_header_with_an_absurd_rate_is_refused() -> None:
    data = encode(voice(0.2))
    assert probe(data[:24] + MAX_RATE.to_bytes(4, "little") + data[28:]).sample_rate == MAX_RATE
    assert reason(data[:24] + (MAX_RATE + 1).to_bytes(4, "little") + data[28:]) == "bad_header"


def test_playlists_that_name_other_files_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(encode(voice(1.0)))
    for text in (
        f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {secret}\n",
    ):
        assert reason(text.encode()) == "not_audio"


def test_a_path_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "none.wav")


def test_libmpg123_is_kept_quiet_and_nobody_else(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    from manifests.audio.source import hushed

    probe(corpus("hostile") / "files/tinytag/vbr_xing_header_2channel.mp3")
    assert capfd.readouterr().err == ""
    with hushed(True):
        os.write(2, b"Warning: Xing stream size off\nsomething that matters\n")
    assert capfd.readouterr().err == "something that matters\n"


def test_a_guessed_length_is_told_from_a_written_one() -> None:
    wave_CT = voice(4.0)[None]
    assert not any(probe(encode(wave_CT, kind=kind)).estimated for kind in ("wav", "flac", "ogg", "opus", "mp3"))
    assert not probe(encode_av(wave_CT, 16_000, "ipod", "aac")).estimated
    assert probe(encode_av(wave_CT, 16_000, "adts", "aac")).estimated
    assert probe(untagged_mp3(wave_CT[0])).estimated
