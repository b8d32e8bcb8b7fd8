"""Real broken, odd and plain files from other projects: each ends as clean sound or with the reason a person would give."""

from __future__ import annotations

import csv
import resource
from pathlib import Path

import pytest

from manifests.audio.decode import DecodeLimits, decode
from manifests.audio.probe import Unreadable, probe
from manifests.settings.clean import CleanSettings
from pipelines.stages.s40_clean import REASONS, Clean, Dropped, clean
from tests.corpora import corpora_root, corpus
from tests.memory import peak_of

LIMITS = DecodeLimits(max_seconds=600, max_bytes=256 * 2**20)
FOLDERS = ("hostile", "zero_byte_librispeech", "bit_depths", "sonnets_formats", "lhotse_fixtures")

# Legal sound, however odd: it decodes to what the manifest says. Most of it is too short or quiet for a corpus of speech.
LEGAL = {
    "audioread/test-1.mp3": "clean",  # its length is estimated from a bit rate, and wrong by 0.3 s
    "flac-test-files/03 - wrong bit depth.flac": "clean",  # libsndfile reads what FFmpeg refuses
    "flac-test-files/38 - 3 channels (3.0).flac": "clean",
    "flac-test-files/60 - mono audio.flac": "clean",
    "hf-datasets/test_audio_16000.mp3": "clean",
    "hf-datasets/test_audio_44100.mp3": "clean",
    "hf-datasets/test_audio_48000.opus": "clean",
    "hound/nonstandard-01.wav": "too_short",  # 24 bit, one frame
    "hound/pcmwaveformat-16bit-44100Hz-mono-extra.wav": "too_short",  # four frames
    "hound/pcmwaveformat-24bit-4byte-48kHz-stereo.wav": "too_short",  # 24 bit in four bytes, two frames
    "mediafile/full.m4a": "silent",
    "scipy/test-1234Hz-le-1ch-10S-20bit-extra.wav": "low_rate",
    "scipy/test-44100Hz-2ch-32bit-float-be.wav": "too_short",  # big-endian (RIFX), 10 ms
    "scipy/test-44100Hz-be-1ch-4bytes.wav": "too_short",  # 100 ms
    "scipy/test-44100Hz-le-1ch-4bytes-early-eof.wav": "too_short",  # it lacks 95 ms, less than the tolerance
    "scipy/test-44100Hz-le-1ch-4bytes-rf64.wav": "too_short",
    "scipy/test-8000Hz-le-1ch-1byte-ulaw.wav": "too_short",  # nine samples
    "scipy/test-8000Hz-le-5ch-9S-5bit.wav": "too_short",
    "tinytag/32bit_float.wav": "too_short",
    "tinytag/8khz_5s.opus": "silent",
    "tinytag/adpcm_no_byterate.wav": "too_short",
    "tinytag/gsm_6_10.wav": "too_short",
    "tinytag/id3_broken_frame_size.mp3": "too_short",
    "tinytag/mp3_audio.wav": "silent",
    "tinytag/mpeg25_11025hz_vbr.mp3": "too_short",
    "tinytag/non_ascii_filename_äää.mp3": "silent",
    "tinytag/vbr8.mp3": "silent",
    "tinytag/with_padded_id3_header.flac": "clean",
    "wavefile/16bit-8kHz-1c-reaper-utf8cue-issue13.wav": "silent",
    "wavefile/8bit-alaw-8kHz-noBext-mono-encoded.wav": "clean",
    "wavefile/M1F1-int12WE-AFsp.wav": "clean",  # 12 bits in 16
}
BROKEN = {
    "aeneas/mono.empty.wav": "empty_file",
    "aeneas/mono.invalid.wav": "not_audio",
    "aeneas/mono.zero.wav": "no_samples",
    "flac-test-files/02 - increasing number of channels.flac": "changing_format",
    "flac-test-files/05 - wrong total number of samples.flac": "length_mismatch",  # 1.66 s by its header, 4.56 s in it
    "hf-datasets/test_audio_16000.pcm": "not_audio",  # raw samples without a header
    "mediafile/full.wma": "not_audio",
    "pocketsphinx/bad.wav": "not_audio",
    "pocketsphinx/null.wav": "no_samples",
    "rhubarb-lfs/1-have-you-heard.ogg": "lfs_pointer",
    "scipy/test-44100Hz-le-1ch-4bytes-early-eof-no-data.wav": "not_audio",
    "scipy/test-44100Hz-le-1ch-4bytes-incomplete-chunk.wav": "not_audio",
    "scipy/test-8000Hz-le-3ch-5S-36bit.wav": "unsupported",
    "tinytag/empty_file.flac": "empty_file",
    "tinytag/empty_file.mp3": "empty_file",
    "tinytag/empty_file.ogg": "empty_file",
    "tinytag/empty_file.wav": "empty_file",
    "tinytag/flac_application.flac": "decode_failed",
    "tinytag/incomplete.mp3": "not_audio",
    "tinytag/invalid_file_larger.mp3": "not_audio",
    "tinytag/no_audio_data_uncompressed.wav": "no_samples",
    "tinytag/vbr_xing_header_2channel.mp3": "truncated",  # 250 s by its header, 0.1 s in it
}


