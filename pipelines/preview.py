"""What the filter rules of a recipe would cost, before anything is made: a random sample of the plan, heard, scored and judged.

The head of the plan is a random sample, since the plan is a shuffle. Every rule is asked of every utterance that it could be asked of, so that
both can be told: what it would cost alone, and what it costs after the rules before it. What cleaning itself leaves out is told beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from manifests.filters.rule import Rule
from manifests.ledger import Outcome
from manifests.recipe import Recipe
from manifests.storage import Store
from manifests.utterance import from_cut
from pipelines.engine.contract import Unit
from pipelines.engine.mapping import Mapper
from pipelines.estimate import Estimate, share, weighted_share
from pipelines.stages.hearing import COPIES, Ear
from pipelines.stages.judging import Judge
from pipelines.stages.s30_plan import unit_cuts

if TYPE_CHECKING:
    from rich.console import Console

CHUNK = 16
SAMPLE = 200


@dataclass(frozen=True)
class Seen:
    """One utterance of the sample.

    seconds   as planned
    ended     how it ends without any rule: (status, reason), or None where it would be written
    held      which rules are true of it, in the order they are asked
    """

    seconds: float
    ended: tuple[str, str] | None
    held: tuple[bool, ...]


@dataclass(frozen=True)
class Listening:
    """Hears a chunk of cuts and asks all rules; runs in a worker."""

    recipe: Recipe
    root: str

    def __call__(self, chunk: list[dict[str, Any]]) -> list[Seen]:
        judge = Judge.of(self.recipe)
        ear = Ear.of(self.recipe, self.root, self.recipe.speech.sample_rate, judge.scores, Judge())
        return [_seen(cut, ear, judge) for cut in chunk]

    def poisoned(self, chunk: list[dict[str, Any]]) -> list[Seen]:
        """What is booked for an utterance that kills the process that hears it."""
        nothing = (False,) * len(self.recipe.filters)
        return [Seen(cut["duration"], ("quarantined", "worker_died"), nothing) for cut in chunk]


def _seen(cut: dict[str, Any], ear: Ear, judge: Judge) -> Seen:
    utterance, heard = from_cut(cut), ear.hear(cut)
    asked = not utterance.fault and not any(mark in cut["custom"] for mark, _, _ in COPIES)
    if isinstance(heard, Outcome):
        ended, columns = (heard.status, heard.reason or ""), judge.columns(utterance)
    else:
        sides = [side.columns() if side else {} for side in (heard.response, heard.query)]
        ended, columns = None, judge.columns(utterance, *sides)
    could = [asked and (ended is None or not rule.needs_sound) for rule in judge.rules]
    held = tuple(may and rule.holds(columns) for may, rule in zip(could, judge.rules, strict=True))
    return Seen(cut["duration"], ended, held)


@dataclass(frozen=True)
class Cost:
    """Utterances and hours of the whole corpus."""

    utterances: Estimate
    hours: Estimate

    def to_json(self) -> dict[str, Any]:
        return {"utterances": self.utterances.to_json(1), "hours": self.hours.to_json()}


@dataclass(frozen=True)
class RuleCost:
    """One rule, in the order they are asked: what it would filter alone, and what is left for it to filter."""

    rule: Rule
    seen: int
    alone: Cost
    in_order: Cost

    def to_json(self) -> dict[str, Any]:
        costs = {"alone": self.alone.to_json(), "in_order": self.in_order.to_json()}
        return {"reason": self.rule.reason, "rule": self.rule.text, "seen": self.seen, **costs}


@dataclass(frozen=True)
class Preview:
    """What becomes of a corpus, by its sample; every utterance is in ``written``, in one rule's ``in_order`` or in ``cleaning``."""

    sample: int
    whole: int
    hours: float
    rules: tuple[RuleCost, ...]
    cleaning: tuple[tuple[str, str, Cost], ...]
    written: Cost

    def to_json(self) -> dict[str, Any]:
        cleaning = [{"status": s, "reason": r, **cost.to_json()} for s, r, cost in self.cleaning]
        return {
            "sample": self.sample, "utterances": self.whole, "hours": round(self.hours, 4),
            "rules": [rule.to_json() for rule in self.rules], "cleaning": cleaning, "written": self.written.to_json(),
        }  # fmt: skip

    def render(self, console: Console) -> None:
        """Print it for people."""
        from rich.markup import escape
        from rich.table import Table

        console.print(
            f"{self.sample:,} of {self.whole:,} utterances heard; of all {self.hours:,.2f} h, with intervals of 95 in 100:"
        )
        table = Table()
        for heading in ("reason", "seen", "alone: utterances", "hours", "in order: utterances", "hours"):
            table.add_column(heading, overflow="fold")  # a narrow terminal gets all of the figures
        for r in self.rules:
            table.add_row(r.rule.reason, f"{r.seen:,}", *_cells(r.alone), *_cells(r.in_order))
        for status, reason, cost in self.cleaning:
            table.add_row(f"{reason} ({status})", "", "", "", *_cells(cost))
        table.add_row("written", "", "", "", *_cells(self.written), style="bold")
        console.print(table)
        for r in self.rules:
            console.print(f"{r.rule.reason}: {escape(r.rule.text)}")


