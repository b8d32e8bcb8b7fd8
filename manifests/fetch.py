"""Encoded audio by reference: a file, a byte range of one, a cell of a table. What workers read their bytes through.

What may be read is what the user named: the corpus root and ``corpus.audio_roots``. A manifest cannot point anywhere
else, neither into the file system nor into the network. Inside those roots, links are followed wherever they lead:
linked data is the user's own arrangement. Only regular files are read; devices, pipes and folders are refused unopened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from manifests.corpora.cells import BadCell, ParquetCells, SavedCells
from manifests.fingerprint import content_hash
from manifests.patience import StorageFailed
from manifests.storage import OutsideRoot, Store
from manifests.utterance import AudioRef, Header

MAX_BYTES = 1 << 30
ABSENT = (errno.ENOENT, errno.ENOTDIR)
REFUSED = (errno.EACCES, errno.EPERM)
NAMELESS = (errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.EILSEQ, errno.EINVAL)  # no file has such a name
CHANGED = "the corpus changed or went away while it was read: {}; bring it back and run again: what stays away is then listed as missing (unless run.relist is off)"


class FetchFailed(Exception):
    """Bytes that cannot be had.

    reason      ``missing_audio``, ``outside_root``, ``too_big``, ``not_a_file``, ``bad_range``, ``bad_cell``,
                ``no_permission``, ``unreachable`` or ``unreadable_file``
    message     what, where and what to do, for a person; it names a path as the corpus does, never where the corpus lies
    transient   True where the same read may succeed later (storage that does not answer, a corpus that went away)
    """

    def __init__(self, reason: str, message: str, transient: bool = False) -> None:
        super().__init__(reason, message, transient)
        self.reason, self.message, self.transient = reason, message, transient

    def __str__(self) -> str:
        return self.message


def lost(why: object) -> FetchFailed:
    """What to raise of a sound that was there when the corpus was listed, and is not now: no utterance is to blame for it."""
    return FetchFailed("unreachable", CHANGED.format(why), transient=True)


@contextmanager
def reading(ref: AudioRef, listed: bool) -> Iterator[None]:
    """Around reading the sound of a manifest; ``listed`` where it was read when the corpus was listed.

    Raises :class:`FetchFailed` for good only where that may be the utterance's own fault.
    """
    try:
        yield
    except FetchFailed as error:
        if error.transient or not listed:
            raise
        raise lost(error) from error
    except OSError as error:  # it was there a moment ago, and is not read to its end
        raise lost(f"{ref.path} is not read to its end ({error.strerror or error})") from error


class _Closable(Protocol):
    def close(self) -> None: ...


class _Handle:
    """An open local file, read by position; ``shown`` is its name for people."""

    def __init__(self, path: str, shown: str) -> None:
        self.fd = _open_regular(path, shown)

    def close(self) -> None:
        os.close(self.fd)


class _Open:
    """The few things that were used last, kept open."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _Closable]) -> Any:
        if key not in self._held:
            self._held[key] = make()
        self._held.move_to_end(key)
        while len(self._held) > self._room:
            self._held.popitem(last=False)[1].close()
        return self._held[key]

    def close(self) -> None:
        while self._held:
            self._held.popitem()[1].close()


@dataclass(frozen=True)
class _Place:
    """A file (or folder) of a store that may be read."""

    store: Store
    name: str
    shown: str

    @property
    def local(self) -> str | None:
        path = self.store.local(self.name)
        return None if path is None else str(path)


