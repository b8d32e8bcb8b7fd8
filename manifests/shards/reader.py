"""Reading shards through their index: in order or at random, without copying array data.

Only safe decoders exist: ``.json`` members become dicts, ``.npy`` members become read-only arrays, others stay bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from manifests.shards import npy
from manifests.storage import Store


class ShardError(ValueError):
    """A damaged shard or index: names the file and, where known, the key."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One utterance of a shard: its key, its JSON, its arrays by name (``speech``, ``text``, ...), other members raw."""

    key: str
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    raw: dict[str, bytes] = field(default_factory=dict)


def _bytes_of(store: Store, name: str) -> memoryview:
    path = store.local(name)
    if path is None:
        return memoryview(store.read(name))
    with open(path, "rb") as file:
        if path.stat().st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise orjson.JSONDecodeError("not a mapping", "", 0)
    return value


def _is_index(index: np.ndarray) -> bool:
    """Whether an array is one that ``build_index`` makes: a key, and (offset, size) of each member."""
    fields = index.dtype.fields
    if fields is None or "key" not in fields or index.ndim != 1 or fields["key"][0].kind != "S":
        return False
    return all(dtype == np.dtype(("<u8", (2,))) for name, (dtype, *_) in fields.items() if name != "key")


class Shard:
    """One shard: a sequence of :class:`Sample`.

    >>> shard = Shard(Store("out/tokens-0123456789ab"), "shard-000000")
    >>> shard[3].arrays["speech"].shape
    (57, 1)
    """

    def __init__(self, store: Store, stem: str) -> None:
        self.name = f"{stem}.tar"
        self._data = _bytes_of(store, self.name)
        try:
            self.index = npy.load(_bytes_of(store, f"{stem}.idx"))
        except npy.NpyError as error:
            raise ShardError(f"{stem}.idx: {error}") from None
        if not _is_index(self.index):
            raise ShardError(f"{stem}.idx: not a shard index")
        self.extensions = tuple(n for n in self.index.dtype.names or () if n != "key")
        ends = [int(self.index[e].sum(axis=1).max(initial=0)) for e in self.extensions]
        if max(ends, default=0) > len(self._data):
            raise ShardError(f"{self.name}: shorter ({len(self._data)} bytes) than its index says ({max(ends)})")
        self._spans = {e: self.index[e].tolist() for e in self.extensions}

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def keys(self) -> list[str]:
        """The keys, in order. Raises :class:`ShardError` where the index holds one that no writer makes."""
        try:
            return [key.decode("ascii") for key in self.index["key"].tolist()]
        except UnicodeDecodeError as error:
            raise ShardError(f"{self.name.removesuffix('.tar')}.idx: a key is damaged: {error}") from None

    @cached_property
    def _position(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys)}

    def position(self, key: str) -> int | None:
        """Where ``key`` stands in the shard, or None."""
        return self._position.get(key)

    def member(self, i: int, extension: str) -> memoryview | None:
        """The bytes of one member of sample ``i``, or None where it has none."""
        offset, size = self._spans[extension][i]
        return self._data[offset : offset + size] if offset else None

    def __getitem__(self, i: int) -> Sample:
        """Sample ``i``. Raises IndexError, or :class:`ShardError` for a member that does not decode."""
        key = self.keys[i]
        meta: dict[str, Any] = {}
        arrays: dict[str, np.ndarray] = {}
        raw: dict[str, bytes] = {}
        data, spans = self._data, self._spans
        for extension in self.extensions:
            offset, size = spans[extension][i]
            if not offset:
                continue
            view = data[offset : offset + size]
            try:
                if extension[-4:] == ".npy":
                    arrays[extension[:-4]] = npy.load(view)
                elif extension == "json":
                    meta = _mapping(orjson.loads(view))
                else:
                    raw[extension] = bytes(view)
            except (npy.NpyError, orjson.JSONDecodeError) as error:
                raise ShardError(f"{self.name}: {key}.{extension}: {error}") from None
        return Sample(key, meta, arrays, raw)

    def __iter__(self) -> Iterator[Sample]:
        for i in range(len(self)):
            yield self[i]
