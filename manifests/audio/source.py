"""Encoded sound as both libraries open it, and what keeps them quiet meanwhile."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

QUIET_HEADS = (b"fLaC", b"OggS", b"FORM", b"NIST")  # formats that libsndfile reads without libmpg123
MPEG_IN_WAV = 0x55
CHATTER = (b"[src/libmpg123/", b"Note: ", b"Warning: ")
_ONE_AT_A_TIME = threading.Lock()  # standard error belongs to the whole process


class Source:
    """A nameless file, as both libraries read it.

    Neither sees a path: so a name (``x.raw``, ``concat:...``) never decides how bytes are read. Broken headers make them seek
    to places that no file has: that is the file's end, not a fault of the disk.

    failed   what the disk said when it did not give what the file has: neither library would tell that from the file's end
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size = file, file.seek(0, os.SEEK_END)
        file.seek(0)
        self.tell = file.tell
        self.failed: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:  # raised when the source is closed: the libraries would print it, and go on
            self.failed = error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.size}[whence]
        return self._file.seek(min(max(base + offset, 0), self.size))

    def peek(self, at: int, size: int) -> bytes:
        """Bytes from ``at``; the place in the file stays, for a library may be reading on from there."""
        here = self.tell()
        self.seek(at)
        data = self.read(size)
        self.seek(here)
        return data


@contextmanager
def opened(data: bytes | Path) -> Iterator[Source]:
    """The bytes, or the file at a path. Raises OSError where the disk fails, whatever was made of what it gave."""
    with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as file:
        source = Source(file)
        try:
            yield source
        finally:
            if source.failed is not None:
                raise source.failed


def chatters(head: bytes) -> bool:
    """Whether libmpg123 may read this: it prints its warnings on standard error and cannot be told not to."""
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return int.from_bytes(head[20:22], "little") == MPEG_IN_WAV
    return not head.startswith(QUIET_HEADS)


@contextmanager
def hushed(wanted: bool) -> Iterator[None]:
    """Keep libmpg123's lines off standard error; whatever else was printed meanwhile is passed on afterwards."""
    if not wanted:
        yield
        return
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as caught:
        try:
            shown = os.dup(2)
        except OSError:  # no standard error: there is nothing to keep quiet
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(shown, 2)
            caught.seek(0)
            lines = caught.read().splitlines(keepends=True)
            kept = b"".join(line for line in lines if line.strip() and not line.startswith(CHATTER))
            if kept:
                os.write(shown, kept)
            os.close(shown)
