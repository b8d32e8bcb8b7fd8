"""Where data lies: a folder or an fsspec URL, with publish-at-once writes and reads by name.

Names are ``/``-separated and relative to the root. Nothing here trusts a listing for truth: readers go by receipts.
"""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from manifests.patience import StorageFailed, patiently

T = TypeVar("T")

READ_AHEAD = 4 << 20  # bytes that an open remote file asks for at once
COPIED = 1 << 20  # bytes that are copied at once
PART = 16 << 20  # bytes of a part: S3 takes larger files in parts, each of which is tried again alone
# One request is one try, bounded in time: trying again is done in one place (manifests/patience.py). Listings are asked for each time.
S3 = {"use_listings_cache": False, "config_kwargs": {"retries": {"total_max_attempts": 1}}}


class OutsideRoot(ValueError):
    """A name that would leave its root."""


def in_full(place: str) -> str:
    """A local path in full, so that processes with other working directories find the same there; a URL as it is."""
    scheme, slashes, path = place.rpartition("://")
    if scheme not in ("", "file"):
        return place
    return f"{scheme}{slashes}{os.path.abspath(os.path.expanduser(path))}"


def same_place(one: str, other: str) -> bool:
    """Whether two roots are the same folder, by whatever names."""
    places = [in_full(place).removeprefix("file://").rstrip("/") for place in (one, other)]
    local = [place if "://" in place else os.path.realpath(place) for place in places]
    return local[0] == local[1]


