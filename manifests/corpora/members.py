"""The members of a tar by position: where each file's bytes lie, without unpacking anything.

Nothing is written to disk, links are not followed but told of, and a tar that breaks off says so: Python's own reader takes a
damaged header in the middle of a tar for its end.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

_BLOCK = 512
PACKED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
SMALL = 1 << 20  # bytes of a member that is read while listing (text, JSON, names)
LINK = 200  # characters of a link's target that are told
KINDS = {
    tarfile.SYMTYPE: "a symbolic link to {to}", tarfile.LNKTYPE: "a hard link to {to}", tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
}  # fmt: skip


class BrokenTar(ValueError):
    """A tar that cannot be read to its end. What came before it is good."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar.

    name           as the tar has it
    folder, key, ending   ``a/b/x.txt.gz`` is folder ``a/b``, key ``x``, ending ``txt.gz``, as WebDataset splits names
    offset, size   of its content, in bytes
    whole          False where the tar ends before the content does
    kind           what it is (``a device``) where it is no regular file: its content is not to be read; None for one that is
    """

    name: str
    folder: str
    key: str
    ending: str
    offset: int
    size: int
    whole: bool
    kind: str | None = None

    @property
    def sample(self) -> str:
        return f"{self.folder}/{self.key}" if self.folder else self.key


def members(file: IO[bytes], name: str) -> Iterator[Member]:
    """All but the folders of an open tar, in order. Raises :class:`BrokenTar` where it breaks off."""
    total = file.seek(0, 2)
    file.seek(0)
    try:
        with tarfile.open(fileobj=cast(Any, _Sparing(file)), mode="r:") as tar:
            for info in tar:
                if info.size < 0 or tar.offset <= info.offset:  # the reader would go round for ever, or backwards
                    raise tarfile.ReadError(f"{info.name!r} ends before it begins")
                cast(Any, tar).members = []  # else the reader keeps every member it has seen
                if not info.isdir():
                    yield _member(info, total)
            end = tar.offset
    except (tarfile.TarError, OSError, ValueError, OverflowError, EOFError) as error:
        raise BrokenTar(f"{name} cannot be read ({error}); is it a tar, and whole?") from None
    file.seek(min(end, total))
    rest = file.read(_BLOCK)
    if end > total or (rest and (len(rest) < _BLOCK or rest.strip(b"\0"))):
        raise BrokenTar(f"{name} is damaged or cut short at byte {min(end, total)}; fetch it again")


class _Sparing:
    """A file of which no more than :data:`SMALL` is read at once: a header may say that gigabytes of it follow, and Python makes room for them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > SMALL:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _member(info: tarfile.TarInfo, total: int) -> Member:
    folder, _, base = info.name.removeprefix("./").rpartition("/")
    key, _, ending = base.partition(".")
    whole = info.offset_data + info.size <= total
    return Member(info.name, folder, key, ending.lower(), info.offset_data, info.size, whole, _kind(info))


def _kind(info: tarfile.TarInfo) -> str | None:
    if info.isreg() and not info.issparse():
        return None
    if info.issparse():
        return "a sparse file"
    return KINDS.get(info.type, "no regular file").format(to=repr(info.linkname[:LINK]))


def samples(file: IO[bytes], name: str, matters: Callable[[Member], bool]) -> Iterator[list[Member]]:
    """Neighbouring members that share their sample's name, together; what is no regular file is among them where it ``matters``.

    Raises :class:`BrokenTar`, after the last good one.
    """
    group: list[Member] = []
    try:
        for member in members(file, name):
            if member.kind and not matters(member):
                continue
            if group and member.sample != group[0].sample:
                yield group
                group = []
            group.append(member)
    except BrokenTar:
        if group:
            yield group
        raise
    if group:
        yield group


def read_small(file: IO[bytes], member: Member) -> bytes:
    """The content of a small member, and the file left where it was. Raises ValueError for large ones."""
    if member.size > SMALL:
        raise ValueError(f"{member.sample}.{member.ending} has {member.size} bytes; is it text?")
    here = file.tell()
    file.seek(member.offset)
    data = file.read(member.size)
    file.seek(here)
    return data
