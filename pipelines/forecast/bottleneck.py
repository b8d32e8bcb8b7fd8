"""What holds a run up: the stage that takes longest, what holds that one up, and what to change. Rules in order; the first that applies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.forecast.predict import Forecast, Shared, Spent

MOST = 0.5  # of a stage's time: what takes more is what holds it up
IDLE = 0.75  # efficiency below which the last units are what holds a stage up
STARVED = (
    0.6  # share of a core below which a worker is taken to wait for storage, where it also fetches most of the time
)


class Finding(NamedTuple):
    """kind: a word for scripts. why: what stands after "because". change: what to do about it."""

    kind: str
    why: str
    change: str


@dataclass(frozen=True)
class Bottleneck:
    """The stage that takes longest, its share of the whole, and what holds it up."""

    stage: str
    share: float
    finding: Finding

    @property
    def sentence(self) -> str:
        return f"{self.stage} takes {self.share:.0%} of the time, because {self.finding.why}; {self.finding.change}"


@dataclass(frozen=True)
class Case:
    """A stage to judge. ``words`` say what a worker does in each part of its time."""

    spent: Spent
    shared: Shared | None
    words: Mapping[str, str]

    @property
    def parts(self) -> Mapping[str, float]:
        return self.spent.measured.parts

    @property
    def longest(self) -> str | None:
        """The part of a worker's time that is largest, where that is known."""
        return max(self.parts, key=lambda part: self.parts[part], default=None)

    @property
    def helped(self) -> float:
        """The share of a worker's time that helpers could take over."""
        return sum(self.parts.get(part, 0.0) for part in self.shared.helped) if self.shared else 0.0

    def doing(self) -> str:
        """What workers do most, in words."""
        part = self.longest
        return "" if part is None else f", most of all ({self.parts[part]:.0%}) {self.words.get(part, part)}"


def _driver(case: Case) -> Finding | None:
    if case.spent.crew is not None and case.spent.driver < MOST * case.spent.seconds:
        return None
    change = "longer units (plan.unit_seconds: another dataset) leave it less to do"
    return Finding("driver", "the driver does it alone, one thing after the other", change)


def _single(case: Case) -> Finding | None:
    if case.spent.measured.pieces:
        return None
    return Finding(
        "single", "one worker does it", "more workers gain nothing; a smaller sample or a shorter training does"
    )


def _start(case: Case) -> Finding | None:
    if case.spent.ready < MOST * case.spent.seconds:
        return None
    return Finding("start", "workers take longer to come up than to do it", "more of them gain nothing; keep nodes up")


def _units(case: Case) -> Finding | None:
    who = case.spent.crew
    assert who is not None, "the driver's stages are found out before"
    if who.limit == "units" and who.room > who.workers:
        why = f"there are only {who.workers} units for {who.room} workers"
    elif case.spent.evenness < IDLE:
        why = f"its {who.workers} workers have something to do {case.spent.evenness:.0%} of the time: the last units are waited for"
    else:
        return None
    return Finding("units", why, "shorter units (plan.unit_seconds: another dataset) spread it more evenly")


ASKED = {  # why there are no more workers, and what gives more
    "inline": ("has all done in one process", "set run.workers to {room}"),
    "asked": ("asks for no more", "set run.stages.{stage}.workers to {room}"),
    "up": (
        "names no number, so that a stage takes what is up when it begins", "set run.stages.{stage}.workers to {room}",
    ),
}  # fmt: skip


def _workers(case: Case) -> Finding | None:
    who = case.spent.crew
    if who is None or who.workers >= who.room or who.limit not in ASKED:
        return None
    why, change = ASKED[who.limit]
    there = "is 1 worker" if who.workers == 1 else f"are {who.workers} workers"
    why = f"there {there} where there is room for {who.room}: the recipe {why}"
    return Finding("workers", why, change.format(stage=case.spent.stage, room=who.room))


def _storage(case: Case) -> Finding | None:
    core = case.spent.measured.core
    if case.longest != "fetch" and not (core is not None and core < STARVED and case.parts.get("fetch", 0.0) >= 0.25):
        return None
    why = f"its workers wait for the storage of the corpus ({case.parts['fetch']:.0%} of their time)"
    return Finding(
        "storage",
        why,
        "bring the corpus nearer, pack small files into tars, or take more workers than cores (cpus: 0.5)",
    )


def _starved(case: Case) -> Finding | None:
    who, shared = case.spent.crew, case.shared
    if who is None or shared is None or who.scarce != "GPU" or case.helped < MOST or who.helpers:
        return None
    count = max(round(case.helped / max(1 - case.helped, 0.05)), 1)
    why = f"its workers keep their GPUs waiting {case.helped:.0%} of the time{case.doing()}"
    return Finding(
        "decode", why, f"let others do that: run.stages.{shared.helper}: {{workers: {count}}} on nodes without GPUs"
    )


def _helpers(case: Case) -> Finding | None:
    who, shared = case.spent.crew, case.shared
    if who is None or shared is None or not who.helpers or case.helped / who.helpers <= 1 - case.helped:
        return None
    count = -(-case.helped // max(1 - case.helped, 0.05))
    why = f"its {who.helpers} listeners for each worker take longer than the worker itself"
    return Finding("decode", why, f"set run.stages.{shared.helper}.workers to {count:.0f}")


def _scarce(case: Case) -> Finding | None:
    who = case.spent.crew
    assert who is not None, "the driver's stages are found out before"
    kind = {"CPU": case.longest or "CPU", "GPU": "GPU"}.get(who.scarce, who.scarce)
    busy = "the only worker" if who.workers == 1 else f"each of the {who.workers} workers"
    why = f"{busy} that there is {who.scarce} for is busy{case.doing()}"
    return Finding(kind, why, f"more {who.scarce} makes it shorter, nearly in proportion")


RULES: tuple[Callable[[Case], Finding | None], ...] = (
    _driver, _single, _start, _units, _workers, _storage, _starved, _helpers, _scarce,
)  # fmt: skip


def bottleneck(
    forecast: Forecast, shared: Mapping[str, Shared], words: Mapping[str, Mapping[str, str]]
) -> Bottleneck | None:
    """What to look at first; None where nothing takes any time."""
    longest = max(forecast.stages, key=lambda s: s.seconds, default=None)
    if longest is None or not longest.seconds:
        return None
    case = Case(longest, shared.get(longest.stage), words.get(longest.stage, {}))
    finding = next(found for rule in RULES if (found := rule(case)) is not None)
    return Bottleneck(longest.stage, longest.seconds / forecast.seconds, finding)
