"""Where sound goes: a WAV file that is valid after every block, or raw samples down a pipe."""

from __future__ import annotations

import sys
import wave
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from pipelines.voice.errors import SpeakError
from tokenization.adapter import Wave

PIPE = "-"


class Sink(Protocol):
    """Takes sound, piece by piece."""

    def write(self, wave_T: Wave) -> None: ...


def pcm(wave_T: Wave) -> bytes:
    """16-bit little-endian samples."""
    return np.round(np.clip(wave_T, -1, 1) * 32767).astype("<i2").tobytes()


class WavFile:
    """16-bit mono. Its header says how long it is after every piece, so that a player may open it while it grows."""

    def __init__(self, file: IO[bytes], sample_rate: int) -> None:
        self._file, self._wav = file, wave.Wave_write(file)
        self._wav.setparams((1, 2, sample_rate, 0, "NONE", ""))
        self.write(np.zeros(0, np.float32))

    def write(self, wave_T: Wave) -> None:
        self._wav.writeframes(pcm(wave_T))
        self._file.flush()

    def close(self) -> None:
        """Write what is left to write; the file stays open."""
        self._wav.close()


class RawPipe:
    """Raw 16-bit mono samples, without a header: it would have to say how many there will be."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, wave_T: Wave) -> None:
        self._file.write(pcm(wave_T))
        self._file.flush()


def check(out: str) -> None:
    """Raise :class:`SpeakError` where nothing can be written to ``out``."""
    if out != PIPE and not Path(out).absolute().parent.is_dir():
        raise SpeakError(f"{out}: there is no folder {Path(out).absolute().parent}")
    if out != PIPE and Path(out).is_dir():
        raise SpeakError(f"{out}: a folder; name a file, such as {Path(out) / 'out.wav'}")


@contextmanager
def opened(out: str, sample_rate: int) -> Iterator[Sink]:
    """The sink that ``out`` names: a path, or ``-`` for standard output. Raises :class:`SpeakError`."""
    check(out)
    if out == PIPE:
        yield RawPipe(sys.stdout.buffer)
        return
    try:
        file = open(out, "wb")  # noqa: SIM115
    except OSError as error:
        raise SpeakError(f"{out}: cannot be written: {error.strerror}") from error
    with file, closing(WavFile(file, sample_rate)) as sink:
        yield sink
