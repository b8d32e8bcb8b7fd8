"""From what was measured to what it will take: pure functions, a stage at a time.

    seconds = before + max(makespan of its pieces on its workers, along) + alone

A worker begins when it is up and warm; on a node that is not up yet, when that is. What pieces take is drawn from those measured in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from manifests.settings.run import RunSettings
from pipelines.forecast.amount import Amount
from pipelines.forecast.certainty import DRAWS, Draws, factors, interval
from pipelines.forecast.crew import Crew, crew
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.measured import NOTHING, Measurement
from pipelines.forecast.money import kept_a_month, paid
from pipelines.forecast.nodes import ClusterShape
from pipelines.forecast.schedule import drawn, makespan

RAY_START = 6.0  # seconds until Ray is started or joined, where nobody has timed it
TAKE = 0.002  # seconds of the driver for each unit that ends: it takes the word, leases the next, writes an event (600 empty units: 0.8 to 1.6 ms)


@dataclass(frozen=True)
class Shared:
    """A stage whose workers may have helpers.

    helper     the stage of ``run.stages`` that gives it some
    helped     parts of a worker's time that these take over
    """

    helper: str
    helped: tuple[str, ...]


@dataclass(frozen=True)
class Spent:
    """What one stage takes.

    hours                 of audio that it is given
    seconds, low, high    wall time, and where nine in ten draws of the measured units lie
    worker_hours          in which workers do something
    cpu_hours, gpu_hours  that workers hold, from the stage's begin to its end
    node_hours            by type of node, for as long as the stage lasts; those that are always up are among them
    ready                 seconds until workers are up, in the mean
    ideal                 seconds, were workers busy from begin to end
    beside                bytes, among all, that no receipt tells of
    driver                seconds of the driver, before workers and along with them
    """

    stage: str
    measured: Measurement
    crew: Crew | None
    hours: float
    seconds: float
    low: float
    high: float
    worker_hours: float
    cpu_hours: float
    gpu_hours: float
    node_hours: Mapping[str, float]
    ready: float
    ideal: float
    bytes: float
    beside: float
    stores: Mapping[str, float]
    money: float | None
    driver: float

    @property
    def core_hours(self) -> float | None:
        """Of the hours in which workers do something, those in which they have a core; None where nobody looked."""
        core = self.measured.core
        return None if core is None else self.worker_hours * core

    @property
    def workers(self) -> int:
        return 1 if self.crew is None else self.crew.workers

    @property
    def efficiency(self) -> float:
        """The share of the time in which workers do something; 1 where there are none."""
        return self.ideal / self.seconds if self.ideal and self.seconds else 1.0

    @property
    def evenness(self) -> float:
        """The same, once they are up: less than 1 where some wait for the last units."""
        return min(self.ideal / max(self.seconds - self.ready, self.ideal, 1e-9), 1.0) if self.ideal else 1.0


@dataclass(frozen=True)
class Forecast:
    """What a run takes, stage by stage, in order.

    ray      seconds until Ray is there
    month    the price of keeping what it makes for a month
    """

    amount: Amount
    cluster: ClusterShape
    ray: float
    stages: tuple[Spent, ...]
    seconds: float
    low: float
    high: float
    money: float | None
    month: float | None
    currency: str

    @property
    def bytes(self) -> float:
        return sum(s.bytes for s in self.stages)

    def total(self, what: str) -> float:
        """``cpu_hours`` or the like, of all stages."""
        return sum(getattr(s, what) for s in self.stages)


@dataclass
class _Run:
    """What a forecast of several stages carries from one to the next: which nodes are up."""

    run: RunSettings
    cluster: ClusterShape
    up: dict[str, int] = field(default_factory=dict)


def predict(
    measured: Sequence[Measurement],
    amount: Amount,
    run: RunSettings,
    cluster: ClusterShape,
    shared: Mapping[str, Shared],
    ray: float = RAY_START,
) -> Forecast:
    """What stages take that were measured so, once Ray is there after ``ray`` seconds.

    Raises :class:`ForecastError` where a worker finds no room, or a price names no node.
    """
    known = [t.name for t in cluster.types]
    for name in run.prices.nodes if run.prices else ():
        if name not in known:
            raise ForecastError(
                f"run.prices.nodes names {name!r}; the nodes of {cluster.source} are {', '.join(known)}"
            )
    ray = ray if run.workers != 0 else 0.0
    state, stages = _Run(run, cluster), list[Spent]()
    draws_B: Draws = np.full(DRAWS, ray)
    for one in measured:
        spent, drawn_B = _stage(one, amount, state, shared.get(one.stage))
        stages.append(spent)
        draws_B = draws_B + drawn_B
    seconds = sum(s.seconds for s in stages) + ray
    low, high = interval(draws_B, seconds)
    prices = run.prices
    money = None if prices is None or any(s.money is None for s in stages) else sum(s.money or 0.0 for s in stages)
    month = kept_a_month(prices, sum(s.bytes for s in stages))
    return Forecast(
        amount, cluster, ray, tuple(stages), seconds, low, high, money, month, prices.currency if prices else ""
    )


@dataclass(frozen=True)
class _Times:
    """Seconds of one stage: of its pieces, until its workers are up, of the driver, and of all of it, with draws."""

    pieces: list[float]
    alone: float
    ready: list[float]
    driver: float
    seconds: float
    draws_B: Draws

    @property
    def worked(self) -> float:
        return sum(self.pieces) + self.alone


def _times(one: Measurement, amount: Amount, who: Crew | None, shared: Shared | None, state: _Run) -> _Times:
    lengths, alone, before = one.lengths(amount), one.alone.of(amount), one.before.of(amount)
    pieces = drawn(lengths, one.rates, (one.rate or 0.0) * _unhelped(one, who, shared))
    ready = _ready(one, who, state)
    along = one.along.of(amount) + (TAKE * len(lengths) if one.chunk is None else 0.0)
    least = along if lengths else 0.0  # what pieces take, the driver takes as long at least
    rest = before + alone + (min(ready) if ready and one.alone != NOTHING else 0.0)
    span = makespan(pieces, ready)
    draws_B = rest + (span * factors(one.pieces)).clip(min=least)
    return _Times(pieces, alone, ready, before + along, rest + max(span, least), draws_B)


def _stage(one: Measurement, amount: Amount, state: _Run, shared: Shared | None) -> tuple[Spent, Draws]:
    """What one stage takes, and draws of its seconds."""
    amount = one.given(amount)
    count, helper = len(one.lengths(amount)), shared.helper if shared else None
    worked = count or one.alone != NOTHING
    who = crew(one.stage, helper, state.run, state.cluster, state.up, count or 1) if worked else None
    times = _times(one, amount, who, shared, state)
    low, high = interval(times.draws_B, times.seconds)
    hours, workers = times.seconds / 3600, who.workers if who else 0
    held, nodes = who.demand.amounts if who else {}, _node_hours(who, state, hours)
    weight = one.byte_rate * amount.seconds
    spent = Spent(
        stage=one.stage, measured=one, crew=who, hours=amount.hours, seconds=times.seconds, low=low, high=high, worker_hours=times.worked / 3600,
        cpu_hours=workers * held.get("CPU", 0.0) * hours, gpu_hours=workers * held.get("GPU", 0.0) * hours, node_hours=nodes,
        ready=sum(times.ready) / max(len(times.ready), 1), ideal=times.worked / max(workers, 1), driver=times.driver,
        bytes=weight + one.kept.of(amount), beside=one.kept.of(amount), stores={name: share * weight for name, share in one.stores.items()},
        money=paid(state.run.prices, who, nodes, hours),
    )  # fmt: skip
    return spent, times.draws_B


def _unhelped(one: Measurement, who: Crew | None, shared: Shared | None) -> float:
    """The share of a worker's time that is left when helpers do theirs, or, where that takes longer, they."""
    if who is None or shared is None or not who.helpers:
        return 1.0
    theirs = sum(one.parts.get(part, 0.0) for part in shared.helped)
    return max(1 - theirs, theirs / who.helpers)


def _ready(one: Measurement, who: Crew | None, state: _Run) -> list[float]:
    """When each worker begins. Nodes that a stage brings up stay for those after it."""
    if who is None:
        return []
    ready = [one.start + (0.0 if up else state.cluster.start) for _, up in who.placed.workers]
    for name, used in who.placed.used.items():
        state.up[name] = max(state.up.get(name, _least(state.cluster, name)), used)
    return ready


def _least(cluster: ClusterShape, name: str) -> int:
    return next(t.least for t in cluster.types if t.name == name)


def _node_hours(who: Crew | None, state: _Run, hours: float) -> dict[str, float]:
    """An autoscaler is taken to keep what the stage uses, and what is always up."""
    used = who.placed.used if who else {}
    count = {t.name: max(t.least, used.get(t.name, 0)) for t in state.cluster.types}
    return {name: nodes * hours for name, nodes in count.items() if nodes}
