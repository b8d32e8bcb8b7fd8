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
import statistics
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pipelines.evaluation.evaluate import Evaluation
    from pipelines.evaluation.rows import Row

Figures = dict[str, Any]
STEPS = (1, 2, 4, 8, 16)
ALONE = 0  # in place of steps, where a decoder has none
BASELINES = {
    "AR": "AR",
    "MTP, guesses kept": "MTP, unverified",
    "MTP, guesses tested": "MTP, verified",
}  # as an evaluation calls them
RESAMPLES = 2000
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


def logged(run: Path) -> list[Figures]:
    """What was noted of steps."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def seconds_a_step(run: Path) -> float:
    """What a step took of a processor, the median over the run. A run that was resumed counts from nothing again."""
    steps = logged(run)
    gone = [(b["processor_seconds"] - a["processor_seconds"], b["step"] - a["step"]) for a, b in pairwise(steps)]
    return statistics.median(seconds / count for seconds, count in gone if seconds > 0)


def row_of(run: Path, steps: int, name: str) -> Figures:
    """The row of an evaluation: so many steps a block or, without any, the decoder of that name."""
    rows = json.loads((run / "eval" / "eval.json").read_text())["rows"]
    wanted = BASELINES.get(name)
    return next(
        r for r in rows if (r["name"] == wanted if steps == ALONE else (r.get("decoder") or {}).get("steps") == steps)
    )


def errors(run: Path, steps: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(errors, words) of each held-out sentence."""
    from tokenization.recognisers.score import wer

    heard = row_of(run, steps, name)["heard"]
    words_N, errors_N = np.array(wer([h["said"] for h in heard], [h["grammar"] for h in heard]).each).T
    return errors_N, words_N


def resampled(runs: Sequence[Path], steps: int, name: str) -> np.ndarray:
    """The word error rate over runs, one a seed, then of every resampling of sentences and seeds: the same ones for the same numbers of them."""
    each = [errors(run, steps, name) for run in runs]
    errors_SN, words_N = np.stack([e for e, _ in each]), each[0][1]
    times_RN, times_RS = (drawn(count, seed) for seed, count in enumerate(errors_SN.shape[::-1]))
    return (times_RN @ errors_SN.T * times_RS).sum(1) / (times_RN @ words_N) / len(runs)


def drawn(count: int, seed: int) -> np.ndarray:
    """How often each of so many is taken: each once, then ``RESAMPLES`` times as many at random with replacement."""
    each_K = np.full(count, 1 / count)
    return np.concatenate([np.ones((1, count)), np.random.default_rng(seed).multinomial(count, each_K, RESAMPLES)])


def judged(name: str, runs: Sequence[Path]) -> list[int]:
    """The numbers of steps that all these runs were judged at."""
    if name in BASELINES:
        return [ALONE]
    rows = [json.loads((run / "eval" / "eval.json").read_text())["rows"] for run in runs]
    each = [{row["decoder"]["steps"] for row in some if row["kind"] == "block"} for some in rows]
    return sorted(set.intersection(*each))


def rates(name: str, runs: Sequence[Path]) -> dict[int, np.ndarray]:
    return {steps: resampled(runs, steps, name) for steps in judged(name, runs)}


def shown(rates_R: np.ndarray) -> str:
    """The rate in per cent, with its interval."""
    low, high = np.quantile(rates_R[1:], [0.025, 0.975])
    return f"{100 * rates_R[0]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def shown_rates(found: dict[int, np.ndarray]) -> str:
    return ", ".join(f"{100 * rates_R[0]:.1f} % @{steps}" for steps, rates_R in found.items())


@dataclass(frozen=True)
class Claim:
    """What the paper says, as a difference of two rates that should lie under a limit."""

    says: str
    ours: tuple[str, int]
    theirs: tuple[str, int]
    factor: float = 1.0  # the first is to be no more than so many times the second

    def verdict(self, found: dict[str, dict[int, np.ndarray]]) -> str | None:
        """Holds, does not, or cannot be told; None where an arm is missing."""
        (a, i), (b, j) = self.ours, self.theirs
        if i not in found.get(a, ()) or j not in found.get(b, ()):
            return None
        beyond_R = found[a][i] - self.factor * found[b][j]
        low, high = np.quantile(beyond_R[1:], [0.025, 0.975])
        word = "holds" if high < 0 else "does not hold" if low > 0 else "cannot be told"
        return f"{word}: {shown(found[a][i])} against {shown(found[b][j])}"


