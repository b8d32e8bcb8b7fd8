"""Where data lies: a folder or an fsspec URL, with publish-at-once writes and reads by name.

Names are ``/``-separated and relative to the root. Nothing here trusts a listing for truth: readers go by receipts.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any


class OutsideRoot(ValueError):
    """A name that would leave its root."""


@dataclass(frozen=True)
class Store:
    """A root (local path or fsspec URL such as ``s3://bucket/data``) and the files under it."""

    root: str

    @cached_property
    def _fs(self) -> tuple[Any, str]:
        import fsspec

        fs, path = fsspec.core.url_to_fs(self.root)
        return fs, str(path).rstrip("/") or "/"

    @property
    def is_local(self) -> bool:
        return "://" not in self.root or self.root.startswith("file://")

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

    def exists(self, name: str) -> bool:
        return bool(self._fs[0].exists(self.path(name)))

    def size(self, name: str) -> int:
        return int(self._fs[0].size(self.path(name)))

    def open(self, name: str) -> IO[bytes]:
        return self._fs[0].open(self.path(name), "rb")

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """The bytes of ``name`` (or ``size`` of them from ``offset``). Raises FileNotFoundError."""
        if self.is_local:
            with open(self.path(name), "rb") as file:
                file.seek(offset)
                return file.read() if size is None else file.read(size)
        end = None if size is None else offset + size
        return self._fs[0].cat_file(self.path(name), start=offset or None, end=end)

    def publish(self, name: str, data: bytes) -> None:
        """Make ``name`` appear whole: never a partial file under its final name, last writer wins.

        Local: written and synced under an attempt-private name, then renamed. Object storage: one PUT, which is
        atomic by itself.
        """
        path = self.path(name)
        if not self.is_local:
            self._fs[0].pipe_file(path, data)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        attempt = f"{path}.attempt-{uuid.uuid4().hex}"
        try:
            with open(attempt, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(attempt, path)
        except BaseException:
            Path(attempt).unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        if self.exists(name):
            self._fs[0].rm(self.path(name), recursive=True)

    def list(self, name: str = "") -> list[str]:
        """The names (not paths) directly in folder ``name``, sorted; empty where there is none."""
        try:
            found = self._fs[0].ls(self.path(name), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in found)

    def walk(self, name: str = "") -> Iterator[str]:
        """Every file below ``name``, as names relative to the root, in sorted order, folder by folder.

        Raises OSError for a folder that cannot be listed: a corpus must not look smaller than it is.
        """
        top = len(self._fs[1].rstrip("/")) + 1
        for folder, subfolders, files in self._fs[0].walk(self.path(name), on_error="raise"):
            if isinstance(subfolders, list):
                subfolders.sort()
            for file in sorted(files):
                yield f"{folder.rstrip('/')}/{file}"[top:]


def sweep_attempts(store: Store, folder: str) -> int:
    """Remove what killed attempts left in a local ``folder``; returns how many files."""
    if not store.is_local:
        return 0
    left = [n for n in store.list(folder) if ".attempt-" in n]
    for name in left:
        store.remove(f"{folder}/{name}" if folder else name)
    return len(left)
