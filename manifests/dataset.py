"""``dataset.json``, written when every unit has its receipt, and reading the dataset through it.

Before ``dataset.json`` is there, there is no dataset. It holds nothing that differs from run to run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from manifests.shards.reader import Sample, Shard
from manifests.storage import Store

NAME = "dataset.json"
FORMAT = "speechmill-dataset/1"


class DatasetError(ValueError):
    """No dataset, an unfinished one, or one of another format: says which and what to do."""


def read_description(out: Store) -> dict[str, Any]:
    """The contents of ``dataset.json``. Raises :class:`DatasetError`."""
    try:
        value = orjson.loads(out.read(NAME))
    except FileNotFoundError:
        raise DatasetError(
            f"{out.root}: no {NAME}: not a dataset, or not finished (run `speechmill data` again)"
        ) from None
    except orjson.JSONDecodeError as error:
        raise DatasetError(f"{out.root}/{NAME}: damaged: {error}") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DatasetError(f"{out.root}/{NAME}: not a {FORMAT} description")
    return value


@dataclass(frozen=True)
class Dataset:
    """A finished dataset: a random-access sequence of samples over all its token shards.

    >>> data = Dataset.open("out")
    >>> data[0].arrays["speech"].shape, data[0].meta["text"]
    ((57, 1), 'okay i set a timer for ten minutes')
    """

    store: Store
    description: Mapping[str, Any]

    @classmethod
    def open(cls, root: str) -> Dataset:
        """Open the dataset under a path or fsspec URL. Raises :class:`DatasetError`."""
        store = Store(root)
        return cls(store, read_description(store))

    @property
    def tokens(self) -> Store:
        return self.store.sub(self.description["tokens"]["folder"])

    @cached_property
    def _shards(self) -> dict[str, Shard]:
        return {}

    @cached_property
    def _ends(self) -> list[int]:
        """Cumulative sample counts."""
        ends, total = [], 0
        for shard in self.description["tokens"]["shards"]:
            total += shard["samples"]
            ends.append(total)
        return ends

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def shard(self, number: int) -> Shard:
        """The reader of shard ``number``, opened once."""
        stem = self.description["tokens"]["shards"][number]["name"].removesuffix(".tar")
        if stem not in self._shards:
            self._shards[stem] = Shard(self.tokens, stem)
        return self._shards[stem]

    def __getitem__(self, i: int) -> Sample:
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        i %= len(self)
        number = bisect_right(self._ends, i)
        return self.shard(number)[i - (self._ends[number - 1] if number else 0)]

    def __iter__(self) -> Iterator[Sample]:
        for number in range(len(self._ends)):
            yield from self.shard(number)

    def find(self, key: str) -> Sample | None:
        """The sample with this key, or None."""
        for number in range(len(self._ends)):
            if (i := self.shard(number).position(key)) is not None:
                return self.shard(number)[i]
        return None
