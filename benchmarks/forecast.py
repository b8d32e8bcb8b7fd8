"""What `speechmill plan` foretells of a run against that run: a corpus is probed, foretold, then run, and the ratio printed stage by stage.

    python benchmarks/forecast.py [--speech FOLDER] [--hours 3] [--unit-seconds 450] [--minutes 0.5] [--workers 2] [--teach]

The corpus is sound of FOLDER (files of any kind that libsndfile reads), again and again at other levels with a little noise, so that no two
utterances are copies; without FOLDER, tones. `--teach` has a tiny teacher trained and lets it teach. Ratios are what it took over what was foretold:
of wall time, of the hours in which workers did something, and of bytes. Other programs on the machine weigh on both sides, but not evenly.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os
import tempfile
from typing import Any

import numpy as np
import soundfile
from rich.console import Console

from manifests.recipe import Recipe, parse
from manifests.storage import Store
from pipelines.data import opened
from pipelines.forecast.answer import Question, answered
from pipelines.forecast.compared import table
from pipelines.forecast.record import keep, to_json
from pipelines.forecast.table import render
from pipelines.status import status
from tests.small_corpus import RATE, tone

KINDS = (".flac", ".wav", ".ogg", ".mp3")
DISTINCT, LEAST = 40, 2.0  # tones; seconds of a file that is worth taking


def sounds(folder: Path | None) -> list[tuple[np.ndarray, int]]:
    """(wave_T, sample rate) of each file, or tones of 4 to 14 s."""
    if folder is None:
        return [(tone(seed, 4.0 + 10.0 * (seed % 11) / 11), RATE) for seed in range(DISTINCT)]
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix in KINDS):
        try:
            wave_T, rate = soundfile.read(path, dtype="float32")
        except soundfile.LibsndfileError:
            continue
        wave_T = wave_T if wave_T.ndim == 1 else wave_T[:, 0]
        if len(wave_T) >= LEAST * rate:
            found.append((wave_T, rate))
    if not found:
        raise SystemExit(f"{folder}: no sound of {LEAST:g} s or more")
    return found


def write_corpus(folder: Path, hours: float, found: list[tuple[np.ndarray, int]]) -> None:
    """FLAC files and a list of them."""
    folder.mkdir()
    lines, seconds, i = ["id\taudio\ttext\tspeaker"], 0.0, 0
    while seconds < hours * 3600:
        wave_T, rate = found[i % len(found)]
        random = np.random.default_rng(i)
        noisy_T = wave_T * random.uniform(0.5, 0.9) + 1e-4 * random.standard_normal(len(wave_T))
        soundfile.write(folder / f"{i:06d}.flac", np.clip(noisy_T, -1, 1), rate, subtype="PCM_16")
        lines.append(f"{i:06d}\t{i:06d}.flac\tthis is sentence number {i} of so many\ts{i % 50}")
        seconds, i = seconds + len(wave_T) / rate, i + 1
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe(root: Path, asked: argparse.Namespace) -> Recipe:
    more: dict[str, Any] = {"teach": {"bootstrap": "tiny", "views": 1}} if asked.teach else {}
    return parse({
        "corpus": {"layout": "table", "root": str(root)}, "plan": {"unit_seconds": asked.unit_seconds},
        "speech": {"fit_seconds": asked.fit_seconds}, "run": {"workers": asked.workers}, **more,
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, help="folder of sound files")
    parser.add_argument("--hours", type=float, default=3.0, help="hours of audio")
    parser.add_argument("--unit-seconds", type=float, default=450.0)
    parser.add_argument("--fit-seconds", type=int, default=900)
    parser.add_argument("--minutes", type=float, default=0.5, help="of the probe")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--teach", action="store_true", help="train a tiny teacher and let it teach")
    asked = parser.parse_args()
    quiet, shown = Console(quiet=True), Console(highlight=False, width=120)
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "corpus", str(Path(folder) / "out")
        write_corpus(root, asked.hours, sounds(asked.speech))
        chosen, before = recipe(root, asked), os.getloadavg()[0]
        answer = answered(chosen, out, Question(minutes=asked.minutes), quiet)
        keep(Store(out), to_json(answer))
        render(answer, shown)
        between = os.getloadavg()[0]
        with opened(chosen, out, quiet) as run:
            run()
        found = status(out).forecast
        assert found is not None, "it was just written"
        shown.print(table(found))
        load = f"{before:.1f} before, {between:.1f} between, {os.getloadavg()[0]:.1f} after"
        shown.print(f"{asked.hours:g} h, {answer.own.amount.units} units, {os.cpu_count()} cores; load {load}")


if __name__ == "__main__":
    main()
