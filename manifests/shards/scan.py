"""Reading a shard the slow way, through its tar headers, to check the index against the truth."""

from __future__ import annotations

import io
import tarfile

from manifests.shards.reader import ShardError

BLOCK = tarfile.BLOCKSIZE

Rows = list[tuple[str, dict[str, tuple[int, int]]]]


def scan(data: bytes | memoryview, name: str) -> Rows:
    """(key, {extension: (offset, size)}) of every sample, from the tar headers alone.

    Raises :class:`ShardError` for a tar that ends early, a damaged header, a member that is not a plain file, or samples
    whose members do not lie together.
    """
    rows: Rows = []
    end = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                if member.size < 0 or tar.offset <= member.offset:  # the reader would go round for ever, or backwards
                    raise ShardError(f"{name}: {member.name!r} ends before it begins")
                if not member.isreg():
                    raise ShardError(f"{name}: {member.name!r} is not a plain file")
                key, _, extension = member.name.partition(".")
                if not rows or rows[-1][0] != key:
                    rows.append((key, {}))
                if extension in rows[-1][1]:
                    raise ShardError(f"{name}: {key}: {member.name!r} occurs twice")
                rows[-1][1][extension] = (member.offset_data, member.size)
                end = member.offset_data + member.size + -member.size % BLOCK
    except ShardError:
        raise
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as error:
        raise ShardError(f"{name}: {error}") from None
    if len({key for key, _ in rows}) != len(rows):
        raise ShardError(f"{name}: a key occurs twice, or its members do not lie together")
    rest = bytes(data[end:])  # tarfile takes a damaged header for the end; the true end is nothing but zeros
    if len(rest) < 2 * BLOCK or rest.strip(b"\0"):
        raise ShardError(
            f"{name}: the archive does not end after {rows[-1][0] if rows else 'no sample'}, its next header is damaged"
        )
    return rows
