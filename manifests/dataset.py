"""``dataset.json``, written when every unit has its receipt, and reading the dataset through it.

Before ``dataset.json`` is there, there is no dataset. It holds nothing that differs from run to run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, zip_longest
from typing import IO, Any

import ijson
import orjson

from manifests.shards.reader import Sample, Shard
from manifests.storage import Store

NAME = "dataset.json"
FORMAT = "speechmill-dataset/1"
BITE = 16 << 10  # bytes of it that are looked at together, where most is passed over
OPEN = 8192  # shards that are open at once: each is two maps, and Linux gives a process 65,530; three stages may be read together


class DatasetError(ValueError):
    """No dataset, an unfinished one, or one of another format: says which and what to do."""


def _no_dataset(out: Store) -> DatasetError:
    return DatasetError(f"{out.root}: no {NAME}: not a dataset, or not finished (run `speechmill data` again)")


def read_description(out: Store) -> dict[str, Any]:
    """The contents of ``dataset.json``. Raises :class:`DatasetError`."""
    try:
        value = orjson.loads(out.read(NAME))
    except FileNotFoundError:
        raise _no_dataset(out) from None
    except orjson.JSONDecodeError as error:
        raise DatasetError(f"{out.root}/{NAME}: damaged: {error}") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DatasetError(f"{out.root}/{NAME}: not a {FORMAT} description")
    return value


def read_members(out: Store, *names: str) -> dict[str, Any]:
    """Those of the members of ``dataset.json`` that are there. Raises :class:`DatasetError` as :func:`read_description` does.

    All else is passed over as it is read: a large dataset's shards, of which it tells one by one, need no memory.
    """
    try:
        with out.open(NAME) as file:
            found = _members(file, {"format", *names})
    except FileNotFoundError:
        raise _no_dataset(out) from None
    except ijson.JSONError as error:
        raise DatasetError(f"{out.root}/{NAME}: damaged: {' '.join(str(error).split())}") from None
    if found.get("format") != FORMAT:
        raise DatasetError(f"{out.root}/{NAME}: not a {FORMAT} description")
    return {name: found[name] for name in names if name in found}


def _members(file: IO[bytes], wanted: Collection[str]) -> dict[str, Any]:
    """The wanted members of a JSON object; none of anything else. Raises ``ijson.JSONError`` for what is no JSON, to its very end."""
    found: dict[str, Any] = {}
    builder, name = ijson.ObjectBuilder(), None
    for prefix, event, value in ijson.parse(file, use_float=True, buf_size=BITE):
        if event == "map_key" and not prefix:
            name = value if value in wanted else None
            builder = ijson.ObjectBuilder()
        elif name is not None and prefix:
            builder.event(event, value)
            found[name] = builder.value
    return found


@dataclass(frozen=True)
class Samples:
    """A random-access sequence of samples over all shards of one folder.

    shards   their entries in ``dataset.json``, in order
    """

    store: Store
    shards: Sequence[Mapping[str, Any]]

    @cached_property
    def _open(self) -> dict[int, Shard]:
        return {}

    @cached_property
    def _ends(self) -> list[int]:
        """Cumulative sample counts."""
        return list(accumulate(shard["samples"] for shard in self.shards))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def shard(self, number: int) -> Shard:
        """The reader of shard ``number``: opened once, and again where :data:`OPEN` others were since."""
        if number not in self._open:
            if len(self._open) >= OPEN:
                del self._open[next(iter(self._open))]
            self._open[number] = Shard(self.store, self.shards[number]["name"].removesuffix(".tar"))
        return self._open[number]

    def __getitem__(self, i: int) -> Sample:
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        i %= len(self)
        number = bisect_right(self._ends, i)
        return self.shard(number)[i - (self._ends[number - 1] if number else 0)]

    def __iter__(self) -> Iterator[Sample]:
        for number in range(len(self.shards)):
            yield from self.shard(number)

    def find(self, key: str) -> Sample | None:
        """The sample with this key, or None."""
        for number in range(len(self.shards)):
            if (i := self.shard(number).position(key)) is not None:
                return self.shard(number)[i]
        return None


@dataclass(frozen=True)
class SideSamples(Samples):
    """What lies beside the samples of a dataset, in shards of its own: same keys, same order, so the same index.

    Raises :class:`DatasetError` where a shard's keys are not those of the shard it lies beside.
    """

    beside: Samples

    def __post_init__(self) -> None:
        counts, wanted = ([shard["samples"] for shard in shards] for shards in (self.shards, self.beside.shards))
        if counts != wanted:
            raise DatasetError(f"{self.store.root}: {sum(counts)} samples in {len(counts)} shards lie beside "
                               f"{sum(wanted)} in {len(wanted)}, and not one beside one")  # fmt: skip

    def shard(self, number: int) -> Shard:
        """The reader of shard ``number``, its keys compared when it is opened."""
        known = number in self._open
        shard = super().shard(number)
        if not known and shard.keys != (wanted := self.beside.shard(number).keys):
            del self._open[number]
            own, its = next(pair for pair in zip_longest(shard.keys, wanted) if pair[0] != pair[1])
            raise DatasetError(f"{self.store.root}/{shard.name}: holds {own} where the sample beside it is {its}")
        return shard


@dataclass(frozen=True)
class Dataset:
    """A finished dataset: a random-access sequence of samples over all its token shards.

    >>> data = Dataset.open("out")
    >>> data[0].arrays["speech"].shape, data[0].meta["text"]
    ((57, 1), 'okay i set a timer for ten minutes')
    >>> data.masks[0].key == data[0].key, data.masks[0].arrays["hierarchical"].shape
    (True, (16, 1, 8))
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
    def samples(self) -> Samples:
        return Samples(self.tokens, self.description["tokens"]["shards"])

    @cached_property
    def masks(self) -> SideSamples:
        """The masks of every sample, by the same index (docs/data-format.md). Raises :class:`DatasetError` for none."""
        return self.side("masks")

    @cached_property
    def states(self) -> SideSamples:
        """The text states of every sample, by the same index (docs/data-format.md). Raises :class:`DatasetError` for none."""
        return self.side("states")

    def side(self, stage: str) -> SideSamples:
        """The side shards of a stage. Raises :class:`DatasetError` where there are none, or they belong to other samples."""
        about = self.description.get(stage)
        if not about:
            raise DatasetError(f"{self.store.root}: this dataset has no {stage}: its recipe did not ask for them")
        return SideSamples(self.store.sub(about["folder"]), about["shards"], self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def shard(self, number: int) -> Shard:
        """The reader of token shard ``number``, opened once."""
        return self.samples.shard(number)

    def __getitem__(self, i: int) -> Sample:
        return self.samples[i]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def find(self, key: str) -> Sample | None:
        """The sample with this key, or None."""
        return self.samples.find(key)