CLAIMS = (
    Claim("ISD with hierarchical masks beats cross entropy with them, 1 step, equal steps", ("two, hierarchical, ISD", 1), ("two, hierarchical", 1)),
    Claim("and if the teacher's word is multiplied by tau squared", ("two, hierarchical, ISD tau squared", 1), ("two, hierarchical", 1)),
    Claim("ISD at equal time", ("two, hierarchical, ISD", 1), ("two, hierarchical, same time", 1)),
    Claim("ISD beats cross entropy with Bernoulli masks, 1 step, equal steps", ("two, bernoulli, ISD", 1), ("two, bernoulli", 1)),
    Claim("hierarchical masks beat Bernoulli ones under ISD, 1 step", ("two, hierarchical, ISD", 1), ("two, bernoulli, ISD", 1)),
    Claim("the same, 4 steps", ("two, hierarchical, ISD", 4), ("two, bernoulli, ISD", 4)),
    Claim("without a teacher hierarchical masks are worse than Bernoulli ones, 1 step", ("two, bernoulli", 1), ("two, hierarchical", 1)),
    Claim("alpha 0.7 beats 0.9, 1 step", ("two, hierarchical, ISD", 1), ("two, hierarchical, ISD alpha 0.9", 1)),
    Claim("in one stream: ISD with hierarchical masks beats cross entropy with them, 1 step", ("one, hierarchical, ISD", 1), ("one, hierarchical", 1)),
    Claim("two streams beat one, ISD, hierarchical, 4 steps", ("two, hierarchical, ISD", 4), ("one, hierarchical, ISD", 4)),
    Claim("after ISD one step has at most 20 % more word errors than sixteen", ("two, hierarchical, ISD", 1), ("two, hierarchical, ISD", 16), 1.2),
    Claim("after ISD four steps have at most 5 % more word errors than sixteen", ("two, hierarchical, ISD", 4), ("two, hierarchical, ISD", 16), 1.05),
    Claim("after ISD sixteen steps are better than next-frame decoding", ("two, hierarchical, ISD", 16), ("AR", ALONE)),
)  # fmt: skip


def finished(desk: Desk, chosen: Sequence[Arm], seeds: int) -> dict[str, list[Path]]:
    """Runs that were judged, by what they are."""
    runs = {name: [desk.out / name.partition(",")[0].lower()] for name in BASELINES}
    bases = {desk.base_of(layout) for layout in {a.layout for a in chosen}}
    runs |= {base.name.replace("-", ", "): [base] for base in sorted(bases)}
    runs |= {arm.name: [desk.run_of(arm, seed) for seed in range(seeds)] for arm in chosen}
    there = {name: [run for run in some if (run / "eval" / "eval.json").exists()] for name, some in runs.items()}
    return {name: some for name, some in there.items() if some}


def table(runs: dict[str, list[Path]]) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of what is finished: how well it is understood."""
    rows = []
    for name, some in runs.items():
        facts = [f"{logged(some[0])[-1]['step']}", f"{seconds_a_step(some[0]):.2f}", str(len(some))]
        found = rates(name, some)
        rows.append([name, *facts, *(shown(found[s]) if s in found else "" for s in (ALONE, *STEPS))])
    return ["arm", "steps", "s a step", "seeds", "WER %", *(f"WER % @{steps}" for steps in STEPS)], rows


MEASURES: dict[str, Callable[[Figures], float]] = {
    "code entropy, bits": lambda row: row["entropy_bits"],
    "of predictions": lambda row: row["predictive_entropy_bits"],
    "repeats %": lambda row: 100 * row["repeat_share"],
    "silence %": lambda row: 100 * row["silence_share"],
    "length": lambda row: row["length_ratio"],
    "tokens/s": lambda row: row["speed"]["tokens_per_second"],
    "RTF": lambda row: row["speed"]["rtf"]["median"],
    "first chunk, ms": lambda row: row["speed"]["first_chunk_ms"]["total"]["median"],
}
FORMS = (".2f", ".2f", ".1f", ".1f", ".3f", ",.0f", ".4f", ".0f")


def other_table(runs: dict[str, list[Path]]) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of what is finished: what its codes are like and how fast it was, means over seeds."""
    rows = []
    for name, some in runs.items():
        for steps in judged(name, some):
            means = [
                statistics.fmean(measure(row_of(run, steps, name)) for run in some) for measure in MEASURES.values()
            ]
            rows.append([name + (f" @{steps}" if steps else ""), *map(format, means, FORMS)])
    return ["arm", *MEASURES], rows