def _cells(cost: Cost) -> tuple[str, str]:
    return _cell(cost.utterances, lambda count: f"{count:,.0f}"), _cell(cost.hours, _hours)


def _cell(estimate: Estimate, shown: Callable[[float], str]) -> str:
    """The figure with its interval; what is exact needs none."""
    value, low, high = map(shown, (estimate.value, estimate.low, estimate.high))
    return value if low == high else f"{value} ({low}-{high})"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"


def preview(
    recipe: Recipe, root: str, plan: Store, units: tuple[Unit, ...], mapper: Mapper, sample: int = SAMPLE
) -> Preview:
    """Hear the first ``sample`` utterances of ``plan`` and say what each rule would cost the whole of it.

    ``root`` is where the corpus lies. Copies by ear are not looked for: they show only when all is heard.
    """
    cuts = islice((cut for unit in units for cut in unit_cuts(plan, unit.index)), sample)
    heard = mapper.map(Listening(recipe, root), _chunks(cuts), "preview")
    whole, seconds = sum(unit.count for unit in units), sum(unit.seconds for unit in units)
    return summed([one for chunk in heard for one in chunk], recipe.rules, whole, seconds)


def _chunks(cuts: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(islice(cuts, CHUNK)):
        yield chunk


def summed(seen: list[Seen], rules: tuple[Rule, ...], whole: int, seconds: float) -> Preview:
    """The sample's utterances, brought to the ``whole`` corpus of so many ``seconds``."""
    weights = [one.seconds for one in seen]

    def cost(hits: list[bool]) -> Cost:
        count, carried = share(sum(hits), len(hits), whole), weighted_share(hits, weights, whole)
        return Cost(count.times(whole), carried.times(seconds / 3600))

    ends = [_end(one, rules) for one in seen]
    costs = tuple(
        RuleCost(rule, sum(s.held[k] for s in seen), cost([s.held[k] for s in seen]), cost([end == k for end in ends]))
        for k, rule in enumerate(rules)
    )
    others = sorted({end for end in ends if isinstance(end, tuple)})
    cleaning = tuple((*other, cost([end == other for end in ends])) for other in others)
    return Preview(len(seen), whole, seconds / 3600, costs, cleaning, cost([end is None for end in ends]))


def _end(one: Seen, rules: tuple[Rule, ...]) -> int | tuple[str, str] | None:
    """How an utterance ends: by a rule's number, by (status, reason), or written."""
    order = [k for k, held in enumerate(one.held) if held]
    unheard = [k for k in order if not rules[k].needs_sound]
    if unheard or one.ended is None:
        return (unheard or order or [None])[0]
    return one.ended
