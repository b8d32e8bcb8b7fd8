"""What an ablation has found (benchmarks/ablation.py): rates with intervals, the paper's claims held against them, a table, a chart.

    python benchmarks/ablation_told.py docs/ablation.jsonl --page docs/ablation.md --chart docs/ablation.svg

tells of outcomes that were kept. Rates are means over seeds, with 95 % intervals by resampling sentences and seeds. Differences are paired: the same
sentences and seeds, the same resampling.

Legend: N sentences, R resamplings and before them the whole, S seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.ablation_arms import layout_of
from benchmarks.ablation_outcomes import ALONE, MEASURES, Outcome, merged, read

STEPS = (1, 2, 4, 8, 16)
RESAMPLES = 2000


def by_arm(outcomes: Iterable[Outcome]) -> dict[str, dict[int, list[Outcome]]]:
    """Of each arm, and each number of steps it was heard at, its seeds in order. Seeds need not all have been heard at all of them."""
    found: dict[str, dict[int, list[Outcome]]] = {}
    for one in sorted(outcomes, key=lambda o: (o.steps, o.seed)):
        found.setdefault(one.arm, {}).setdefault(one.steps, []).append(one)
    return {arm: found[arm] for arm in dict.fromkeys(o.arm for o in outcomes)}


def resampled(seeds: Sequence[Outcome]) -> np.ndarray:
    """``rates_R``: the word error rate over seeds, then of every resampling of sentences and seeds: the same ones for the same numbers of them."""
    errors_SN, words_SN = (np.array([getattr(one, name) for one in seeds]) for name in ("errors", "words"))
    times_RN, times_RS = (drawn(count, seed) for seed, count in enumerate(errors_SN.shape[::-1]))
    return (times_RN @ errors_SN.T * times_RS).sum(1) / (times_RN @ words_SN[0]) / len(seeds)


def drawn(count: int, seed: int) -> np.ndarray:
    """How often each of so many is taken: each once, then ``RESAMPLES`` times as many at random with replacement."""
    each_K = np.full(count, 1 / count)
    return np.concatenate([np.ones((1, count)), np.random.default_rng(seed).multinomial(count, each_K, RESAMPLES)])


def shown(rates_R: np.ndarray, sign: str = "") -> str:
    """The rate in per cent, with its interval."""
    low, high = np.quantile(rates_R[1:], [0.025, 0.975])
    return f"{100 * rates_R[0]:{sign}.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def shown_rates(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(f"{100 * sum(o.errors) / sum(o.words):.1f} % @{o.steps}" for o in outcomes)


@dataclass(frozen=True)
class Claim:
    """A difference of two rates that should lie under a limit. A side of several arms is their mean.

    ours, theirs   arms
    at             steps a block of ours and of theirs
    factor         the first is to be no more than so many times the second
    """

    says: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    at: tuple[int, int]
    factor: float = 1.0

    def verdict(self, outcomes: Sequence[Outcome]) -> str | None:
        """Holds, does not, or cannot be told, over the seeds that all arms have; None where an arm is missing."""
        found = by_arm(outcomes)
        sides = [
            [found.get(arm, {}).get(steps, []) for arm in arms]
            for arms, steps in zip((self.ours, self.theirs), self.at, strict=True)
        ]
        seeds = common([arm for side in sides for arm in side])
        if not seeds:
            return None
        same_sentences(one for side in sides for arm in side for one in arm)
        same_bases(one for side in sides for arm in side for one in of(arm, seeds))
        ours_R, theirs_R = (np.mean([resampled(of(arm, seeds)) for arm in side], axis=0) for side in sides)
        beyond_R = ours_R - self.factor * theirs_R
        low, high = np.quantile(beyond_R[1:], [0.025, 0.975])
        word = "holds" if high < 0 else "does not hold" if low > 0 else "cannot be told"
        off = f"{shown(beyond_R, '+')} points" + (f" beyond {self.factor:g} times" if self.factor != 1 else "")
        return f"{word}: {shown(ours_R)} against {shown(theirs_R)}, {off}" + (
            f" (seeds {', '.join(map(str, sorted(seeds)))})" if len(seeds) > 1 else " (one seed)"
        )


def common(arms: Sequence[Sequence[Outcome]]) -> set[int]:
    """The seeds that all of these arms have; those which were made once are there for every seed."""
    if not all(arms):
        return set()
    each = [{one.seed for one in arm} for arm in arms if not arm[0].once]
    return set.intersection(*each) if each else {0}


def of(arm: Sequence[Outcome], seeds: set[int]) -> list[Outcome]:
    return [one for one in arm if one.once or one.seed in seeds]


def same_sentences(outcomes: Iterable[Outcome]) -> None:
    """Raises ValueError where two of them were judged by other sentences: they cannot be compared."""
    if len({one.words for one in outcomes}) > 1:
        raise ValueError("these outcomes are of different sentences: they cannot be compared")


def same_bases(outcomes: Iterable[Outcome]) -> None:
    """Raises ValueError where arms of one seed and layout began from different talkers: they cannot be compared."""
    begun: dict[tuple[int, str | None], str] = {}
    for one in outcomes:
        if not one.once and begun.setdefault((one.seed, layout_of(one.arm)), one.base) != one.base:
            raise ValueError(f"arms of seed {one.seed} began from different talkers: they cannot be compared")


HIERARCHICAL, BERNOULLI, DECODING = "two, hierarchical", "two, bernoulli", "two, decoding"


def in_one(arms: Sequence[str]) -> tuple[str, ...]:
    """The arms of one stream that are otherwise like these of two."""
    return tuple(arm.replace("two,", "one,", 1) for arm in arms)


def compared(steps: int) -> tuple[Claim, ...]:
    """What each part of the paper does at so many steps, one by one and over all arms that have it and not."""
    at = (steps, steps)
    say = f"{steps} step{'s' * (steps > 1)}"
    both, hard = (HIERARCHICAL, BERNOULLI), (f"{HIERARCHICAL}, hard", f"{DECODING}, hard")
    hierarchical, bernoulli = ((masks, f"{masks}, ISD") for masks in both)
    taught, pulled = (tuple(f"{masks}, ISD{more}" for masks in both) for more in ("", " tau squared"))
    return (
        Claim(f"{say}: ISD beats cross entropy, hierarchical masks", (taught[0],), (HIERARCHICAL,), at),
        Claim(f"{say}: the same, Bernoulli masks", (taught[1],), (BERNOULLI,), at),
        Claim(f"{say}: the same, over both masks", taught, both, at),
        Claim(f"{say}: the same, times tau squared, over both masks", pulled, both, at),
        Claim(f"{say}: hierarchical masks beat Bernoulli ones under ISD", (taught[0],), (taught[1],), at),
        Claim(f"{say}: the same, over all three losses", (HIERARCHICAL, taught[0], pulled[0]), (BERNOULLI, taught[1], pulled[1]), at),
        Claim(f"{say}: both together beat neither", (taught[0],), (BERNOULLI,), at),
        Claim(f"{say}: the same, times tau squared", (pulled[0],), (BERNOULLI,), at),
        Claim(f"{say}: ISD beats cross entropy at equal time, hierarchical masks", (taught[0],), (f"{HIERARCHICAL}, same time",), at),
        Claim(f"{say}: the same, Bernoulli masks", (taught[1],), (f"{BERNOULLI}, same time",), at),
        Claim(f"{say}: ISD beats cross entropy in one stream, hierarchical masks", ("one, hierarchical, ISD",), ("one, hierarchical",), at),
        Claim(f"{say}: the same, over both masks and numbers of streams", (*taught, *in_one(taught)), (*both, *in_one(both)), at),
        Claim(f"{say}: hierarchical masks beat Bernoulli ones, over both numbers of streams, with ISD and without", (*hierarchical, *in_one(hierarchical)), (*bernoulli, *in_one(bernoulli)), at),
        Claim(f"{say}: two streams beat one, ISD, hierarchical", (taught[0],), ("one, hierarchical, ISD",), at),
        Claim(f"{say}: the same, over both masks, with ISD and without", (*hierarchical, *bernoulli), in_one((*hierarchical, *bernoulli)), at),
        Claim(f"{say}: hard targets beat cross entropy, hierarchical masks", (hard[0],), (HIERARCHICAL,), at),
        Claim(f"{say}: the same, the demo's masks", (hard[1],), (DECODING,), at),
        Claim(f"{say}: hard targets beat the divergence times tau squared, both masks", hard, (pulled[0], f"{DECODING}, ISD tau squared"), at),
        Claim(f"{say}: certainty beside hard targets is better than none", (f"{hard[0]}, certain",), (hard[0],), at),
        Claim(f"{say}: alpha 0.7 beats 0.9", (taught[0],), (f"{taught[0]} alpha 0.9",), at),
        Claim(f"{say}: alpha 0.7 beats 0.5", (taught[0],), (f"{taught[0]} alpha 0.5",), at),
    )  # fmt: skip


ISD, HARD = (f"{HIERARCHICAL}, ISD",), (f"{DECODING}, hard",)
CLAIMS = (
    *compared(1), *compared(4), *compared(16),
    Claim("without a teacher hierarchical masks are worse than Bernoulli ones, 1 step", (BERNOULLI,), (HIERARCHICAL,), (1, 1)),
    Claim("after ISD one step has at most 20 % more word errors than sixteen", ISD, ISD, (1, 16), 1.2),
    Claim("after ISD four steps have at most 5 % more word errors than sixteen", ISD, ISD, (4, 16), 1.05),
    Claim("the same of hard targets and the demo's masks: one step", HARD, HARD, (1, 16), 1.2),
    Claim("the same of hard targets and the demo's masks: four steps", HARD, HARD, (4, 16), 1.05),
    Claim("after ISD sixteen steps are better than next-frame decoding", ISD, ("AR",), (16, ALONE)),
)  # fmt: skip


def verdicts(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """(what is claimed, what came of it), of all that can be looked at."""
    return [(claim.says, verdict) for claim in CLAIMS if (verdict := claim.verdict(outcomes))]


def table(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of what is finished: how well it is understood. A cell of fewer seeds than its row says how many."""
    rows = []
    for name, found in by_arm(outcomes).items():
        first, most = next(iter(found.values()))[0], max(map(len, found.values()))
        cells = [
            shown(resampled(found[s])) + (f" ({len(found[s])})" if len(found[s]) < most else "") if s in found else ""
            for s in (ALONE, *STEPS)
        ]
        rows.append([name, str(first.trained), f"{first.seconds_a_step:.2f}", str(most), *cells])
    return ["arm", "steps", "s a step", "seeds", "WER %", *(f"WER % @{steps}" for steps in STEPS)], rows


