"""The teach stage against bare batched passes of the same teacher, in one process and as a pipeline on Ray.

    python benchmarks/teach.py OUT --teacher RUN [--views 2] [--stores states topk hidden] [--workers 1] [--units 4]

Bare passes: the batches of the stage, made ready before the clock starts, through ``Teacher.trace``; nothing is read, kept or written. The stage reads
shards and masks, batches, traces, packs and writes. ``process`` is the stage's worker on the same units in the same process; ``pipeline`` the whole engine with actors, from
the start of its first unit to its last receipt. Ratios are positions a second against bare passes. Storage is that of the shards.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from manifests.receipt import receipts
from manifests.settings.run import RunSettings
from manifests.settings.teach import TeachSettings
from manifests.storage import Store
from pipelines.cluster import Cluster
from pipelines.engine.contract import Task
from pipelines.engine.progress import Events
from pipelines.engine.run import Engine
from pipelines.engine.stopping import Stopping
from pipelines.report.charts import size
from pipelines.stages.s80_teach import TeachJob
from pipelines.subject import Subject
from training.batches import Batch

HOURS = (1, 6_000, 100_000)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bare(job: TeachJob, batches: list[Batch]) -> None:
    """The passes alone. States are asked for where the store needs them."""
    teacher = job.open().teacher
    for batch in batches:
        teacher.trace(batch.noised, batch.text_NS, batch.states_N, hidden=job.settings.store != "states")


def batches_of(job: TeachJob) -> list[Batch]:
    """The batches of the stage over all units."""
    worker, found = job.open(), list[Batch]()
    for unit in job.units:
        found += [batch for _, batch in worker.batches(unit.index)]
    return found


def inline(job: TeachJob) -> None:
    worker = job.open()
    for unit in job.units:
        worker.process(Task(unit), lambda _: None)


def on_ray(job: TeachJob, workers: int) -> float:
    """Seconds from the start of the first unit to the last receipt."""
    settings = RunSettings(workers=workers)
    cluster = Cluster(settings)
    with Stopping(0.0) as stopping:
        engine = Engine(settings, Console(quiet=True), Events(None), stopping, cluster.start)
        try:
            engine.run(job)
        finally:
            cluster.stop()
    made = [receipt.made for receipt in receipts(Store(job.folder), len(job.units))]
    return max(m["started"] + m["seconds"] for m in made) - min(m["started"] for m in made)


def rows(subject: Subject, settings: TeachSettings, workers: int, units: int) -> Iterator[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        job = TeachJob(folder, subject.out.root, subject.description, settings, subject.units[:units])
        batches = batches_of(job)
        positions = sum(int(b.noised.valid_NL.sum()) * settings.views for b in batches)
        frames = sum(int(b.noised.frames_N.sum()) for b in batches)
        hours = frames / subject.description["speech"]["frame_rate"] / 3600
        bare(job, batches[:1])  # libraries load, memory is taken
        alone = seconds(lambda: bare(job, batches))
        yield settings.store, "bare passes, 1 process", f"{positions / alone:,.0f}", "1.00", ""
        own = seconds(lambda: inline(job))
        yield "", "the stage's worker, same process", f"{positions / own:,.0f}", f"{alone / own:.2f}", ""
        ran = on_ray(job, workers)
        ratio = alone / ran / workers
        each = sum(path.stat().st_size for path in Path(folder).glob("*.tar")) / hours
        sizes = ", ".join(size(each * count) for count in HOURS)
        yield "", f"pipeline, {workers} worker(s)", f"{positions / ran:,.0f}", f"{ratio:.2f}", sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="a finished dataset")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--masks", default="hierarchical")
    parser.add_argument(
        "--stores", nargs="+", choices=["states", "topk", "hidden"], default=["states", "topk", "hidden"]
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--units", type=int, default=4, help="the first so many units of the dataset")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    subject = Subject.open(asked.out)
    table = Table(
        "store", "", "positions/s", "of bare (a worker)", "bytes for " + ", ".join(f"{h:,}" for h in HOURS) + " h"
    )
    values: dict[str, Any] = {"teacher": asked.teacher, "views": asked.views, "masks": asked.masks}
    for store in asked.stores:
        for row in rows(subject, TeachSettings(**values, store=store), asked.workers, asked.units):
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