@dataclass(frozen=True)
class Store:
    """A root (local path or fsspec URL such as ``s3://bucket/data``) and the files under it.

    On object storage every request is tried again where it is not answered; :class:`StorageFailed` where that does not help.
    """

    root: str

    @cached_property
    def _fs(self) -> tuple[Any, str]:
        import fsspec

        try:
            fs, path = fsspec.core.url_to_fs(self.root, **_options(self.protocol))
        except (ImportError, ValueError) as error:
            raise StorageFailed(f"{self.root}: {error}; for s3:// install the extra `s3`") from None
        return fs, str(path).rstrip("/") or "/"

    @property
    def protocol(self) -> str:
        return self.root.partition("://")[0] if "://" in self.root else "file"

    @property
    def is_local(self) -> bool:
        return self.protocol == "file"

    def path(self, name: str) -> str:
        """The full path of ``name`` in its file system. Raises :class:`OutsideRoot` for ``..`` and absolute names."""
        parts = [p for p in name.split("/") if p not in ("", ".")]
        if ".." in parts or name.startswith("/"):
            raise OutsideRoot(f"{name!r} leaves {self.root}")
        return "/".join([self._fs[1].rstrip("/"), *parts])

    def local(self, name: str) -> Path | None:
        """``name`` as a local path, or None on object storage."""
        return Path(self.path(name)) if self.is_local else None

    def sub(self, name: str) -> Store:
        """The store whose root is the folder ``name`` of this one."""
        self.path(name)
        return Store(f"{self.root.rstrip('/')}/{name.strip('/')}")

    def _ask(self, name: str, request: Callable[[Any, str], T]) -> T:
        """What the file system says of the path of ``name``."""
        fs, path = self._fs[0], self.path(name)
        if self.is_local:
            return request(fs, path)
        return patiently(f"{self.root}/{name}".rstrip("/"), lambda: request(fs, path))

    def exists(self, name: str) -> bool:
        return bool(self._ask(name, lambda fs, path: fs.exists(path)))

    def size(self, name: str) -> int:
        return int(self._ask(name, lambda fs, path: fs.size(path)))

    def open(self, name: str) -> IO[bytes]:
        """``name`` for reading from any place. Raises FileNotFoundError."""
        if self.is_local:
            return open(self.path(name), "rb")
        return cast(IO[bytes], io.BufferedReader(_RemoteFile(self, name), READ_AHEAD))

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """The bytes of ``name`` (or ``size`` of them from ``offset``). Raises FileNotFoundError."""
        if self.is_local:
            with open(self.path(name), "rb") as file:
                file.seek(offset)
                return file.read() if size is None else file.read(size)
        if size == 0:
            return b""
        end = None if size is None else offset + size
        return self._ask(name, lambda fs, path: fs.cat_file(path, start=offset or None, end=end))

    def publish(self, name: str, data: bytes) -> None:
        """Make ``name`` appear whole: never a partial file under its final name, last writer wins.

        Local: written and synced under an attempt-private name, then renamed. Object storage: one PUT, or a multipart upload that is
        completed at its end; both appear at once, and nothing is renamed.
        """
        if self.is_local:
            self._appear(name, lambda file: file.write(data))
        else:
            self._put(name, lambda fs, path, **parts: fs.pipe_file(path, data, **parts))

    def publish_file(self, name: str, source: Path) -> None:
        """As :meth:`publish`, of what lies in the local file ``source``: for more than memory should hold."""
        if self.is_local:
            with source.open("rb") as data:
                self._appear(name, lambda file: shutil.copyfileobj(data, file, COPIED))
        else:
            self._put(name, lambda fs, path, **parts: fs.put_file(str(source), path, **parts))

    def _appear(self, name: str, write: Callable[[IO[bytes]], Any]) -> None:
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        attempt = f"{path}.attempt-{uuid.uuid4().hex}"
        try:
            with open(attempt, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(attempt, path)
        except BaseException:
            Path(attempt).unlink(missing_ok=True)
            raise

    def _put(self, name: str, request: Callable[..., Any]) -> None:
        parts = {"chunksize": PART} if self.protocol == "s3" else {}
        try:
            self._ask(name, lambda fs, path: request(fs, path, **parts))
        except (FileNotFoundError, PermissionError) as error:
            raise StorageFailed(
                f"{self.root}/{name}: cannot be written ({error}); make the bucket, or mend its rights"
            ) from None

    def remove(self, name: str) -> None:
        """Remove the file ``name``, if there is one."""
        local = self.local(name)
        if local is not None:
            local.unlink(missing_ok=True)
        elif self.exists(name):
            self._ask(name, lambda fs, path: fs.rm_file(path))

    def list(self, name: str = "") -> list[str]:
        """The names (not paths) directly in folder ``name``, sorted; empty where there is none."""
        try:
            found = self._ask(name, lambda fs, path: fs.ls(path, detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in found)

    def stamps(self, name: str = "") -> dict[str, tuple[Any, ...]]:
        """(size, version) of the files directly in folder ``name``, by name, as one listing gives them; empty where there is none.

        The version is what the storage tells it by: an ETag, or the time of its last change; empty where it tells neither.
        """
        try:
            found = self._ask(name, lambda fs, path: fs.ls(path, detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        files = (f for f in found if f.get("type") == "file")
        return {posixpath.basename(str(f["name"])): (f.get("size"), _version(f)) for f in files}

    def walk(self, name: str = "") -> Iterator[str]:
        """Every file below ``name``, as names relative to the root, in sorted order, folder by folder.

        Raises OSError (or :class:`StorageFailed`) for a folder that cannot be listed: a corpus must not look smaller than it is.
        """
        top = len(self._fs[1].rstrip("/")) + 1
        if not self.is_local:
            found = self._ask(name, lambda fs, path: fs.find(path))
            yield from sorted(
                (str(p)[top:] for p in found), key=lambda n: (*n.split("/")[:-1], "", n.rsplit("/", 1)[-1])
            )
            return
        for folder, subfolders, files in self._fs[0].walk(self.path(name), on_error="raise"):
            if isinstance(subfolders, list):
                subfolders.sort()
            for file in sorted(files):
                yield f"{folder.rstrip('/')}/{file}"[top:]


def _options(protocol: str) -> dict[str, Any]:
    """What the file system of ``protocol`` is opened with; fsspec's own configuration is kept."""
    if protocol != "s3":
        return {}
    from fsspec.config import conf

    theirs = dict(conf.get("s3", {}))
    config = {**cast(Any, S3["config_kwargs"]), **theirs.pop("config_kwargs", {})}
    return {**S3, **theirs, "config_kwargs": config}


def _version(found: dict[str, Any]) -> str:
    return str(next((found[k] for k in ("ETag", "etag", "LastModified", "updated", "created") if found.get(k)), ""))


class _RemoteFile(io.RawIOBase):
    """A remote file read by ranges, each of them patiently."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name, self._at = store, name, 0
        self._size = store.size(name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._at))
        data = self._store.read(self._name, self._at, wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def sweep_attempts(store: Store, folder: str) -> int:
    """Remove what killed attempts left in a local ``folder``; returns how many files."""
    if not store.is_local:
        return 0
    left = [n for n in store.list(folder) if ".attempt-" in n]
    for name in left:
        store.remove(f"{folder}/{name}" if folder else name)
    return len(left)
