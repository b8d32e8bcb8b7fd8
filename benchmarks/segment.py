"""Cutting up long recordings: the stage against the bare loops inside it, on the same sound and one core.

    python benchmarks/segment.py [--minutes N] [--recordings R] [--detector energy|silero] [--repeats K]

Recordings are made here (voices with pauses, 16 kHz FLAC) or taken from ``--folder``. Three ways are timed in turns, by time on the processor, and the best
of the repeats counts:

    detector    sound decoded ahead, in memory, into the detector's ears, and speech into utterances
    bare loop   the same, decoding as it goes: what a script would do
    stage       ``SegmentJob`` through the engine, in this process: fetching, receipts, files and the fold as well
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile
from rich.console import Console

from manifests.audio.decode import DecodeLimits, decode
from manifests.audio.windows import listen
from manifests.recipe import Recipe, parse
from pipelines.data import opened
from tokenization.voice_activity.activity import Activity, Ear
from tokenization.voice_activity.contract import RATE, Detector
from tokenization.voice_activity.registry import open_detector
from tokenization.voice_activity.utterances import Bounds, utterances

LIMITS = DecodeLimits(1e6, 2**40)
WINDOW = 1 << 20


def make_recordings(folder: Path, count: int, minutes: float) -> None:
    """Buzzing voices that speak for seconds and pause, in noise; a different one in each recording."""
    for k in range(count):
        random = np.random.default_rng(k)
        time_T = np.arange(int(minutes * 60 * RATE)) / RATE
        pitch_T = 2 * np.pi * np.cumsum(130 + 25 * np.sin(2 * np.pi * (1.1 + 0.1 * k) * time_T)) / RATE
        wave_T = sum(np.sin(n * pitch_T) / (1 + abs(n - 4)) for n in range(1, 9))
        speaks = np.repeat(random.random(len(time_T) // (RATE * 2) + 1) < 0.75, RATE * 2)[: len(time_T)]
        syllables_T = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_T)
        noise_T = 5e-4 * random.standard_normal(len(time_T))
        soundfile.write(folder / f"r{k}.flac", 0.08 * wave_T * syllables_T * speaks + noise_T, RATE, subtype="PCM_16")


@dataclass(frozen=True)
class Ways:
    """The three ways over the files of one folder."""

    recipe: Recipe
    files: list[Path]
    detector: Detector
    bounds: Bounds

    def cut(self, activity: Activity) -> int:
        speech = activity.speech(self.detector.threshold)
        return len(utterances(speech, activity.milliseconds, activity.level_G, self.bounds))

    def alone(self, waves: list[tuple[int, np.ndarray]]) -> int:
        found = 0
        for rate, wave_CT in waves:
            ear = Ear(self.detector, rate)
            for first in range(0, wave_CT.shape[1], WINDOW):
                ear.hear(wave_CT[:, first : first + WINDOW])
            found += self.cut(ear.done())
        return found

    def loop(self) -> int:
        return sum(
            self.cut(listen(f, lambda rate, n: Ear(self.detector, rate), 1e6).listener.done()) for f in self.files
        )

    def stage(self, out: Path) -> int:
        """The stage and all around it but ingest, which is done beforehand."""
        with opened(self.recipe, str(out), Console(quiet=True)) as run:
            found = run.manifests(str(self.recipe.corpus.root), {})
        assert found.segments is not None
        return found.segments["segments"]


def timed(do: Callable[[], int]) -> tuple[float, int]:
    """(seconds on the processor, what came)."""
    began = time.process_time()
    found = do()
    return time.process_time() - began, found


def ingested(ways: Ways, out: Path) -> Path:
    """An output root whose corpus is listed, and nothing else."""
    plain = ways.recipe.model_copy(update={"segment": None})
    with opened(plain, str(out), Console(quiet=True)) as run:
        run.manifests(str(plain.corpus.root), {})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="of each recording that is made")
    parser.add_argument("--recordings", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="sound files to take instead")
    parser.add_argument("--detector", choices=("energy", "silero"), default="energy")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(asked, Path(scratch))


def measure(asked: argparse.Namespace, scratch: Path) -> None:
    """Time the three ways and print them."""
    folder = asked.folder or scratch / "corpus"
    if asked.folder is None:
        folder.mkdir()
        make_recordings(folder, asked.recordings, asked.minutes)
    recipe = parse({
        "corpus": {"layout": "folder", "root": str(folder)}, "segment": {"detector": {"name": asked.detector}}, "run": {"workers": 0},
    })  # fmt: skip
    assert recipe.segment is not None
    detector, files = open_detector(recipe.segment.detector), sorted(p for p in folder.rglob("*") if p.is_file())
    detector.begin()
    ways = Ways(recipe, files, detector, Bounds.of(recipe.segment))
    decoded = [decode(f, LIMITS) for f in files]
    waves = [(d.sample_rate, d.wave_CT) for d in decoded]
    hours = sum(wave_CT.shape[1] / rate for rate, wave_CT in waves) / 3600
    rows: dict[str, list[tuple[float, int]]] = {"detector": [], "bare loop": [], "stage": []}
    ready = ingested(ways, scratch / "ready")
    for k in range(asked.repeats):
        out = Path(shutil.copytree(ready, scratch / f"out{k}"))
        rows["detector"].append(timed(lambda: ways.alone(waves)))
        rows["bare loop"].append(timed(ways.loop))
        rows["stage"].append(timed(lambda out=out: ways.stage(out)))
    best = {name: min(seconds for seconds, _ in row) for name, row in rows.items()}
    print(f"{hours:.2f} h in {len(files)} recordings, detector {asked.detector}, {rows['stage'][0][1]} utterances")
    assert len({found for row in rows.values() for _, found in row}) == 1, "the ways do not agree"
    for name, seconds in best.items():
        print(f"{name:<10} {hours * 3600 / seconds:>8,.0f} h/h   stage over it: {seconds / best['stage']:.2f}")


if __name__ == "__main__":
    main()
