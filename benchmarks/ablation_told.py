"""What an ablation has found (benchmarks/ablation.py): rates with intervals, the paper's claims held against them, a table, a chart, a page to hear.

Legend: N sentences, R resamplings and before them the whole, S seeds.
"""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pipelines.evaluation.evaluate import Evaluation
    from pipelines.evaluation.rows import Row

Figures = dict[str, Any]
Runs = dict[str, list[Path]]  # of each arm, by its name: one of every seed
STEPS = (1, 2, 4, 8, 16)
ALONE = 0  # in place of steps, where a decoder has none
BASELINES = {
    "AR": "AR",
    "MTP, guesses kept": "MTP, unverified",
    "MTP, guesses tested": "MTP, verified",
}  # as an evaluation calls them
RESAMPLES = 2000


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


def judged(name: str, runs: Sequence[Path]) -> dict[int, list[Path]]:
    """The runs that were judged at each number of steps: later seeds may have been at fewer."""
    if name in BASELINES:
        return {ALONE: list(runs)}
    found: dict[int, list[Path]] = {}
    for run in runs:
        rows = json.loads((run / "eval" / "eval.json").read_text())["rows"]
        for steps in {row["decoder"]["steps"] for row in rows if row["kind"] == "block"}:
            found.setdefault(steps, []).append(run)
    return dict(sorted(found.items()))


def rates(name: str, runs: Sequence[Path]) -> dict[int, np.ndarray]:
    return {steps: resampled(some, steps, name) for steps, some in judged(name, runs).items()}


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


def table(runs: Runs) -> tuple[list[str], list[list[str]]]:
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


def other_table(runs: Runs) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of what is finished: what its codes are like and how fast it was, means over seeds."""
    rows = []
    for name, some in runs.items():
        for steps, those in judged(name, some).items():
            means = [
                statistics.fmean(measure(row_of(run, steps, name)) for run in those) for measure in MEASURES.values()
            ]
            rows.append([name + (f" @{steps}" if steps else ""), *map(format, means, FORMS)])
    return ["arm", *MEASURES], rows


def markdown(headings: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)]


def publish(out: Path, data: str, runs: Runs, console: Console) -> None:
    """Print the table and the claims, and write them with a chart and a page to hear."""
    headings, rows = table(runs)
    found = {name: rates(name, some) for name, some in runs.items()}
    verdicts = [(claim.says, verdict) for claim in CLAIMS if (verdict := claim.verdict(found))]
    claims = [f"- {says}: **{verdict}**" for says, verdict in verdicts]
    text = "\n".join([*markdown(headings, rows), "", *claims, "", *markdown(*other_table(runs))]) + "\n"
    (out / "table.md").write_text(text)
    (out / "chart.svg").write_text(chart(found))
    (out / "index.html").write_bytes(page(data, runs, console))
    printed = Table(*headings)
    for row in rows:
        printed.add_row(*row)
    console.print(printed)
    for says, verdict in verdicts:
        console.print(f"{says}: {verdict}", soft_wrap=True)


def chart(found: Mapping[str, Mapping[int, np.ndarray]]) -> str:
    """The SVG: an arm a line, a panel for each number of steps."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from pipelines.evaluation.plot import COLOURS, GRID, STYLE

    names = list(found)[::-1]
    panels = sorted({steps for some in found.values() for steps in some if steps != ALONE})
    with mpl.rc_context({**STYLE, "svg.fonttype": "none"}):
        figure = Figure(figsize=(3 + 2.8 * len(panels), 1.1 + 0.3 * len(names)), layout="constrained")
        for axes, steps in zip(
            figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0], panels, strict=True
        ):
            for height, name in enumerate(names):
                rates_R = 100 * found[name].get(steps, found[name].get(ALONE, np.full(2, np.nan)))
                colour = COLOURS[2 if "ISD" in name else 0 if "," in name else 5]
                axes.plot(np.quantile(rates_R[1:], [0.025, 0.975]), [height] * 2, color=colour, linewidth=2, alpha=0.5)
                axes.plot(rates_R[:1], [height], "o", color=colour, markersize=6)
            axes.set_yticks(range(len(names)), names)
            axes.set_xlim(left=0)
            axes.grid(color=GRID, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.set_title(f"{steps} step{'s' * (steps > 1)} a block", loc="left", fontsize=11)
            axes.set_xlabel("word error rate, %")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def titled(name: str, system: str, kind: str) -> str:
    """What the page calls a row: baselines stand for themselves."""
    return f"{name}: {system}" if kind == "block" else system


def page(data: str, runs: Runs, console: Console) -> bytes:
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
    opened = {name: opened_for(run, data, console) for run, name in reversed(names.items())}
    first = next(iter(opened.values()))
    tracks = [*first.ceilings(), *(row for name, one in opened.items() for row in said(name, one))]
    return write_page(value, draw(value), tracks, first.voice.parts.speech)


def opened_for(run: Path, data: str, console: Console) -> Evaluation:
    """A run and the sentences that its page lets hear."""
    from pipelines.evaluation.evaluate import Asked, Evaluation
    from pipelines.evaluation.page import EXAMPLES

    return Evaluation.open(Asked(str(run), data=data, sentences=EXAMPLES, steps=(1, 4)), console)


def said(name: str, opened: Evaluation) -> list[Row]:
    """Sound of the sentences by every way of decoding."""
    from pipelines.evaluation.rows import Row
    from pipelines.evaluation.speaking import spoken

    rows = []
    for system in opened.systems:
        sounds = [opened.sound(codes_FQ) for codes_FQ in spoken(system, opened.texts, len(opened.texts)).codes]
        rows.append(Row(titled(name, system.name, system.kind), system.kind, opened.sentences, sounds, {}))
    return rows
