"""Decoding, bounded before it allocates. Truth is the decoded length, never the header's.

libsndfile first; where it fails, PyAV (whose wheels bundle FFmpeg). Both write block by block into one buffer that grows with
what really comes, and stop at the first frame beyond the limits, whatever the header says.

Legend: wave_CT, piece_CT are float32, channels x samples, full scale 1.0; wave_TC the same, samples x channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import numpy as np

from manifests.audio.probe import (
    AV_OPTIONS,
    HEAD_BYTES,
    Unreadable,
    audio_stream,
    check_head,
    check_shape,
    nobody_reads,
    one_line,
    promises_length,
    stated_seconds,
)
from manifests.audio.promise import end_of_mpeg, ends_inside_a_page, promised_frames, streams_follow
from manifests.audio.source import Source, chatters, hushed, opened

if TYPE_CHECKING:
    import soundfile
    from av.audio.frame import AudioFrame

BLOCK_SAMPLES = 1 << 20
FIRST_SAMPLES = 1 << 24  # 64 MB: a header is trusted so far, before sound has come
UNREAD_BYTES = (
    1 << 14
)  # libsndfile reads ahead by 8 kB; more left over than this is sound that the header does not count
UNREAD_MPEG = 1 << 11  # libmpg123 does not read ahead; more than one frame, which has at most 1,441 bytes
MPEG_PADDING = 2 * 1152  # frames of silence that FFmpeg may leave at the end of an MP3, where libmpg123 cuts them off


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """The most that one decode may give: seconds of sound, bytes of float32."""

    max_seconds: float
    max_bytes: float


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a recording, in seconds; ``seconds`` None for "to its end"."""

    start: float
    seconds: float | None


@dataclass(frozen=True)
class Decoded:
    """Sound as it was stored.

    wave_CT          may be a transposed view
    declared_frames  what was promised: by the span where it has an end, else by the file; None where nothing is
    decoder          soundfile or pyav
    broken_off       the file ends in the middle of a page of its container
    """

    wave_CT: np.ndarray
    sample_rate: int
    declared_frames: int | None
    decoder: str
    broken_off: bool = False


@dataclass(frozen=True, slots=True)
class _Failure:
    """One library gave up; ``seconds`` of sound came before, None where the file did not even open.

    Returned, not raised: a kept exception would keep its buffer, too.
    """

    why: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What libsndfile decoded, and the container it took the file for: FLAC, MP3, OGG, ..."""

    decoded: Decoded
    container: str


class Sink(Protocol):
    """Where decoded frames go, from the span's first on; made anew for each library that is asked."""

    rate: int
    channels: int
    frames: int

    def free(self) -> np.ndarray:
        """Where the next frames may be written: samples x channels, never empty."""
        ...

    def take(self, frames: int) -> None:
        """Count frames that were written. Raises :class:`Unreadable` at the first beyond the limits."""
        ...

    def put(self, piece_CT: np.ndarray) -> None:
        """Write and count a piece of any length."""
        ...

    def done(self) -> np.ndarray:
        """``wave_CT`` of all of it."""
        ...


MakeSink = Callable[[str, int, int, int | None], Sink]
"""A sink for a decoder's name, a rate, a number of channels, and the number of frames to come, where it is known."""


def put_piece(sink: Sink, piece_CT: np.ndarray) -> None:
    """Write a piece of any length into a sink's free room, room by room."""
    while piece_CT.shape[1]:
        room_TC = sink.free()
        count = min(len(room_TC), piece_CT.shape[1])
        room_TC[:count] = piece_CT[:, :count].T
        sink.take(count)
        piece_CT = piece_CT[:, count:]


def beyond(limits: DecodeLimits, most: int, rate: int) -> Unreadable:
    """What to raise of sound that goes on behind ``most`` frames."""
    return Unreadable(
        "too_long",
        f"it decodes to more than {most / rate:g} s (clean.max_decoded_seconds = {limits.max_seconds:g}, "
        f"clean.max_decoded_mb = {limits.max_bytes / 2**20:g})",
    )


