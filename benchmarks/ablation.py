"""The paper's ablation in miniature: which masks and which loss make a talker good in few steps (VocalNet-MDM's ablations).

    python benchmarks/ablation.py DATASET -o runs/ablation [--seeds 0 1 2] [--base 1000] [--steps 300] [--only PART ...] [--without PART ...]
    python benchmarks/ablation.py DATASET -o runs/ablation-demo --base demo --seeds 3 4 --known docs/ablation.jsonl

All arms of a layout start from the same weights: the dataset's own teacher, taken further with Bernoulli masks (``--base`` steps: the paper's stage 2), or a talker by
a recipe, which has seen all that decoding goes through.
Then each has ``--steps`` more, with masks and loss of its own, and learns by the same schedule. A step with a teacher takes longer, so cross entropy is also
given as many steps as fit the time of the teacher's (``same time``; seconds of the one processor that a run has, so that other programs do not matter). Every arm
is trained once for each seed and judged by ``speechmill eval`` on the same held-out sentences, which nothing was chosen by. All arms of a seed start from
one base; other seeds may have another one, made elsewhere: arms are only compared within their seeds. Next-frame and multi-token talkers are
trained once, by recipes of their own. What is finished is not done again: the same command goes on, and ``table.md`` and ``index.html`` tell of what there is
(benchmarks/ablation_told.py). ``outcomes.jsonl`` holds all that the table is made of; such a file kept from elsewhere (``--known``) counts as if it had been done here.
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
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

from rich.console import Console

from benchmarks.ablation_arms import Arm, arms, chosen_of, layout_of, needed
from benchmarks.ablation_outcomes import ALONE, BASELINES, Outcome, is_judged, merged, outcomes_of, read, write
from benchmarks.ablation_page import page
from benchmarks.ablation_told import STEPS, chart, shown_rates, told

LEARNING_RATE = 0.001


@dataclass(frozen=True)
class Desk:
    """Where everything lies, and how much of it there is to be."""

    data: str
    out: Path
    base: str  # steps with Bernoulli masks, or a recipe
    steps: int
    sentences: int
    judged: tuple[int, ...]
    seeds: tuple[int, ...]
    console: Console
    known: tuple[Outcome, ...] = field(default=(), repr=False)

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

    def make_base(self, layout: str, processes: int) -> None:
        run = self.base_of(layout)
        if self.by_steps:
            stage = {"name": "base", "layout": layout, "masks": "bernoulli", "copies": 2, "steps": int(self.base)}
            self.train(run, "teacher", 0, stage)
        else:
            self.by_recipe(self.base, run, processes)
        self.judge(run)

    def make_baseline(self, kind: str) -> None:
        """A next-frame (``ar``) or multi-token (``mtp``) talker by its recipe, judged beside one that is there already."""
        run = self.out / kind
        self.by_recipe(f"demo-{kind}", run, 1)
        self.judge(run, in_blocks=False)

    def by_recipe(self, recipe: str, run: Path, processes: int) -> None:
        said = run.parent / f"{run.name}.txt"
        self.call(said, "train", recipe, self.data, "-o", str(run), "--processes", str(processes))

    def judge(self, run: Path, in_blocks: bool = True) -> None:
        if is_judged(run):
            return
        self._lend_ears(run)
        steps = ["--steps", ",".join(map(str, self.judged))] if in_blocks else []
        wanted = ["--sentences", str(self.sentences), *steps, "--open", "0", "--timed", "10"]
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
        """Train and judge one arm with one seed, unless what came of it is known."""
        if self.knows(arm.name, seed):
            return
        run, steps = self.run_of(arm, seed), self.steps
        if arm.like is not None:
            taught, plain = needed(arm)
            steps = round(steps * self.seconds_a_step(taught, seed) / self.seconds_a_step(plain, seed))
        self.train(run, str(self.base_of(arm.layout)), seed, arm.stage(steps))
        self.judge(run)
        self.console.print(
            f"{arm.name}, seed {seed}: {steps} steps, {shown_rates(self.come_of(arm, seed))}", soft_wrap=True
        )

    def knows(self, name: str, seed: int = 0) -> bool:
        """Whether it was judged elsewhere at all steps that are asked for; next-frame decoders at theirs."""
        wanted = {ALONE} if name in BASELINES else set(self.judged)
        return wanted <= {one.steps for one in self.known if (one.arm, one.seed) == (name, seed)}

    def come_of(self, arm: Arm, seed: int) -> list[Outcome]:
        """What came of it here, or else elsewhere; nothing where it is not done."""
        run = self.run_of(arm, seed)
        if is_judged(run):
            return outcomes_of(run, arm.name, seed, self.origin(arm.layout))
        return [one for one in self.known if (one.arm, one.seed) == (arm.name, seed)]

    def seconds_a_step(self, arm: Arm, seed: int) -> float:
        return self.come_of(arm, seed)[0].seconds_a_step

    def origin(self, layout: str) -> str:
        """The hash of the weights that arms start from."""
        from training.checkpoint import find
        from training.loading import weights_hash

        return weights_hash(find(str(self.base_of(layout))))[:12]


def names_of(kind: str) -> list[str]:
    """Rows of the table that a next-frame (``ar``) or multi-token (``mtp``) talker has."""
    return [name for name in BASELINES if name.lower().startswith(kind)]


def judged_here(desk: Desk, chosen: Sequence[Arm]) -> list[tuple[str, int, Path, str]]:
    """(name, seed, run, layout) of what was trained and judged here, in the order of the table. A base has the first of its seeds."""
    layouts = {desk.base_of(a.layout): a.layout for a in chosen}
    first = next(iter(layouts.values()))
    runs = [(name, 0, desk.out / kind, first) for kind in ("ar", "mtp") for name in names_of(kind)]
    runs += [(base.name.replace("-", ", "), desk.seeds[0], base, layout) for base, layout in sorted(layouts.items())]
    runs += [(arm.name, seed, desk.run_of(arm, seed), arm.layout) for arm in chosen for seed in desk.seeds]
    return [one for one in runs if is_judged(one[2])]


def bases_of(desk: Desk, chosen: Sequence[Arm]) -> dict[Path, str]:
    """What has to be there for what is not known, and the layout it is for."""
    missing = [a for a in chosen if not all(desk.knows(a.name, seed) for seed in desk.seeds)]
    return {desk.base_of(layout): layout for layout in sorted({a.layout for a in missing})}


def begin_alike(desk: Desk, layouts: Iterable[str]) -> None:
    """Raises ValueError where arms of a seed that are known began from another base than the one that is here."""
    for one, layout in product(desk.known, layouts):
        if one.seed in desk.seeds and layout_of(one.arm) == layout and one.base != (here := desk.origin(layout)):
            raise ValueError(
                f"{one.arm}, seed {one.seed}, began from {one.base}, but the base here is {here}: take other seeds"
            )


def ordered(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Next-frame decoders, what arms start from, arms."""
    names = [*BASELINES, *(a.name for a in arms())]
    place = {name: k for k, name in enumerate(names)}
    return sorted(outcomes, key=lambda o: (place.get(o.arm, len(BASELINES) - 0.5), o.arm, o.seed, o.steps))


