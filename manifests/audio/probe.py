"""What a sound file's header says, without decoding it.

soundfile (libsndfile) is asked first: it is fastest for wav, flac, ogg, mp3. What it does not know goes to PyAV, whose wheels bundle
FFmpeg: m4a, webm, wma and others.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

LFS_POINTER = b"version https://git-lfs"


class Unreadable(Exception):
    """Bytes that are not usable sound: a stable ``reason`` code and a sentence for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True, slots=True)
class Header:
    """Declared, not measured: the decoded length is the truth."""

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def source(data: bytes | Path) -> str | io.BytesIO:
    """What the libraries open: a path as text, or the bytes as a file."""
    return str(data) if isinstance(data, Path) else io.BytesIO(data)


def check_head(data: bytes | Path) -> None:
    """Refuse what is plainly no sound. Raises :class:`Unreadable`."""
    if isinstance(data, Path):
        with data.open("rb") as file:
            head = file.read(512)
    else:
        head = data[:512]
    if not head:
        raise Unreadable("empty_file", "the file has no bytes")
    if head.startswith(LFS_POINTER):
        raise Unreadable("lfs_pointer", "this is a Git LFS pointer, not the file itself; run `git lfs pull` in the corpus")
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise Unreadable("not_audio", "this is a web page saved under an audio name; download the file again")


def probe(data: bytes | Path) -> Header:
    """Read the header. Raises :class:`Unreadable`."""
    import soundfile

    check_head(data)
    try:
        info = soundfile.info(source(data))
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        return _probe_av(data, " ".join(str(error).split()))
    if info.samplerate <= 0 or info.channels <= 0:
        raise Unreadable("bad_header", f"its header declares {info.samplerate} Hz and {info.channels} channels")
    frames = info.frames if 0 <= info.frames < 2**50 else 0  # streams of unknown length declare 2^63 - 1
    return Header(info.samplerate, info.channels, frames, info.format, info.subtype)


def _probe_av(data: bytes | Path, before: str) -> Header:
    import av

    try:
        with av.open(source(data), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise Unreadable("no_audio", "the file holds no audio stream")
            stream = container.streams.audio[0]
            if not stream.rate or not stream.codec_context.channels:
                raise Unreadable("bad_header", "its header gives no sample rate or no channels")
            length = stream.duration * stream.time_base if stream.duration and stream.time_base else (container.duration or 0) / 1e6
            frames = max(round(float(length) * stream.rate), 0)
            return Header(stream.rate, stream.codec_context.channels, frames, container.format.name, stream.codec_context.name)
    except (av.FFmpegError, ValueError, OSError) as error:
        why = " ".join(str(error).split())
        raise Unreadable("not_audio", f"no decoder reads it (libsndfile: {before}; FFmpeg: {why})") from None
