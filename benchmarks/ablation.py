"""The paper's ablation in miniature: which masks and which loss make a talker good in few steps (VocalNet-MDM's ablations).

    python benchmarks/ablation.py DATASET -o runs/ablation [--seeds 3] [--base 1000] [--steps 300] [--only PART ...] [--without PART ...]
    python benchmarks/ablation.py DATASET -o runs/ablation-demo --base demo

All arms of a layout start from the same weights: the dataset's own teacher, taken further with Bernoulli masks (``--base`` steps: the paper's stage 2), or a talker by
a recipe, which has seen all that decoding goes through.
Then each has ``--steps`` more, with masks and loss of its own, and learns by the same schedule. A step with a teacher takes longer, so cross entropy is also
given as many steps as fit the time of the teacher's (``same time``; seconds of the one processor that a run has, so that other programs do not matter). Every arm
is trained once for each seed and judged by ``speechmill eval`` on the same held-out sentences, which nothing was chosen by. Next-frame and multi-token talkers are
trained once, by recipes of their own. What is finished is not done again: the same command goes on, and ``table.md`` and ``index.html`` tell of what there is.

Rates are means over seeds, with 95 % intervals by resampling sentences and seeds. Differences are paired: the same sentences and seeds, the same resampling.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rich.console import Console

from benchmarks.ablation_told import BASELINES, STEPS, publish, rates, seconds_a_step, shown_rates

TEACHES_IN, TAU, ALPHA = 4, 2.0, 0.7  # the paper's
LEARNING_RATE = 0.001


@dataclass(frozen=True)
class Arm:
    """One way to go on. ``alpha`` is the weight of the teacher's word, None where nobody teaches; ``like`` an arm whose time it is given.

    ``pulls`` multiplies the teacher's word by tau squared, which the paper does not say: without it, it hardly pulls (benchmarks/pull.py).
    """

    name: str
    layout: str
    masks: str
    alpha: float | None = None
    like: str | None = None
    pulls: bool = False

    @property
    def folder(self) -> str:
        return self.name.replace(", ", "-").replace(" ", "-").replace(".", "")

    def stage(self, steps: int) -> dict[str, Any]:
        stage: dict[str, Any] = {"name": "arm", "layout": self.layout, "masks": self.masks, "steps": steps}
        if self.alpha is None:
            return stage
        taught = {"alpha": self.alpha, "tau": TAU, "tau_squared": self.pulls, "iterations": TEACHES_IN}
        return {**stage, "loss": "distillation", "distillation": taught}


def arms() -> tuple[Arm, ...]:
    """Of both layouts the paper's four cells, and cross entropy at the teacher's time; of two streams other weights of the teacher too, and the demo's masks."""
    found = []
    for layout, short in (("two_stream", "two"), ("single_stream", "one")):
        for masks in ("bernoulli", "hierarchical"):
            taught = Arm(f"{short}, {masks}, ISD", layout, masks, ALPHA)
            found += [Arm(f"{short}, {masks}", layout, masks), taught]
            found.append(Arm(f"{short}, {masks}, same time", layout, masks, like=taught.name))
    pulling = [
        Arm(f"two, {m}, ISD tau squared", "two_stream", m, ALPHA, pulls=True)
        for m in ("bernoulli", "hierarchical", "decoding")
    ]
    weights = [Arm(f"two, hierarchical, ISD alpha {a}", "two_stream", "hierarchical", a) for a in (0.5, 0.9)]
    return (*found, *pulling, *weights, Arm("two, decoding", "two_stream", "decoding"))