def publish(desk: Desk, here: Sequence[tuple[str, int, Path, str]]) -> None:
    """Print the tables and the claims, and write them with what they are made of, a chart, and a page to hear what was judged here."""
    mine = [one for name, seed, run, layout in here for one in outcomes_of(run, name, seed, desk.origin(layout))]
    outcomes = ordered(merged(desk.known, mine))
    write(desk.out / "outcomes.jsonl", outcomes)
    text = told(outcomes)
    (desk.out / "table.md").write_text(text)
    (desk.out / "chart.svg").write_text(chart(outcomes))
    heard: dict[Path, str] = {}  # of each arm the first seed
    for name, _, run, _ in here:
        if name not in heard.values():
            heard.setdefault(run, name)
    if heard:
        (desk.out / "index.html").write_bytes(page(desk.data, heard, desk.console))
    desk.console.print(text, soft_wrap=True, markup=False, highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("-o", "--out", default="runs/ablation")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--base", default="1000", metavar="STEPS|RECIPE")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--sentences", type=int, default=300)
    parser.add_argument("--judged", nargs="+", type=int, default=STEPS, help="steps a block that are heard")
    parser.add_argument("--only", nargs="+", metavar="PART", help="arms with one of these in their name")
    parser.add_argument("--without", nargs="+", metavar="PART", default=(), help="none with one of these in its name")
    parser.add_argument("--baselines", nargs="*", choices=("ar", "mtp"), default=("ar", "mtp"))
    parser.add_argument("--known", type=Path, metavar="FILE", help="outcomes.jsonl of an earlier ablation")
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    console = Console(width=max(160, Console().width))
    data, out = os.path.abspath(asked.data), Path(asked.out).absolute()
    judged, seeds = tuple(asked.judged), tuple(asked.seeds)
    chosen = chosen_of(asked.only, asked.without)
    if not chosen:
        parser.error("no arm has such a name: there are " + "; ".join(a.name for a in arms()))
    known = tuple(read(asked.known)) if asked.known else ()
    desk = Desk(data, out, asked.base, asked.steps, asked.sentences, judged, seeds, console, known)
    bases = bases_of(desk, chosen)
    baselines = [kind for kind in asked.baselines if not all(map(desk.knows, names_of(kind)))]
    with ThreadPoolExecutor(asked.at_once) as pool:
        alone = max(asked.at_once // max(len(bases), 1), 1)
        list(pool.map(partial(desk.make_base, processes=alone), bases.values()))
        begin_alike(desk, bases.values())
        waited = [pool.submit(desk.make_baseline, kind) for kind in baselines]
        for seed in seeds:  # a seed is whole before the next one begins
            for part in ([a for a in chosen if a.like is None], [a for a in chosen if a.like is not None]):
                list(pool.map(partial(desk.carry_out, seed=seed), part))
            for one in waited if seed == seeds[0] else ():
                one.result()
            publish(desk, judged_here(desk, chosen))


if __name__ == "__main__":
    main()