class _Buffer:
    """Frames as they come, from the span's first on. It grows by doubling and never past the limits by more than one frame."""

    def __init__(self, limits: DecodeLimits, decoder: str, rate: int, channels: int, expected: int | None) -> None:
        check_shape(rate, channels)
        self.limits, self.rate, self.channels, self.frames = limits, rate, channels, 0
        self.most = int(min(limits.max_seconds * rate, limits.max_bytes / (4 * channels)))
        first = min(expected if expected is not None else BLOCK_SAMPLES, FIRST_SAMPLES // channels, self.most)
        self.wave_TC = np.empty((first + 1, channels), np.float32)

    def free(self) -> np.ndarray:
        """Where the next frames may be written; never empty, at most a block."""
        if self.frames == len(self.wave_TC):
            self.wave_TC.resize((min(2 * self.frames, self.most + 1), self.channels), refcheck=False)
        return self.wave_TC[self.frames : self.frames + max(BLOCK_SAMPLES // self.channels, 1)]

    def take(self, frames: int) -> None:
        """Count frames that were written. Raises :class:`Unreadable` at the first beyond the limits."""
        self.frames += frames
        if self.frames > self.most:
            raise beyond(self.limits, self.most, self.rate)

    def put(self, piece_CT: np.ndarray) -> None:
        put_piece(self, piece_CT)

    def done(self) -> np.ndarray:
        self.wave_TC.resize((self.frames, self.channels), refcheck=False)
        return self.wave_TC.T


def decode(data: bytes | Path, limits: DecodeLimits, span: Span | None = None) -> Decoded:
    """Decode encoded bytes or the file at a path, whole or in part.

    Raises :class:`Unreadable` for what is no sound, breaks off with an error, changes its shape midway, or would pass the
    limits; OSError where a path cannot be opened. Of several audio streams the first is taken. A file that merely ends early
    is decoded as far as it goes: ``declared_frames`` and ``broken_off`` tell.

    Where libsndfile reads a file, a span is found by seeking; FFmpeg's seeking is not sample-exact, so there the file is
    decoded from its start, without keeping what comes before the span.

    libsndfile stops where the header, or its own estimate, ends: before the sound does in an MP3 without a length, in joined files,
    and where the header counts too few. There FFmpeg decodes the rest, too. Joined MP3 and Ogg files promise no length: what
    they say of it holds for the first of them.
    """
    return decode_into(data, partial(_Buffer, limits), span)


def decode_into(data: bytes | Path, make: MakeSink, span: Span | None = None) -> Decoded:
    """:func:`decode`, into sinks of ``make``; ``decoder`` of the result says whose sink holds the sound that counts."""
    with opened(data) as file:
        head = file.peek(0, HEAD_BYTES)
        check_head(head)
        with hushed(chatters(head)):
            first = _decode_soundfile(file, make, span)
        if isinstance(first, _Found) and not _more_follows(first, file, span):
            return first.decoded
        return _better(first, _decode_av(file, make, span))


def _better(first: _Found | _Failure, second: Decoded | _Failure) -> Decoded:
    """What FFmpeg found, where libsndfile failed or found less. Raises :class:`Unreadable` where both failed."""
    if isinstance(first, _Failure):
        if isinstance(second, _Failure):
            raise _both(first, second)
        return second
    found = first.decoded
    padding = MPEG_PADDING / found.sample_rate if first.container == "MP3" else 0.0
    if isinstance(second, _Failure) or _seconds(second) <= _seconds(found) + padding:
        return found
    return second if first.container in ("MP3", "OGG") else replace(second, declared_frames=found.declared_frames)


def _frames(decoded: Decoded) -> int:
    return decoded.wave_CT.shape[1]


def _seconds(decoded: Decoded) -> float:
    """Of Opus the libraries give different rates."""
    return _frames(decoded) / decoded.sample_rate


def _more_follows(found: _Found, file: Source, span: Span | None) -> bool:
    """Whether libsndfile stopped before the file's end, where more was asked for."""
    frames, declared, unread = _frames(found.decoded), found.decoded.declared_frames, file.size - file.tell()
    bounded = span is not None and span.seconds is not None
    if bounded and declared is not None and frames >= declared:
        return False
    if found.container == "OGG" and streams_follow(file):
        return True
    if found.container == "MP3" and end_of_mpeg(file) - file.tell() > UNREAD_MPEG:
        return True
    if found.container == "FLAC":  # once it has sought, libsndfile reads ahead as far as it likes
        return bounded or (span is None and unread > UNREAD_BYTES)
    return span is None and not frames and unread > UNREAD_BYTES


def _both(first: _Failure, second: _Failure) -> Unreadable:
    """Both libraries gave up: no sound at all, or sound that breaks off."""
    if first.seconds is None and second.seconds is None:
        return nobody_reads(first.why, second.why)
    came = max(first.seconds or 0.0, second.seconds or 0.0)
    return Unreadable(
        "decode_failed", f"decoding breaks off after {came:.2f} s (libsndfile: {first.why}; FFmpeg: {second.why})"
    )


def _part(span: Span | None, rate: int) -> tuple[int, int | None]:
    """First frame and number of frames of a span. A span ends at the frame where one that adjoins it begins."""
    if span is None:
        return 0, None
    first = _frame_at(span.start, rate)
    return first, None if span.seconds is None else max(_frame_at(span.start + span.seconds, rate) - first, 0)


def _frame_at(seconds: float, rate: int) -> int:
    """Rounded to nanoseconds first: a sum of times is off by its last bits, which decide where a time lies between two frames."""
    return max(round(round(seconds, 9) * rate), 0)


def _promise(file_frames: int | None, first: int, count: int | None) -> int | None:
    if count is not None or file_frames is None:
        return count
    return max(file_frames - first, 0)


def _decode_soundfile(file: Source, make: MakeSink, span: Span | None) -> _Found | _Failure:
    import soundfile

    buffer = None
    try:
        broken_off = ends_inside_a_page(file)
        with soundfile.SoundFile(cast(BinaryIO, file)) as sound:
            first, count = _part(span, sound.samplerate)
            promised = _promise(promised_frames(sound, file), first, count)
            buffer = make("soundfile", sound.samplerate, sound.channels, promised)
            if first:
                sound.seek(min(first, sound.frames))
            _read_soundfile(sound, buffer, count)
            reaches_end = count is None or buffer.frames < count
            broken_off = broken_off and reaches_end
            return _Found(Decoded(buffer.done(), sound.samplerate, promised, "soundfile", broken_off), sound.format)
    except soundfile.SoundFileError as error:
        return _Failure(one_line(error), buffer.frames / buffer.rate if buffer else None)


def _read_soundfile(sound: soundfile.SoundFile, buffer: Sink, count: int | None) -> None:
    while count is None or buffer.frames < count:
        room_TC = buffer.free()
        if count is not None:
            room_TC = room_TC[: count - buffer.frames]
        came = len(sound.read(out=room_TC))
        if not came:
            return
        buffer.take(came)


def _decode_av(file: Source, make: MakeSink, span: Span | None) -> Decoded | _Failure:
    import av
    from av.error import FFmpegError

    file.seek(0)
    seconds = None
    try:
        with av.open(file, mode="r", options=AV_OPTIONS, metadata_errors="ignore") as container:
            stream = audio_stream(container)
            buffer, first, count, position = None, 0, None, 0
            for frame in container.decode(stream):
                rate, channels = frame.sample_rate, frame.layout.nb_channels
                if buffer is None:
                    first, count = _part(span, rate)
                    buffer = make("pyav", rate, channels, None)
                elif (rate, channels) != (buffer.rate, buffer.channels):
                    raise _changed(buffer, rate, channels, position)
                _put_part(buffer, _planar(frame), position, first, count)
                position += frame.samples
                seconds = position / rate
                if count is not None and buffer.frames >= count:
                    break
            rate = buffer.rate if buffer else int(stream.rate or 0)
            stated = round(stated_seconds(container, stream) * rate) if promises_length(container) else 0
            if buffer is None:
                buffer = make("pyav", rate, int(stream.codec_context.channels or 0), 0)
            reaches_end = count is None or buffer.frames < count
            promised, broken_off = _promise(stated or None, first, count), reaches_end and ends_inside_a_page(file)
            return Decoded(buffer.done(), rate, promised, "pyav", broken_off)
    except (FFmpegError, ValueError) as error:
        return _Failure(one_line(error), seconds)


def _put_part(buffer: Sink, piece_CT: np.ndarray, position: int, first: int, count: int | None) -> None:
    """Keep what of a piece, whose first frame is ``position``, lies in the span."""
    end = None if count is None else max(first + count - position, 0)
    buffer.put(piece_CT[:, max(first - position, 0) : end])


def _changed(buffer: Sink, rate: int, channels: int, position: int) -> Unreadable:
    was, now = f"{buffer.channels} channels at {buffer.rate} Hz", f"{channels} at {rate} Hz"
    return Unreadable("changing_format", f"after {position / buffer.rate:.2f} s it changes from {was} to {now}")


def _planar(frame: AudioFrame) -> np.ndarray:
    """``piece_CT`` of an FFmpeg frame of any sample format."""
    raw = frame.to_ndarray()
    piece_CT = raw if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels).T
    if piece_CT.dtype == np.uint8:
        return (piece_CT.astype(np.float32) - 128) / 128
    if np.issubdtype(piece_CT.dtype, np.integer):
        return (piece_CT / 2.0 ** (8 * piece_CT.dtype.itemsize - 1)).astype(np.float32)
    return piece_CT.astype(np.float32, copy=False)