@dataclass(frozen=True)
class Desk:
    """Where everything lies, and how much of it there is to be."""

    data: str
    out: Path
    base: str  # steps with Bernoulli masks, or a recipe
    steps: int
    sentences: int
    judged: tuple[int, ...]
    processes: int
    console: Console

    def call(self, said: Path, *command: str) -> None:
        """One `speechmill` command in a process of one thread. Raises CalledProcessError, with what it said."""
        alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": sys.path[0]}
        said.parent.mkdir(parents=True, exist_ok=True)
        with said.open("a") as file:
            line = [sys.executable, "-m", "pipelines.cli", *command]
            done = subprocess.run(line, env=os.environ | alone, stdout=file, stderr=file, check=False)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, line, said.read_text()[-2000:])

    def train(self, run: Path, start: str, seed: int, stage: dict[str, Any]) -> None:
        values = {
            "train.start": start, "train.seed": seed, "train.stages": [stage], "train.optimiser.lr": LEARNING_RATE,
            "train.validation.every": stage["steps"], "train.checkpoint_every": 100, "train.keep": 1,
            "train.log_every": max(min(10, stage["steps"] // 4), 1),
        }  # fmt: skip
        sets = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        self.call(run.parent / f"{run.name}.txt", "train", "isd", self.data, "-o", str(run), "--processes", "1", *sets)

    @property
    def by_steps(self) -> bool:
        return self.base.isdigit()

    def base_of(self, layout: str) -> Path:
        return self.out / (f"base-{layout}" if self.by_steps else "base")

    def make_base(self, layout: str) -> None:
        run = self.base_of(layout)
        if self.by_steps:
            stage = {"name": "base", "layout": layout, "masks": "bernoulli", "copies": 2, "steps": int(self.base)}
            self.train(run, "teacher", 0, stage)
        else:
            self.by_recipe(self.base, run, self.processes)
        self.judge(run)

    def make_baseline(self, kind: str) -> None:
        """A next-frame (``ar``) or multi-token (``mtp``) talker by its recipe, judged beside one that is there already."""
        run = self.out / kind
        self.by_recipe(f"demo-{kind}", run, 1)
        self.judge(run)

    def by_recipe(self, recipe: str, run: Path, processes: int) -> None:
        said = run.parent / f"{run.name}.txt"
        self.call(said, "train", recipe, self.data, "-o", str(run), "--processes", str(processes))

    def judge(self, run: Path) -> None:
        if (run / "eval" / "eval.json").exists():
            return
        self._lend_ears(run)
        steps = ",".join(map(str, self.judged))
        wanted = ["--sentences", str(self.sentences), "--steps", steps, "--open", "0", "--timed", "10"]
        self.call(run.parent / f"{run.name}.txt", "eval", str(run), "--data", self.data, "--workers", "0", *wanted)

    def _lend_ears(self, run: Path) -> None:
        """What was heard of recordings is the same for all: it need not be heard again."""
        heard = run / "eval" / "heard.jsonl"
        known = next((path for path in self.out.glob("*/eval/heard.jsonl")), None)
        if known is not None and not heard.exists():
            heard.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(known, heard)

    def run_of(self, arm: Arm, seed: int) -> Path:
        return self.out / arm.folder / f"seed-{seed}"

    def carry_out(self, arm: Arm, seed: int) -> None:
        """Train and judge one arm with one seed."""
        run, steps = self.run_of(arm, seed), self.steps
        if arm.like is not None:
            taught, plain = needed(arm)
            steps = round(steps * seconds_a_step(self.run_of(taught, 0)) / seconds_a_step(self.run_of(plain, 0)))
        self.train(run, str(self.base_of(arm.layout)), seed, arm.stage(steps))
        self.judge(run)
        self.console.print(
            f"{arm.name}, seed {seed}: {steps} steps, {shown_rates(rates(arm.name, [run]))}", soft_wrap=True
        )


def needed(arm: Arm) -> tuple[Arm, Arm]:
    """Of an arm at another's time: that other one, and itself at equal steps."""
    taught = next(a for a in arms() if a.name == arm.like)
    return taught, replace(arm, name=arm.name.removesuffix(", same time"), like=None)


def chosen_of(parts: Sequence[str] | None, without: Sequence[str]) -> list[Arm]:
    """All arms, or those with one of ``parts`` in their name, and none of ``without``, and what these need."""
    asked = [a for a in arms() if not parts or any(part in a.name for part in parts)]
    wanted = [a for a in asked if not any(part in a.name for part in without)]
    names = {a.name for w in wanted for a in ((w,) if w.like is None else (w, *needed(w)))}
    return [a for a in arms() if a.name in names]


def finished(desk: Desk, chosen: Sequence[Arm], seeds: int) -> dict[str, list[Path]]:
    """Runs that were judged, by what they are."""
    runs = {name: [desk.out / name.partition(",")[0].lower()] for name in BASELINES}
    bases = {desk.base_of(layout) for layout in {a.layout for a in chosen}}
    runs |= {base.name.replace("-", ", "): [base] for base in sorted(bases)}
    runs |= {arm.name: [desk.run_of(arm, seed) for seed in range(seeds)] for arm in chosen}
    there = {name: [run for run in some if (run / "eval" / "eval.json").exists()] for name, some in runs.items()}
    return {name: some for name, some in there.items() if some}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("-o", "--out", default="runs/ablation")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", default="1000", metavar="STEPS|RECIPE")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--sentences", type=int, default=300)
    parser.add_argument("--judged", nargs="+", type=int, default=STEPS, help="steps a block that are heard")
    parser.add_argument("--only", nargs="+", metavar="PART", help="arms with one of these in their name")
    parser.add_argument("--without", nargs="+", metavar="PART", default=(), help="none with one of these in its name")
    parser.add_argument("--baselines", nargs="*", choices=("ar", "mtp"), default=("ar", "mtp"))
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    console = Console(width=max(160, Console().width))
    data, out, judged = os.path.abspath(asked.data), Path(asked.out).absolute(), tuple(asked.judged)
    chosen = chosen_of(asked.only, asked.without)
    layouts = sorted({arm.layout for arm in chosen})
    alone = max(asked.at_once // len(layouts), 1)
    desk = Desk(data, out, asked.base, asked.steps, asked.sentences, judged, alone, console)
    with ThreadPoolExecutor(asked.at_once) as pool:
        list(pool.map(desk.make_base, {desk.base_of(layout): layout for layout in layouts}.values()))
        baselines = [pool.submit(desk.make_baseline, kind) for kind in asked.baselines]
        for seed in range(asked.seeds):  # a seed is whole before the next one begins
            for part in ([a for a in chosen if a.like is None], [a for a in chosen if a.like is not None]):
                list(pool.map(partial(desk.carry_out, seed=seed), part))
            for one in baselines if seed == 0 else ():
                one.result()
            publish(out, data, finished(desk, chosen, asked.seeds), console)


if __name__ == "__main__":
    main()