class Fetcher:
    """Reads references of one corpus. One per worker; not for several threads at once.

    files         the corpus root
    audio_roots   other folders or URLs that may be read (``corpus.audio_roots``); ``https://`` allows all of a scheme
    max_bytes     the most that one sound may take, encoded
    """

    def __init__(self, files: Store, audio_roots: Sequence[str] = (), max_bytes: int = MAX_BYTES) -> None:
        self.files, self.max_bytes = files, max_bytes
        self.audio_roots = tuple(os.path.expanduser(r) for r in audio_roots)
        self._handles, self._tables = _Open(16), _Open(4)
        self._stamps: OrderedDict[Store, dict[str, tuple[Any, ...]]] = OrderedDict()
        self._headers: OrderedDict[AudioRef, Header] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._handles.close()
        self._tables.close()

    def fetch(self, ref: AudioRef) -> bytes:
        """The encoded bytes. Raises :class:`FetchFailed`."""
        place = self._place(ref.path)
        with self._standing():
            if ref.row is not None:
                return self._cell(place, ref)
            if place.local is None:
                with _answered(place.shown):
                    return self._remote(place, ref)
            return self._local(place, ref)

    def local_path(self, ref: AudioRef) -> Path | None:
        """The whole local file of ``ref``, for decoders that read as they go; None for anything else.

        Raises :class:`FetchFailed` where the file is absent, no regular file, or outside the roots.
        """
        if ref.row is not None or ref.offset is not None:
            return None
        place = self._place(ref.path)
        path = place.local
        if path is None:
            return None
        with self._standing():
            _check_regular(_stat(path, place.shown), place.shown)
        return Path(path)

    def scan(self, ref: AudioRef) -> Header:
        """What the encoded bytes say, with their content hash; bad audio never raises, but sets ``fault``.

        Raises :class:`FetchFailed` where storage does not answer: the same sound may be read later.
        """
        from manifests.audio.probe import Unreadable, probe

        if ref in self._headers:  # the segments of one recording come one after the other
            return self._headers[ref]
        content = None
        try:
            data = self.fetch(ref)
            content = content_hash(data)
            found = probe(data)
            header = Header(found.sample_rate, found.frames, found.channels, content)
        except (FetchFailed, Unreadable) as error:
            if isinstance(error, FetchFailed) and error.transient:  # the storage's fault, not the sound's
                raise
            header = Header(content=content, fault=(error.reason, error.message))
        self._headers[ref] = header
        if len(self._headers) > 8:
            self._headers.popitem(last=False)
        return header

    def snapshot(self, ref: AudioRef) -> tuple[Any, ...]:
        """A cheap identity: (size, modification time in ns) of a local file, (size, version) elsewhere, () without any."""
        try:
            place = self._place(ref.path)
            if place.local is None:
                return self._stamp(place)
            found = os.stat(place.local)
        except (FetchFailed, OSError, ValueError):
            return ()
        return (found.st_size, found.st_mtime_ns)

    @contextmanager
    def _standing(self) -> Iterator[None]:
        """A file that is missing because the whole corpus is (a mount that dropped leaves an empty folder) is missing for now."""
        try:
            yield
        except FetchFailed as error:
            if error.transient:  # what was held open may be of a mount that is gone: later it is opened anew
                self.close()
            if error.reason == "missing_audio" and self._is_gone():
                raise lost(f"there is nothing in {self.files.root}; is it mounted?") from None
            raise

    def _is_gone(self) -> bool:
        root = self.files.local("")
        try:
            if root is None:
                return False
            with os.scandir(root) as entries:  # one will do: a flat corpus has millions
                return next(entries, None) is None
        except OSError:
            return True

    def _stamp(self, place: _Place) -> tuple[Any, ...]:
        """From one listing for all files of a folder; a file that it does not show (yet) is asked for by name."""
        folder, _, name = place.name.rpartition("/")
        store = place.store.sub(folder) if folder else place.store
        if store not in self._stamps:
            self._stamps[store] = store.stamps()
            if len(self._stamps) > 16:
                self._stamps.popitem(last=False)
        return self._stamps[store].get(name) or (place.store.size(place.name),)

    def _place(self, path: str) -> _Place:
        try:
            return self._allowed(path)
        except OutsideRoot:
            message = f"{path} is not under corpus.root; to read it, name its folder in corpus.audio_roots"
            raise FetchFailed("outside_root", message) from None

    def _allowed(self, path: str) -> _Place:
        path = path.removeprefix("file://")
        if "://" not in path and not path.startswith("/"):
            self.files.path(path)
            return _Place(self.files, path, path)
        for root in (self.files.root, *self.audio_roots):
            root = root.removeprefix("file://")
            top = root if root.endswith("://") else _absolute(root).rstrip("/") + "/"
            if path.startswith(top) and ".." not in path.split("/"):
                folder, _, name = path.rpartition("/")
                return _Place(Store(folder or "/"), name, path)
        raise OutsideRoot(path)

    def _local(self, place: _Place, ref: AudioRef) -> bytes:
        path, shown = str(place.local), place.shown
        if ref.offset is None:
            handle = _Handle(path, shown)
            try:
                return self._read(handle, 0, None, shown)
            finally:
                handle.close()
        return self._read(self._handles.get(path, lambda: _Handle(path, shown)), ref.offset, ref.size, shown)

    def _read(self, handle: _Handle, offset: int, size: int | None, path: str) -> bytes:
        try:
            total = os.fstat(handle.fd).st_size
            _check_range(offset, size, total, path)
            wanted = total - offset if size is None else size
            self._check_size(wanted, path)
            return _read_fully(handle.fd, offset, wanted)
        except OSError as error:
            raise _failure(error, path) from None

    def _remote(self, place: _Place, ref: AudioRef) -> bytes:
        total = place.store.size(place.name)
        _check_range(ref.offset or 0, ref.size, total, place.shown)
        wanted = total - (ref.offset or 0) if ref.size is None else ref.size
        self._check_size(wanted, place.shown)
        return place.store.read(place.name, ref.offset or 0, wanted)

    def _check_size(self, size: int, path: str) -> None:
        if size > self.max_bytes:
            raise FetchFailed("too_big", f"{path} has {size} bytes, more than the {self.max_bytes} allowed; cut it up")

    def _cell(self, place: _Place, ref: AudioRef) -> bytes:
        if ref.row is None or ref.column is None:
            raise FetchFailed("bad_cell", f"{place.shown}: a cell needs a row and a column")
        try:
            value = self._table(place).cell(ref.row, ref.column)
        except BadCell as error:
            why = error.__cause__
            if isinstance(why, OSError) and why.errno and _failure(why, place.shown).transient:
                raise _failure(why, place.shown) from None
            raise FetchFailed("bad_cell", str(error)) from None
        except FileNotFoundError:
            raise FetchFailed("missing_audio", f"there is no file {place.shown}") from None
        return self._content(value, f"{place.shown} row {ref.row} column {ref.column}")

    def _table(self, place: _Place) -> ParquetCells | SavedCells:
        if place.name.endswith(".parquet"):
            if place.local is not None:
                _check_regular(_stat(place.local, place.shown), place.shown)
            return self._tables.get(place, lambda: ParquetCells(place.store, place.name, 4 * self.max_bytes))
        return self._tables.get(place, lambda: SavedCells(place.store, place.name))

    def _content(self, value: Any, where: str) -> bytes:
        """The bytes of a cell: itself, its ``bytes``, or the file its ``path`` names."""
        stored = value.get("bytes") if isinstance(value, dict) else value
        path = value.get("path") if isinstance(value, dict) else value
        if isinstance(stored, bytes):
            self._check_size(len(stored), where)
            return stored
        if isinstance(path, str) and path:
            return self.fetch(AudioRef(path))
        raise FetchFailed("missing_audio", f"{where} holds neither bytes nor a path")


