"""The pipeline's tokenize stage against a bare loop over the same audio, at one and two workers, in one run.

    python benchmarks/tokenize.py [--hours 6]

The bare loop is one process, one thread, and does only what must be done: decode, clean, encode, text to tokens, with the same functions;
it writes nothing. The pipeline does that and everything else: leases, batches, the parity gate, shards, indexes, receipts, on Ray actors.
Ideal is the bare loop's speed times the workers. Two bare loops side by side, each with half of the units, show how much of that the
machine itself gives (cores share caches and memory). Starting Ray and the actors is timed apart and shown.
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
from threading import Barrier

for _threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[_threads] = "1"  # as workers have it

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
            "plan": {"unit_seconds": 600, "dedup": False},
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
    folder = store.sub(f"tokens-bench-{run.engine.workers()}-{time.time_ns()}").root
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


def _half(job: TokenizeJob, first: int, ready: Barrier) -> float:
    worker = job.open()
    ready.wait()
    return bare(worker, job, 2, first)


def side_by_side(job: TokenizeJob) -> float:
    """Seconds until the slower of two bare loops, in processes of their own, has done its half."""
    with multiprocessing.Manager() as manager, multiprocessing.get_context("spawn").Pool(2) as pool:
        ready = manager.Barrier(2)
        return max(pool.starmap(_half, [(job, first, ready) for first in (0, 1)], chunksize=1))


def pipeline(root: Path, out: Path, workers: int) -> tuple[float, float]:
    """(seconds from the first unit's start to the last receipt, seconds before that: Ray and actors starting)."""
    with opened(recipe(root, workers), str(out), Console(quiet=True)) as run:
        job = prepared(run, root)
        begun = time.time()
        run.engine.run(job)
        ended = time.time()
    first = min(r.made["started"] for r in receipts(Store(job.folder), len(job.units)))
    return ended - first, first - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=6.0, help="hours of audio")
    hours = parser.parse_args().hours
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "corpus", Path(folder) / "out"
        write_corpus(root, hours)
        with opened(recipe(root, 0), str(out), Console(quiet=True)) as run:
            job = prepared(run, root)
        worker = job.open()
        seconds = bare(worker, job)
        both = side_by_side(job)
        print(f"{hours:g} h of audio, {os.cpu_count()} cores\n")
        print(f"{'':<22}{'seconds':>9}{'h/h':>9}{'of ideal':>10}{'start-up s':>12}")
        print(f"{'bare loop':<22}{seconds:>9.1f}{hours * 3600 / seconds:>9.0f}{'1.00':>10}{'':>12}")
        print(f"{'two bare loops':<22}{both:>9.1f}{hours * 3600 / both:>9.0f}{seconds / 2 / both:>10.2f}")
        for workers in (1, 2):
            took, start = pipeline(root, out, workers)
            ratio = seconds / workers / took
            print(
                f"{f'pipeline, {workers} worker(s)':<22}{took:>9.1f}{hours * 3600 / took:>9.0f}{ratio:>10.2f}{start:>12.1f}"
            )


if __name__ == "__main__":
    main()
