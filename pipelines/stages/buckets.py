"""Bytes dealt into buckets, on disk where they are too many for memory: each bucket is small enough to be looked at alone.

What fits into memory never touches the disk. Files lie where Python's ``tempfile`` puts them (``TMPDIR``) and go with their folder.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Bounds:
    """How much is held at once. None of it changes what comes out.

    memory    bytes that wait to be written
    bits      lines are looked at in 2 ** bits parts, one after the other; the keys of one are in memory
    """

    memory: int = 32 << 20
    bits: int = 8

    def of(self, rank: int) -> int:
        """The bucket of a 64-bit rank: a lower rank never lies in a higher bucket."""
        return rank >> (64 - self.bits)

    def of_all(self, rank_N: np.ndarray) -> np.ndarray:
        """The same for an array of ranks."""
        return (rank_N >> np.uint64(64 - self.bits)).astype(np.int64)

    def rows(self, dtype: np.dtype) -> int:
        """How many rows are looked at together, where a bucket may hold any number of them."""
        return max(self.memory // (8 * dtype.itemsize), 1)


@dataclass
class Buckets:
    """Append-only bytes by bucket, in files named ``name`` in ``folder``."""

    folder: Path
    name: str
    bounds: Bounds
    _held: dict[int, bytearray] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    _waiting: int = 0

    def add(self, bucket: int, data: bytes) -> int:
        """Append; returns where in the bucket it lies."""
        at = self._sizes.get(bucket, 0)
        if not data:
            return at
        self._sizes[bucket] = at + len(data)
        held = self._held.get(bucket)
        if held is None:
            held = self._held[bucket] = bytearray()
        held += data
        self._waiting += len(data)
        if self._waiting > self.bounds.memory:
            self._spill()
        return at

    def add_rows(self, rows_N: np.ndarray, bucket_N: np.ndarray) -> None:
        """Append each row to its bucket, in order."""
        order_N = np.argsort(bucket_N, kind="stable")
        rows_N, bucket_N = rows_N[order_N], bucket_N[order_N]
        edges = [*np.flatnonzero(np.diff(bucket_N, prepend=-1)).tolist(), len(rows_N)]
        for start, end in pairwise(edges):
            self.add(int(bucket_N[start]), rows_N[start:end].tobytes())

    def _path(self, bucket: int) -> Path:
        return self.folder / f"{self.name}-{bucket:04d}"

    def _spill(self) -> None:
        for bucket, held in self._held.items():
            with self._path(bucket).open("ab") as file:
                file.write(held)
        self._held.clear()
        self._waiting = 0

    @property
    def used(self) -> list[int]:
        """The buckets that hold anything, in order."""
        return sorted(self._sizes)

    def view(self, bucket: int) -> memoryview:
        """All bytes of a bucket; nothing may be added to it afterwards while the view is used."""
        if not self._sizes.get(bucket):
            return memoryview(b"")
        if not self._path(bucket).exists():
            return memoryview(bytes(self._held[bucket]))
        if bucket in self._held:
            self._spill()
        with self._path(bucket).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def piece(self, bucket: int, at: int, size: int) -> bytes:
        """Some bytes of a bucket."""
        if not self._path(bucket).exists():
            return bytes(self._held[bucket][at : at + size])
        if bucket in self._held:
            self._spill()
        with self._path(bucket).open("rb") as file:
            file.seek(at)
            return file.read(size)

    def lines(self, bucket: int) -> Iterator[bytes]:
        """The lines of a bucket that holds text, one after the other."""
        view, at = self.view(bucket), 0
        data = view.obj
        assert isinstance(data, bytes | mmap.mmap)
        while (end := data.find(b"\n", at)) >= 0:
            yield bytes(view[at:end])
            at = end + 1

    def chunks(self, bucket: int, dtype: np.dtype) -> Iterator[np.ndarray]:
        """The rows of a bucket, so many at a time."""
        rows_N, step = np.frombuffer(self.view(bucket), dtype), self.bounds.rows(dtype)
        for start in range(0, len(rows_N), step):
            yield rows_N[start : start + step]

    def rows(self, bucket: int, dtype: np.dtype) -> np.ndarray:
        """All rows of a bucket."""
        return np.frombuffer(self.view(bucket), dtype)

    def drop(self, bucket: int) -> None:
        """Forget a bucket and free its room."""
        self._waiting -= len(self._held.pop(bucket, b""))
        self._sizes.pop(bucket, None)
        self._path(bucket).unlink(missing_ok=True)