def rows(name: str) -> list[dict[str, str]]:
    """The sound files that the corpus's manifest lists."""
    with (corpus(name) / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row for row in found if row["kind"] in ("audio", "hostile")]


def end_of(data: bytes | Path) -> Clean | Dropped:
    """What the pipeline makes of it."""
    try:
        return clean(decode(data, LIMITS), CleanSettings(), 16_000)
    except Unreadable as error:
        return Dropped("quarantined", error.reason, error.message)


def code(end: Clean | Dropped) -> str:
    return "clean" if isinstance(end, Clean) else end.reason


def test_the_tables_name_every_hostile_file_and_no_other() -> None:
    listed = {row["path"].removeprefix("files/") for row in rows("hostile")}
    assert listed == LEGAL.keys() | BROKEN.keys()
    assert not LEGAL.keys() & BROKEN.keys()


@pytest.mark.parametrize(("name", "expected"), LEGAL.items())
def test_odd_but_legal_sound_is_not_quarantined(name: str, expected: str) -> None:
    end = end_of(corpus("hostile") / "files" / name)
    assert code(end) == expected
    assert isinstance(end, Clean) or end.status == "filtered"


@pytest.mark.parametrize(("name", "expected"), BROKEN.items())
def test_broken_files_are_quarantined_with_their_reason(name: str, expected: str) -> None:
    end = end_of(corpus("hostile") / "files" / name)
    assert code(end) == expected
    assert isinstance(end, Dropped)
    assert end.status == "quarantined"
    assert len(end.detail) > 10
    assert "\n" not in end.detail
    assert str(corpora_root()) not in end.detail


def test_zero_byte_audio_is_quarantined_as_empty() -> None:
    ends = [code(end_of(corpus("zero_byte_librispeech") / row["path"])) for row in rows("zero_byte_librispeech")]
    assert ends == ["empty_file"] * len(ends)
    assert len(ends) == 12


@pytest.mark.parametrize("folder", ["bit_depths", "sonnets_formats", "lhotse_fixtures"])
def test_plain_sound_in_many_formats_is_clean(folder: str) -> None:
    wrong = {"res/audioformats/p001.flac": "decode_failed", "test/fixtures/rir/real_8ch.wav": "too_short"}
    for row in rows(folder):
        assert (row["path"], code(end_of(corpus(folder) / row["path"]))) == (
            row["path"],
            wrong.get(row["path"], "clean"),
        )


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_end_is_known_and_the_same_for_bytes_and_path_in_bounded_memory(folder: str) -> None:
    for row in rows(folder):
        path = corpus(folder) / row["path"]
        (one, two), peak = peak_of(lambda path=path: (end_of(path), end_of(path.read_bytes())))
        assert peak < 128 * 2**20, path.name
        if isinstance(one, Clean):
            assert isinstance(two, Clean)
            assert one.facts == two.facts
        else:
            assert one == two
            assert one.reason in REASONS


@pytest.mark.parametrize("folder", FOLDERS)
def test_decoded_length_is_what_the_manifest_measured(folder: str) -> None:
    elsewhere = {
        "05 - wrong total number of samples.flac": 4.562
    }  # the manifest has libsndfile's view, which believes the header
    for row in rows(folder):
        path = corpus(folder) / row["path"]
        if isinstance(end_of(path), Dropped) and code(end_of(path)) in REASONS.keys() - {
            "too_short",
            "silent",
            "length_mismatch",
        }:
            continue
        decoded = decode(path, LIMITS)
        seconds = elsewhere.get(path.name, float(row["decoded_duration_s"]))
        assert decoded.wave_CT.shape[1] / decoded.sample_rate == pytest.approx(seconds, abs=6e-4), path.name
        assert (decoded.sample_rate, len(decoded.wave_CT)) == (int(row["sample_rate"]), int(row["channels"])), path.name


def test_probing_finds_a_header_or_a_known_reason_for_every_file() -> None:
    for folder in FOLDERS:
        for row in rows(folder):
            path = corpus(folder) / row["path"]
            try:
                header = probe(path)
            except Unreadable as error:
                found = error.reason
            else:
                found = "header" if header.sample_rate == int(row["sample_rate"]) else f"wrong rate in {path.name}"
            assert found == "header" or found in REASONS, path.name


def test_the_process_stays_small_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        for row in rows("hostile"):
            end_of(corpus("hostile") / row["path"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024
    assert capfd.readouterr().err == ""
