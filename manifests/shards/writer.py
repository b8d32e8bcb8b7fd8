"""Writing shards: USTAR, fixed times and owners, members in a fixed order, and the index beside them.

The bytes are a function of the samples alone, so any worker that makes a shard makes the same one.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from manifests.fingerprint import sha256
from manifests.keys import MAX_KEY
from manifests.shards import npy

BLOCK = tarfile.BLOCKSIZE
MAX_EXTENSION = 98 - MAX_KEY
_EXTENSION = re.compile(rf"(?=.{{1,{MAX_EXTENSION}}}$)[a-z0-9_]+(\.[a-z0-9_]+)*")  # WebDataset folds their case


@dataclass(frozen=True)
class Packed:
    """A shard and its index, as bytes."""

    tar: bytes
    index: bytes
    samples: int

    @property
    def sha256(self) -> str:
        return sha256(self.tar)

    @property
    def index_sha256(self) -> str:
        return sha256(self.index)


def _member_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644  # everything else TarInfo leaves at zero: mtime, uid, gid, owner names
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii")


def _columns(rows: list[tuple[str, dict[str, tuple[int, int]]]]) -> list[str]:
    """The extensions in order of first appearance."""
    return list(dict.fromkeys(extension for _, spans in rows for extension in spans))


def build_index(rows: list[tuple[str, dict[str, tuple[int, int]]]]) -> np.ndarray:
    """Rows of (key, {extension: (offset, size)}) as the structured array that ``.idx`` files hold.

    One record a sample: ``key`` (bytes) and, for every extension, ``(offset, size)`` of the member's data in the tar;
    ``(0, 0)`` where a sample lacks the member.
    """
    width = max((len(key) for key, _ in rows), default=1)
    extensions = _columns(rows)
    index = np.zeros(len(rows), [("key", f"S{width}"), *((e, "<u8", (2,)) for e in extensions)])
    index["key"] = [key.encode("ascii") for key, _ in rows]
    for extension in extensions:
        index[extension] = [spans.get(extension, (0, 0)) for _, spans in rows]
    return index


def pack(samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> Packed:
    """Pack (key, {extension: bytes}) samples into a shard, members in the order given.

    Raises ValueError for a repeated key, or a key or extension that WebDataset could not split again.
    """
    out, rows, seen = io.BytesIO(), [], set()
    for key, members in samples:
        if key in seen or not key or set(key) & set("./\0"):
            raise ValueError(f"key {key!r} is repeated, empty, or holds one of '.', '/'")
        seen.add(key)
        spans = {}
        for extension, data in members.items():
            if not _EXTENSION.fullmatch(extension) or extension == "key":
                raise ValueError(
                    f"extension {extension!r} of {key!r}: at most {MAX_EXTENSION} of a-z, 0-9, '_' and inner dots"
                )
            out.write(_member_header(f"{key}.{extension}", len(data)))
            spans[extension] = (out.tell(), len(data))
            out.write(data)
            out.write(bytes(-len(data) % BLOCK))
        rows.append((key, spans))
    out.write(bytes(2 * BLOCK))
    out.write(bytes(-out.tell() % tarfile.RECORDSIZE))
    return Packed(out.getvalue(), npy.dump(build_index(rows)), len(rows))
