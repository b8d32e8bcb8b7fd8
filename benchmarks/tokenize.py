"""The pipeline's tokenize stage against a bare loop over the same audio, at one and two workers, in one run.

    python benchmarks/tokenize.py [--hours 10] [--rounds 1]

The bare loop is one process, one thread, and does only what must be done: decode, clean, encode, text to tokens, with the same functions;
it writes nothing. The pipeline does that and everything else: leases, batches, the parity gate, shards, indexes, receipts, on Ray actors.
Ideal is the bare loop's speed times the workers. Two bare loops side by side, each with half of the units, show how much of that the
machine itself gives (cores share caches and memory). Workers of the pipeline run with an allocator that keeps freed memory
(`pipelines/cluster.py`); a bare loop in a plain Python process does not, so it is measured both ways, and both ratios are shown.

Rounds repeat all measurements in turn, and the median is shown, with the least and the most: other programs on the machine come and go.
Ray lowers the priority of its workers; here they keep that of the bare loops, so that such programs weigh the same on both sides.
Starting Ray and the actors is timed apart and shown.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from threading import Barrier

from pipelines.cluster import ALLOCATOR, THREADS

os.environ.update({**THREADS, "RAY_worker_niceness": "0"})  # threads as workers have them, priority as the bare loops

import soundfile
from rich.console import Console

from manifests.receipt import receipts
from manifests.recipe import Recipe, parse
from manifests.storage import Store
from pipelines.data import DataRun, opened
from pipelines.stages import s30_plan
from pipelines.stages.hearing import Heard
from pipelines.stages.s60_tokenize import TokenizeJob, TokenizeWorker
from tests.small_corpus import RATE, tone

CLIP_SECONDS, DISTINCT = 10.0, 120


def write_corpus(folder: Path, hours: float) -> None:
    """Ten-second wavs: so many distinct sounds, written again and again under names of their own."""
    folder.mkdir()
    clips = [tone(seed, CLIP_SECONDS) for seed in range(DISTINCT)]
    lines = ["id\taudio\ttext\tspeaker"]
    for i in range(round(hours * 3600 / CLIP_SECONDS)):
        soundfile.write(folder / f"{i:06d}.wav", clips[i % DISTINCT], RATE, subtype="PCM_16")
        lines.append(f"{i:06d}\t{i:06d}.wav\tthis is sentence number {i}\ts{i % 50}")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe(root: Path, workers: int) -> Recipe:
    return parse(
        {
            "corpus": {"layout": "table", "root": str(root)},
            "plan": {"dedup": False},
            "speech": {"fit_seconds": 600},
            "run": {"workers": workers},
        }
    )


def prepared(run: DataRun, root: Path) -> TokenizeJob:
    """Everything before the stage that is measured."""
    did: dict[str, int] = {}
    _, plan, units = run.planned(str(root), did)
    fit = run.fitted(str(root), plan, units, did)
    store = run.space.store
    folder = store.sub(f"tokens-bench-{run.engine.workers('tokens')}-{time.time_ns()}").root
    return TokenizeJob(folder, store.sub(plan).root, store.sub(fit).root, str(root), "bench", run.recipe, units)


def bare(worker: TokenizeWorker, job: TokenizeJob, step: int = 1, first: int = 0) -> float:
    """Seconds of the bare loop over every ``step``-th unit."""
    started = time.perf_counter()
    for unit in job.units[first::step]:
        for cut in s30_plan.unit_cuts(Store(job.plan), unit.index):
            heard = worker.ear.hear(cut)
            if isinstance(heard, Heard):
                worker.tokenizer.encode([side.wave_T for side in heard.sides])
                worker.text.encode(heard.utterance.text or "")
    return time.perf_counter() - started


def _share(job: TokenizeJob, of: int, first: int, ready: Barrier) -> float:
    worker = job.open()
    ready.wait()
    return bare(worker, job, of, first)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Processes started inside have these variables."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


def bare_loops(job: TokenizeJob, count: int, allocator: Mapping[str, str]) -> float:
    """Seconds until the slowest of ``count`` bare loops, each in a process of its own, has done its share."""
    with (
        environment(allocator),
        multiprocessing.Manager() as manager,
        multiprocessing.get_context("spawn").Pool(count) as pool,
    ):
        ready = manager.Barrier(count)
        return max(pool.starmap(_share, [(job, count, first, ready) for first in range(count)], chunksize=1))


def pipeline(root: Path, out: Path, workers: int) -> tuple[float, float]:
    """(seconds from the first unit's start to the last receipt, seconds before that: Ray and actors starting)."""
    with opened(recipe(root, workers), str(out), Console(quiet=True)) as run:
        job = prepared(run, root)
        begun = time.time()
        run.engine.run(job)
        ended = time.time()
    first = min(r.made["started"] for r in receipts(Store(job.folder), len(job.units)))
    return ended - first, first - begun


def measured(job: TokenizeJob, root: Path, out: Path) -> tuple[dict[str, float], dict[str, float]]:
    """One round: seconds by row of the table, and the seconds the pipeline took to start."""
    seconds, starts = dict[str, float](), dict[str, float]()
    for count in (1, 2):
        loops = f"{count} bare loop{'s' if count > 1 else ''}"
        seconds[loops] = bare_loops(job, count, {})
        seconds[f"{loops}, tuned allocator"] = bare_loops(job, count, ALLOCATOR)
        workers = f"pipeline, {count} worker{'s' if count > 1 else ''}"
        seconds[workers], starts[workers] = pipeline(root, out, count)
    return seconds, starts


def table(hours: float, rounds: list[tuple[dict[str, float], dict[str, float]]]) -> Iterator[str]:
    """Lines: medians over the rounds; ratios are taken within a round."""
    yield f"{'':<28}{'seconds':>9}{'h/h':>8}{'of ideal':>10}{'(least, most)':>16}{'of tuned ideal':>16}{'start-up s':>12}"
    for row in rounds[0][0]:
        count = next(int(part) for part in row.split() if part.isdigit())
        plain = sorted(r["1 bare loop"] / count / r[row] for r, _ in rounds)
        tuned = median(r["1 bare loop, tuned allocator"] / count / r[row] for r, _ in rounds)
        took, spread = median(r[row] for r, _ in rounds), f"({plain[0]:.2f}, {plain[-1]:.2f})"
        start = f"{median(s[row] for _, s in rounds):>12.1f}" if row in rounds[0][1] else ""
        yield (
            f"{row:<28}{took:>9.1f}{hours * 3600 / took:>8.0f}{median(plain):>10.2f}{spread:>16}{tuned:>16.2f}{start}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0, help="hours of audio")
    parser.add_argument("--rounds", type=int, default=1, help="times everything is measured")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "corpus", Path(folder) / "out"
        write_corpus(root, asked.hours)
        with opened(recipe(root, 0), str(out), Console(quiet=True)) as run:
            job = prepared(run, root)
        before = os.getloadavg()[0]
        rounds = [measured(job, root, out) for _ in range(asked.rounds)]
        load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after"
        print(
            f"{asked.hours:g} h of audio in {len(job.units)} units, {os.cpu_count()} cores, {asked.rounds} round(s); {load}\n"
        )
        print(*table(asked.hours, rounds), sep="\n")


if __name__ == "__main__":
    main()
