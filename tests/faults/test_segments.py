"""Recordings that kill their workers: each is found and costs itself, and the others are cut up as they always are, by any number of workers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from manifests.ledger import fold
from manifests.receipt import receipts
from manifests.recipe import parse
from manifests.storage import Store
from pipelines.cluster import Cluster
from pipelines.engine.commit import execute
from pipelines.engine.contract import Beat, Task
from pipelines.engine.mapping import Mapper
from pipelines.engine.progress import Events
from pipelines.engine.stopping import Stopping
from pipelines.stages import segments
from pipelines.stages.s20_ingest import cut_lines, ingest
from pipelines.stages.s25_segment import SegmentJob, SegmentWorker
from tests.faults.toy import engine
from tests.long_recordings import write_long_corpus

POISON = {"r1": "dies", "r3": "dies"}


@dataclass(frozen=True)
class DeadlyJob(SegmentJob):
    """Hearing some recordings kills the process, as a broken decoder would."""

    def open(self) -> SegmentWorker:
        worker = super().open()
        return DeadlyWorker(worker.job, worker.fetch, worker.detector)


class DeadlyWorker(SegmentWorker):
    def _recording(self, cut: Mapping[str, Any], poison: tuple[str, str] | None, tally: Any, beat: Beat) -> list[Any]:
        if poison is None and cut["id"] in POISON:
            os._exit(139)
        return super()._recording(cut, poison, tally, beat)


def job(corpus: Path, out: Path) -> SegmentJob:
    """The recordings dealt into units, ready to be cut up under ``out``."""
    recipe = parse(
        {"corpus": {"layout": "table", "root": str(corpus)}, "segment": {"max_seconds": 4, "unit_seconds": 30}}
    )
    cuts, store = Store(str(out / "cuts")), Store(str(out / "segments"))
    ingest(recipe.corpus, str(corpus), cuts, Mapper(lambda: 0, lambda: None, Stopping(0.0)), Events(None))
    assert recipe.segment is not None
    units = segments.deal(cuts, recipe.segment, recipe.plan, store)
    return SegmentJob(store.root, str(corpus), recipe.corpus, recipe.segment, recipe.clean, units)


def by_recording(made: SegmentJob) -> dict[str, list[bytes]]:
    """The lines of each recording, in the manifest that is folded of them."""
    store, found = Store(made.folder), dict[str, list[bytes]]()
    segments.fold(store, made.units, "source")
    for line in cut_lines(store):
        found.setdefault(orjson.loads(line)["recording"]["id"], []).append(line)
    return found


def test_two_workers_die_of_two_recordings_and_only_these_are_missing(cluster: Cluster, tmp_path: Path) -> None:
    corpus = write_long_corpus(tmp_path / "corpus")
    calm, deadly = job(corpus, tmp_path / "calm"), job(corpus, tmp_path / "deadly")
    worker = calm.open()
    for unit in calm.units:
        execute(calm, worker, Task(unit), lambda _: None)
    deadly = DeadlyJob(*(getattr(deadly, name) for name in ("folder", "root", "corpus", "settings", "clean", "units")))
    assert engine(cluster, tmp_path).run(deadly) == len(deadly.units) > 2
    ledger = fold(11, (o for r in receipts(Store(deadly.folder), len(deadly.units)) for o in r.outcomes))
    assert ledger.settled
    assert ledger.quarantined == {"worker_died": 2, "not_audio": 1}
    whole, left = by_recording(calm), by_recording(deadly)
    for name in POISON:
        assert len(whole.pop(name)) > 1
        [line] = left.pop(name)
        assert orjson.loads(line)["custom"]["fault"][0] == "worker_died"
    assert left == whole


def test_a_probe_gives_what_the_whole_unit_gives_and_publishes_nothing(tmp_path: Path) -> None:
    made = job(write_long_corpus(tmp_path / "corpus", 3), tmp_path / "out")
    worker, unit = made.open(), made.units[0]
    whole = worker.process(Task(unit), lambda _: None)
    halves = [worker.process(replace(Task(unit), only=part), lambda _: None) for part in ((0, 1), (1, unit.count))]
    assert [o for half in halves for o in half.outcomes] == list(whole.outcomes)
    name = "unit-000000.jsonl"
    assert b"".join(half.files[name] for half in halves) == whole.files[name]
    assert not (Path(made.folder) / name).exists()
    skipped = worker.process(Task(unit, skip={0: ("worker_died", "it died")}), lambda _: None)
    assert (skipped.outcomes[0].status, skipped.outcomes[0].reason) == ("quarantined", "worker_died")
    assert skipped.outcomes[1:] == whole.outcomes[1:]
