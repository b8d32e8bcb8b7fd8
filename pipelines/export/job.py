"""An export as a job of the engine: one part is one unit, so it is leased, retried, committed and resumed like any other.

A part is a run of whole token shards; what it becomes is a function of them, the corpus and the format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manifests.dataset import Dataset
from manifests.ledger import Outcome
from pipelines.engine.contract import Beat, Made, Task, Unit
from pipelines.export.about import About
from pipelines.export.errors import ExportError
from pipelines.export.items import Item, Sounds, whole_shard
from pipelines.export.registry import FORMATS


@dataclass(frozen=True)
class ExportJob:
    """Write the parts of an export into ``folder``.

    out      the dataset's root
    corpus   where its corpus lies; None: no sound goes along
    parts    (first, end) token shards of every part
    """

    folder: str
    out: str
    corpus: str | None
    kind: str
    about: About
    parts: tuple[tuple[int, int], ...]
    units: tuple[Unit, ...]
    stage: str = "export"

    def open(self) -> ExportWorker:
        data = Dataset.open(self.out)
        return ExportWorker(self, data, None if self.corpus is None else Sounds.of(data, self.corpus))


@dataclass(frozen=True)
class ExportWorker:
    job: ExportJob
    data: Dataset
    sounds: Sounds | None

    def process(self, task: Task, beat: Beat) -> Made:
        """One part. Raises ``ShardError`` for a damaged shard, :class:`ExportError` for what the format or the corpus refuses."""
        if task.skip:
            raise ExportError(
                f"the sound of utterance {min(task.skip)} of part {task.unit.index} kills its reader; export with --no-audio"
            )
        format_, about = FORMATS[self.job.kind], self.job.about
        splits: dict[str, list[Item]] = {}
        for item in self._items(task):
            splits.setdefault(item.meta["split"], []).append(item)
            beat(1)
        files: dict[str, bytes] = {}
        facts: dict[str, Any] = {}
        for split in sorted(splits):
            piece = format_.piece(about, task.unit.index, split, splits[split])
            files |= piece.files
            facts[split] = piece.facts
            beat(0)
        written = tuple(Outcome(item.id, "written") for items in splits.values() for item in items)
        return Made(files, written, facts)

    def _items(self, task: Task) -> Iterator[Item]:
        first, end = task.only or (0, task.unit.count)
        position = 0
        for number in range(*self.job.parts[task.unit.index]):
            cuts: Mapping[str, Any] = self.sounds.cuts(number) if self.sounds else {}
            for sample in whole_shard(self.data, number):
                if first <= position < end:
                    yield self.sounds.item(sample, cuts.get(sample.meta["id"])) if self.sounds else Item(sample)
                position += 1


def deal(
    shards: list[Mapping[str, Any]], seconds: float, least: int
) -> tuple[tuple[tuple[int, int], ...], tuple[Unit, ...]]:
    """Whole shards dealt into parts of at least ``least`` utterances (but the last), and the parts as units.

    shards    their entries in ``dataset.json``
    seconds   of all speech, shared out by utterances: it only steers progress
    """
    parts: list[tuple[int, int]] = []
    counts: list[int] = []
    first = count = 0
    for number, shard in enumerate(shards):
        count += shard["samples"]
        if count and (count >= least or number == len(shards) - 1):
            parts.append((first, number + 1))
            counts.append(count)
            first, count = number + 1, 0
    total = max(sum(counts), 1)
    units = tuple(Unit(k, n, round(seconds * n / total, 3)) for k, n in enumerate(counts))
    return tuple(parts), units