def _absolute(root: str) -> str:
    return root if "://" in root else os.path.abspath(root)


def _stat(path: str, shown: str) -> os.stat_result:
    try:
        return os.stat(path)
    except (OSError, ValueError) as error:
        raise _failure(error, shown) from None


def _check_regular(found: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "folder" if stat.S_ISDIR(found.st_mode) else "device, pipe or socket"
        raise FetchFailed("not_a_file", f"{shown} is a {kind}, not a sound file")


def _open_regular(path: str, shown: str) -> int:
    """A descriptor of a regular file. What it is is seen before it is opened, and once more after."""
    _check_regular(_stat(path, shown), shown)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _failure(error, shown) from None
    try:
        _check_regular(os.fstat(fd), shown)
    except FetchFailed:
        os.close(fd)
        raise
    return fd


def _read_fully(fd: int, offset: int, wanted: int) -> bytes:
    parts: list[bytes] = []
    while wanted > 0 and (part := os.pread(fd, min(wanted, 1 << 28), offset)):
        parts.append(part)
        offset, wanted = offset + len(part), wanted - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_range(offset: int, size: int | None, total: int, path: str) -> None:
    end = offset if size is None else offset + size
    if offset < 0 or (size is not None and size < 0) or end > total:
        message = f"{path} has {total} bytes, not {offset} to {end}: is the file cut short, or the list old?"
        raise FetchFailed("bad_range", message)


def _failure(error: OSError | ValueError, shown: str) -> FetchFailed:
    """Why a file cannot be had: for good, where that is said of the file itself; for now, where the disk or the network fails."""
    code = error.errno if isinstance(error, OSError) else errno.EINVAL
    if code in ABSENT or isinstance(error, FileNotFoundError):
        return FetchFailed("missing_audio", f"there is no file {shown}")
    if code in REFUSED or isinstance(error, PermissionError):
        return FetchFailed("no_permission", f"{shown} may not be read by this user")
    why = (error.strerror if isinstance(error, OSError) else None) or error
    if code in NAMELESS:
        return FetchFailed("unreadable_file", f"{shown!r} cannot be opened ({why})")
    return FetchFailed("unreachable", f"{shown} cannot be read for now ({why}); run again to resume", transient=True)


@contextmanager
def _answered(shown: str) -> Iterator[None]:
    """What object storage refuses, as :class:`FetchFailed`: for now, where the storage is at fault, else for good."""
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        raise _failure(error, shown) from None
    except StorageFailed as error:
        raise FetchFailed("unreachable", str(error), transient=True) from error
