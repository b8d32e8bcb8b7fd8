"""Decoding, bounded before it allocates. Truth is the decoded length, never the header's.

Legend: wave_CT is float32, channels x samples, full scale 1.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from manifests.audio.probe import Unreadable, check_head, source

BLOCK_FRAMES = 1 << 16


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
    """Sound as it was stored. ``declared_frames`` is what the header promised for this part, None where it promises nothing."""

    wave_CT: np.ndarray
    sample_rate: int
    declared_frames: int | None
    decoder: str


class _Room:
    """Counts what has been decoded and stops before the limits are passed."""

    def __init__(self, limits: DecodeLimits, rate: int, channels: int) -> None:
        if rate <= 0 or channels <= 0:
            raise Unreadable("bad_header", f"its header declares {rate} Hz and {channels} channels")
        self.limits, self.rate, self.channels, self.frames = limits, rate, channels, 0
        self.most = int(min(limits.max_seconds * rate, limits.max_bytes / (4 * channels)))

    def take(self, frames: int) -> None:
        self.frames += frames
        if self.frames > self.most:
            raise Unreadable(
                "too_long",
                f"it decodes to more than {self.most / self.rate:.0f} s (clean.max_decoded_seconds = {self.limits.max_seconds:g}, "
                f"clean.max_decoded_mb = {self.limits.max_bytes / 2**20:g})",
            )


def decode(data: bytes | Path, limits: DecodeLimits, span: Span | None = None) -> Decoded:
    """Decode a file, or a part of it. Raises :class:`Unreadable`, also where it would pass the limits."""
    import soundfile

    check_head(data)
    try:
        return _decode_soundfile(data, limits, span)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        first = " ".join(str(error).split())
    import av

    try:
        return _decode_av(data, limits, span)
    except (av.FFmpegError, ValueError, OSError) as error:
        why = " ".join(str(error).split())
        raise Unreadable("not_audio", f"no decoder reads it (libsndfile: {first}; FFmpeg: {why})") from None


def _part(span: Span | None, rate: int) -> tuple[int, int | None]:
    """First frame and number of frames of a span."""
    if span is None:
        return 0, None
    return round(span.start * rate), None if span.seconds is None else round(span.seconds * rate)


def _decode_soundfile(data: bytes | Path, limits: DecodeLimits, span: Span | None) -> Decoded:
    import soundfile

    with soundfile.SoundFile(source(data)) as file:
        room = _Room(limits, file.samplerate, file.channels)
        first, count = _part(span, file.samplerate)
        declared = file.frames if 0 <= file.frames < 2**50 else None
        if declared is not None:
            declared = max(declared - first, 0) if count is None else min(count, max(declared - first, 0))
            room.take(declared)  # a header that promises too much is believed, to refuse it
            room.frames = 0
        if first:
            _skip(file, first)
        blocks = list(_soundfile_blocks(file, count, room))
        wave_TC = np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)
        return Decoded(np.ascontiguousarray(wave_TC.T), file.samplerate, declared, "soundfile")


def _skip(file: object, first: int) -> None:
    """Seek where the format can; else read up to there."""
    if file.seekable():  # type: ignore[attr-defined]
        file.seek(min(first, file.frames))  # type: ignore[attr-defined]
        return
    while first > 0 and len(block := file.read(min(BLOCK_FRAMES, first), dtype="float32")):  # type: ignore[attr-defined]
        first -= len(block)


def _soundfile_blocks(file: object, count: int | None, room: _Room) -> Iterator[np.ndarray]:
    left = count
    while left is None or left > 0:
        want = BLOCK_FRAMES if left is None else min(BLOCK_FRAMES, left)
        block_TC = file.read(want, dtype="float32", always_2d=True)  # type: ignore[attr-defined]
        if not len(block_TC):
            return
        room.take(len(block_TC))
        left = None if left is None else left - len(block_TC)
        yield block_TC


def _decode_av(data: bytes | Path, limits: DecodeLimits, span: Span | None) -> Decoded:
    """Frame by frame from the start: FFmpeg's seeking is not sample-exact."""
    import av

    with av.open(source(data), metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise Unreadable("no_audio", "the file holds no audio stream")
        stream = container.streams.audio[0]
        rate, channels = int(stream.rate or 0), int(stream.codec_context.channels or 0)
        room = _Room(limits, rate, channels)
        first, count = _part(span, rate)
        room.most += first
        resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
        parts, end = [], None if count is None else first + count
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                room.take(piece.samples)
                parts.append(piece.to_ndarray().astype(np.float32, copy=False))
            if end is not None and room.frames >= end:
                break
        wave_CT = np.concatenate(parts, axis=1) if parts else np.zeros((channels, 0), np.float32)
        return Decoded(np.ascontiguousarray(wave_CT[:, first:end]), rate, None, "pyav")