def markdown(headings: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)]


def publish(desk: Desk, chosen: Sequence[Arm], seeds: int) -> None:
    """Print the table and the claims, and write them with a page to hear."""
    runs = finished(desk, chosen, seeds)
    headings, rows = table(runs)
    found = {name: rates(name, some) for name, some in runs.items()}
    verdicts = [(claim.says, verdict) for claim in CLAIMS if (verdict := claim.verdict(found))]
    claims = [f"- {says}: **{verdict}**" for says, verdict in verdicts]
    text = "\n".join([*markdown(headings, rows), "", *claims, "", *markdown(*other_table(runs))]) + "\n"
    (desk.out / "table.md").write_text(text)
    (desk.out / "index.html").write_bytes(page(desk, runs))
    printed = Table(*headings)
    for row in rows:
        printed.add_row(*row)
    desk.console.print(printed)
    for says, verdict in verdicts:
        desk.console.print(f"{says}: {verdict}", soft_wrap=True)


def titled(name: str, system: str, kind: str) -> str:
    """What the page calls a row: baselines stand for themselves."""
    return f"{name}: {system}" if kind == "block" else system


def page(desk: Desk, runs: dict[str, list[Path]]) -> bytes:
    """All figures of the first seed of every arm, and a few sentences by each of them."""
    from pipelines.evaluation.page import write_page
    from pipelines.evaluation.plot import draw

    names = {
        some[0]: name for name, some in reversed(runs.items())
    }  # a run once, though it may have two rows of the table
    judged = [(name, json.loads((run / "eval" / "eval.json").read_text())) for run, name in reversed(names.items())]
    figures: dict[str, Figures] = {}
    for name, value in judged:
        for row in value["rows"]:
            title = titled(name, row["name"], row["kind"])
            named = {"decoder": {**row["decoder"], "policy": name}} if "decoder" in row else {}
            figures.setdefault(title, {**row, **named, "name": title})
    about = judged[0][1]["about"] | {"run": "the paper's ablation"}
    value = {**judged[0][1], "rows": list(figures.values()), "about": about}
    opened = {name: opened_for(desk, run) for run, name in reversed(names.items())}
    first = next(iter(opened.values()))
    tracks = [*first.ceilings(), *(row for name, one in opened.items() for row in said(name, one))]
    return write_page(value, draw(value), tracks, first.voice.parts.speech)


def opened_for(desk: Desk, run: Path) -> Evaluation:
    """A run and the sentences that its page lets hear."""
    from pipelines.evaluation.evaluate import Asked, Evaluation
    from pipelines.evaluation.page import EXAMPLES

    return Evaluation.open(Asked(str(run), data=desk.data, sentences=EXAMPLES, steps=(1, 4)), desk.console)


def said(name: str, opened: Evaluation) -> list[Row]:
    """Sound of the sentences by every way of decoding."""
    from pipelines.evaluation.rows import Row
    from pipelines.evaluation.speaking import spoken

    rows = []
    for system in opened.systems:
        sounds = [opened.sound(codes_FQ) for codes_FQ in spoken(system, opened.texts, len(opened.texts)).codes]
        rows.append(Row(titled(name, system.name, system.kind), system.kind, opened.sentences, sounds, {}))
    return rows


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
    console = Console()
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
            publish(desk, chosen, asked.seeds)


if __name__ == "__main__":
    main()
