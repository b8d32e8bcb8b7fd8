"""What makes a talker learn: the recipe `scratch` and variants of it, each in one process of one thread, at equal steps and batches.

    python benchmarks/learn.py DATASET [--steps N] [--only PART ...] [--at-once K]

Every variant is the recipe with one thing otherwise, and its stages shortened alike. Figures are nats a code on held-out utterances, of whole blocks and of blocks masked by half, with the averaged weights; and processor seconds, all
that the process took. One seed: differences of a tenth of a nat say little.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

Stage = dict[str, Any]
ADAMW = {"name": "adamw", "lr": 0.0015, "weight_decay": 0.05, "betas": [0.9, 0.95]}
FRAMES, SHORT = 0.25, 0.15  # shares of the steps in blocks of one and of four positions, about the demo's


@dataclass(frozen=True)
class Variant:
    """A way to train: its stages with shares of the steps, and other settings."""

    name: str
    stages: tuple[tuple[float, Stage], ...]
    settings: dict[str, Any]

    def arguments(self, steps: int) -> list[str]:
        stages = [
            {**stage, "name": f"part{i}", "steps": round(share * steps)} for i, (share, stage) in enumerate(self.stages)
        ]
        values = {
            "train.stages": stages,
            "train.validation.every": steps,
            "train.checkpoint_every": steps,
            **self.settings,
        }
        return [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def blocks(masks: str, **more: Any) -> Stage:
    return {"layout": "two_stream", "masks": masks, **more}


WHOLE = ((1.0, blocks("decoding")),)
SHORT_FIRST = (
    (FRAMES, blocks("whole", block=1)), (SHORT, blocks("whole", block=4)), (1 - FRAMES - SHORT, blocks("decoding")),
)  # fmt: skip
ROWS_FIRST = ((FRAMES + SHORT, {"layout": "autoregressive"}), (1 - FRAMES - SHORT, blocks("decoding")))

VARIANTS = (
    Variant("as it is", SHORT_FIRST, {}),
    Variant("text by anchors alone", SHORT_FIRST, {"talker.conditioning": "anchors"}),
    Variant("text by anchors and attention", SHORT_FIRST, {"talker.conditioning": "both"}),
    Variant("codes begin at random", SHORT_FIRST, {"train.codes": "random"}),
    Variant("whole blocks from the start", WHOLE, {}),
    Variant("autoregressive rows first", ROWS_FIRST, {}),
    Variant("AdamW", SHORT_FIRST, {"train.optimiser": ADAMW}),
)


@dataclass(frozen=True)
class Learned:
    """What a variant came to."""

    variant: Variant
    full: float
    half: float
    seconds: float


def learn(data: str, steps: int, folder: str, variant: Variant) -> Learned:
    """Train a variant in a process of its own. Raises CalledProcessError where it fails."""
    run = Path(folder) / variant.name.replace(" ", "-").replace(",", "")
    command = [sys.executable, "-m", "pipelines.cli", "train", "scratch", data, "-o", str(run), "--processes", "1"]
    command += variant.arguments(steps)
    root = sys.path[0]
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": root}
    with (Path(folder) / f"{run.name}.txt").open("w") as said:
        process = subprocess.Popen(command, cwd=root, env=os.environ | alone, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(status, command, (Path(folder) / f"{run.name}.txt").read_text())
    figures = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()][-1]
    return Learned(variant, figures["dev_full"], figures["dev_half"], usage.ru_utime + usage.ru_stime)


def shown(found: Sequence[Learned]) -> Table:
    table = Table("variant", "whole", "half", "processor s")
    for one in found:
        table.add_row(one.variant.name, f"{one.full:.2f}", f"{one.half:.2f}", f"{one.seconds:.0f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", nargs="+", metavar="PART", help="variants with one of these in their name")
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.at_once) as pool:
        chosen = [v for v in VARIANTS if not options.only or any(part in v.name for part in options.only)]
        found = list(pool.map(partial(learn, os.path.abspath(options.data), options.steps, folder), chosen))
    Console().print(shown(found))


if __name__ == "__main__":
    main()