def other_table(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of what is finished: what its codes are like and how fast it was, means over seeds."""
    rows = []
    for name, found in by_arm(outcomes).items():
        for steps, seeds in found.items():
            means = {measure: statistics.fmean(one.measures[measure] for one in seeds) for measure in MEASURES}
            cells = [format(means[measure], form) for measure, (_, form) in MEASURES.items()]
            rows.append([name + (f" @{steps}" if steps else ""), *cells])
    return ["arm", *MEASURES], rows


def markdown(headings: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)]


def told(outcomes: Sequence[Outcome]) -> str:
    """All of it, as Markdown."""
    claims = [f"- {says}: **{word}**:{rest}" for says, verdict in verdicts(outcomes) for word, rest in (verdict.split(":", 1),)]  # fmt: skip
    return "\n".join([*markdown(*table(outcomes)), "", *claims, "", *markdown(*other_table(outcomes))]) + "\n"


def chart(outcomes: Sequence[Outcome]) -> str:
    """The SVG: an arm a line, a panel for each number of steps."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from pipelines.evaluation.plot import COLOURS, GRID, STYLE

    found = {
        name: {steps: resampled(seeds) for steps, seeds in some.items()} for name, some in by_arm(outcomes).items()
    }
    names = list(found)[::-1]
    panels = sorted({steps for some in found.values() for steps in some if steps != ALONE})
    with mpl.rc_context({**STYLE, "svg.fonttype": "none"}):
        figure = Figure(figsize=(3 + 2.8 * len(panels), 1.1 + 0.3 * len(names)), layout="constrained")
        for axes, steps in zip(
            figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0], panels, strict=True
        ):
            for height, name in enumerate(names):
                rates_R = 100 * found[name].get(steps, found[name].get(ALONE, np.full(2, np.nan)))
                colour = COLOURS[2 if "ISD" in name or "hard" in name else 0 if "," in name else 5]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "outcomes", nargs="+", type=Path, help="outcomes.jsonl of ablations; of the same run the last counts"
    )
    parser.add_argument("--page", type=Path, help="write it here too")
    parser.add_argument("--chart", type=Path, help="draw it here")
    asked = parser.parse_args()
    outcomes = merged(*map(read, asked.outcomes))
    text = told(outcomes)
    sys.stdout.write(text)
    if asked.page:
        asked.page.write_text(text, encoding="utf-8")
    if asked.chart:
        asked.chart.write_text(chart(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
