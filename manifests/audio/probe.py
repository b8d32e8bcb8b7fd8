"""What a sound file's header says, without decoding it.

libsndfile (soundfile) is asked first: it is fastest for wav, flac, ogg, opus, mp3, aiff, sphere. What it does not know goes to
PyAV, whose wheels bundle FFmpeg's libraries (LGPL): m4a, mp4, aac, webm, wma.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from manifests.audio.promise import ENDLESS, promised_frames
from manifests.audio.source import Source, chatters, hushed, opened

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

LFS_POINTER = b"version https://git-lfs"
WEB_PAGE = (b"<!doctype html", b"<html", b"<?xml")
HEAD_BYTES = 512
MAX_RATE = 768_000  # above it a header is nonsense, and resampling from it would cost without end
DEMUXERS = "aac,aiff,amr,ape,asf,au,caf,flac,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,avi,nistsphere,ogg,tta,w64,wav,wv"
# What FFmpeg may take bytes for, and nothing that opens further files: playlists and scripts are refused.
AV_OPTIONS = {"format_whitelist": DEMUXERS, "protocol_whitelist": "none"}
TIMED = ("mov", "matroska", "asf", "flac")  # containers whose duration is written, not estimated


class Unreadable(Exception):
    """Bytes that are not usable sound: a stable ``reason`` code and a sentence for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason, self.message = reason, message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Header:
    """Declared, not measured: the decoded length is the truth. ``frames`` is 0 where nothing tells it.

    estimated   ``frames`` is a library's guess from the size and the beginning of the file: nothing may be refused or cut by it
    """

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    estimated: bool = False

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def one_line(error: BaseException) -> str:
    """What a library says, on one line, without the addresses of its objects."""
    text = str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error)
    return " ".join(text.split()).removeprefix("Error : ").strip(" .:") or type(error).__name__


def check_head(head: bytes) -> None:
    """Refuse what is plainly no sound. Raises :class:`Unreadable`."""
    if not head:
        raise Unreadable("empty_file", "the file has no bytes")
    if head.startswith(LFS_POINTER):
        raise Unreadable(
            "lfs_pointer", "this is a Git LFS pointer, not the file itself; run `git lfs pull` in the corpus"
        )
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(WEB_PAGE):
        raise Unreadable("not_audio", "this is a web page saved under an audio name; download the file again")


def check_shape(rate: int, channels: int) -> None:
    """Refuse a header that makes no sense. Raises :class:`Unreadable`."""
    if not 0 < rate <= MAX_RATE or channels <= 0:
        raise Unreadable("bad_header", f"its header declares {rate} Hz and {channels} channels")


def probe(data: bytes | Path) -> Header:
    """Read the header of encoded bytes, or of the file at a path. Raises :class:`Unreadable`, and OSError where a path fails."""
    with opened(data) as file:
        head = file.peek(0, HEAD_BYTES)
        check_head(head)
        with hushed(chatters(head)):
            found = _probe_soundfile(file)
        return found if isinstance(found, Header) else _probe_av(file, found)


def _probe_soundfile(file: Source) -> Header | str:
    """The header, or why libsndfile finds none."""
    import soundfile

    try:
        with soundfile.SoundFile(cast(BinaryIO, file)) as sound:
            check_shape(sound.samplerate, sound.channels)
            known = sound.frames if sound.frames < ENDLESS else 0
            promised = promised_frames(sound, file)
            frames, estimated = promised or known, not promised and known > 0
            return Header(sound.samplerate, sound.channels, frames, sound.format, sound.subtype, estimated)
    except soundfile.SoundFileError as error:
        return one_line(error)


def _probe_av(file: Source, before: str) -> Header:
    import av
    from av.error import FFmpegError

    file.seek(0)
    try:
        with av.open(file, mode="r", options=AV_OPTIONS, metadata_errors="ignore") as container:
            stream = audio_stream(container)
            rate, channels = int(stream.rate or 0), int(stream.codec_context.channels or 0)
            check_shape(rate, channels)
            frames = max(round(stated_seconds(container, stream) * rate), 0)
            estimated = frames > 0 and not promises_length(container)
            return Header(rate, channels, frames, container.format.name, stream.codec_context.name, estimated)
    except (FFmpegError, ValueError) as error:
        raise nobody_reads(before, one_line(error)) from None


def nobody_reads(libsndfile: str, ffmpeg: str) -> Unreadable:
    """Neither library knows the bytes."""
    return Unreadable("not_audio", f"no decoder reads it (libsndfile: {libsndfile}; FFmpeg: {ffmpeg})")


def audio_stream(container: InputContainer) -> AudioStream:
    """The first audio stream; others, and pictures, are left alone. Raises :class:`Unreadable`."""
    if not container.streams.audio:
        raise Unreadable("no_audio", "the file holds no audio stream")
    stream = container.streams.audio[0]
    if getattr(stream, "codec_context", None) is None:
        raise Unreadable("unsupported", "no decoder here knows the codec of its audio stream")
    return stream


def stated_seconds(container: InputContainer, stream: AudioStream) -> float:
    """The duration that FFmpeg gives, in seconds, written or estimated; 0 where it gives none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def promises_length(container: InputContainer) -> bool:
    """Whether the duration is written in the container rather than estimated from its bit rate."""
    return container.format.name.startswith(TIMED)
