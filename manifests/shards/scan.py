"""Reading a shard the slow way, through its tar headers, to check the index against the truth."""

from __future__ import annotations

import io
import tarfile

from manifests.shards.reader import ShardError

Rows = list[tuple[str, dict[str, tuple[int, int]]]]


def scan(data: bytes | memoryview, name: str) -> Rows:
    """(key, {extension: (offset, size)}) of every sample, from the tar headers alone.

    Raises :class:`ShardError` for a tar that ends early, a damaged header, a member that is not a plain file, or samples
    whose members do not lie together.
    """
    rows: Rows = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                if not member.isreg():
                    raise ShardError(f"{name}: {member.name!r} is not a plain file")
                key, _, extension = member.name.partition(".")
                if not rows or rows[-1][0] != key:
                    rows.append((key, {}))
                rows[-1][1][extension] = (member.offset_data, member.size)
            end = tar.offset
    except tarfile.TarError as error:
        raise ShardError(f"{name}: {error}") from None
    if len({key for key, _ in rows}) != len(rows):
        raise ShardError(f"{name}: a key occurs twice, or its members do not lie together")
    if len(data) < end or bytes(data[end - 1024 : end]).strip(b"\0") and bytes(data[-1024:]).strip(b"\0"):
        raise ShardError(f"{name}: the archive does not end where it should")
    return rows
