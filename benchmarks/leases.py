"""A thousand workers in simulated time: how much of them the engine keeps at work, and what failures cost.

    python benchmarks/leases.py [--workers 1 10 100 1000] [--units-per-worker 20] [--seconds 60] [--chart docs/leases.svg]
    python benchmarks/leases.py --measure

The engine, its leases, its pool and its commits are the real ones; Ray, nodes and time are simulated (``tests/faults/simulated.py``), and every message to Ray costs the
driver what ``--measure`` found with real Ray. After each run its receipts are counted: one for every unit, the poison set aside and nothing else, the ledger balanced.

Efficiency is the time that the same work would take on these workers, had nothing gone wrong and nobody waited, over the time it took: starts, failures, work done twice, a
busy driver and the wait for the last one all come off it. Wasted is the share of the work that went into no receipt.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import random
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from manifests.ledger import fold
from manifests.receipt import receipts
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.engine.lease import SINGLE_TRIES
from tests.faults.simulated import Ended, Rates, SimJob, simulate

HOUR = 3600.0
UTTERANCES = 16  # of a unit: fewer than in life, so that a run takes minutes
USUALLY = 60.0  # seconds of a unit for which the chances of hanging and of poison are given
AUDIO = 10.0  # hours of audio for each hour of one worker
MESSAGE = 350e-6  # seconds of the driver for a message to Ray or an answer, as --measure found
WAIT = 0.4e-6  # and for each actor, each time it waits

CALM = Rates(slow=0.0, message=MESSAGE, wait=WAIT)
USUAL = replace(
    CALM, slow=0.02, worker_life=50 * HOUR, node_life=24 * HOUR, hang=1e-4, error=1e-3, driver_life=12 * HOUR
)
ROUGH = replace(CALM, slow=0.05, worker_life=5 * HOUR, node_life=3 * HOUR, hang=1e-3, error=1e-2, driver_life=HOUR)
DRIVER = replace(CALM, spread=0.0, start=0.1)  # nothing but the driver is in the way
WEATHERS = {
    "calm": (CALM, 0.0),
    "usual": (USUAL, 1e-3),
    "rough": (ROUGH, 1e-2),
}  # rates, and share of units with poison


@dataclass(frozen=True)
class Run:
    """One simulated run that was looked at afterwards."""

    weather: str
    workers: int
    units: int
    seconds: float
    poison: int
    ended: Ended

    @property
    def row(self) -> tuple[str, ...]:
        e, happened = self.ended, self.ended.totals.events
        deaths = sum(happened.get(what, 0) for what in ("worker died", "poison", "hung"))
        return (
            self.weather, f"{self.workers:,}", f"{self.units:,}", f"{self.seconds:g}", f"{e.efficiency:.3f}", f"{e.utilisation:.3f}",
            f"{100 * e.wasted:.2f} %", f"{deaths}", f"{happened.get('node died', 0)}", f"{happened.get('driver killed', 0)}", f"{self.poison}",
        )  # fmt: skip


COLUMNS = (
    "weather",
    "workers",
    "units",
    "unit s",
    "efficiency",
    "at work",
    "wasted",
    "deaths, hangs",
    "nodes lost",
    "drivers lost",
    "poison",
)


def run(weather: str, workers: int, units: int, seconds: float, seed: int = 0) -> Run:
    """Simulate, then count what is there. Raises AssertionError where anything is lost, done twice or wrongly blamed."""
    rates, share = WEATHERS.get(weather, (DRIVER, 0.0))
    rates = replace(rates, unit=seconds, hang=rates.hang * seconds / USUALLY)
    draw, share = random.Random(seed), share * seconds / USUALLY
    poison = frozenset((k, draw.randrange(UTTERANCES)) for k in range(units) if draw.random() < share)
    job = SimJob(
        f"memory://{uuid.uuid4().hex}", tuple(Unit(k, UTTERANCES, AUDIO * seconds) for k in range(units)), poison
    )
    ended = simulate(job, workers, rates, seed)
    _count(job, ended)
    Store(job.folder)._fs[0].store.clear()
    return Run(weather, workers, units, seconds, len(poison), ended)


def _count(job: SimJob, ended: Ended) -> None:
    made = list(receipts(Store(job.folder), len(job.units)))
    assert [receipt.unit for receipt in made] == [unit.index for unit in job.units], "a unit has no receipt"
    ends = [outcome for receipt in made for outcome in receipt.outcomes]
    assert len({outcome.id for outcome in ends}) == len(ends), "an utterance ended twice"
    assert fold(UTTERANCES * len(job.units), ends).settled, "the ledger does not balance"
    aside = {(r.unit, i) for r in made for i, outcome in enumerate(r.outcomes) if outcome.status == "quarantined"}
    innocent = {p for p in aside - job.poison if ended.totals.alone.get(p, 0) < SINGLE_TRIES}
    assert job.poison <= aside, "an utterance that kills was written"
    assert not innocent, "an utterance was blamed that killed nobody"


def table(title: str, runs: Sequence[Run], console: Console) -> None:
    shown = Table(*COLUMNS, title=title, title_justify="left")
    for one in runs:
        shown.add_row(*one.row)
    console.print(shown)


def chart(path: Path, scaled: Sequence[Run], sized: Sequence[Run]) -> None:
    """Efficiency against workers, and against the length of a unit."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "leases", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), sharey=True)
    for axes, runs, across in ((left, scaled, "workers"), (right, sized, "seconds")):
        for number, weather in enumerate(WEATHERS):
            points = [(getattr(r, across), r.ended.efficiency) for r in runs if r.weather == weather]
            if not points:
                continue
            axes.plot(
                *zip(*points, strict=True), color=f"C{number}", marker="o", markersize=3.5, linewidth=1.2, label=weather
            )
        ticks = sorted({getattr(r, across) for r in runs})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        axes.set_ylim(0, 1.02)
    left.set(xlabel="workers; as many units for each", ylabel="efficiency")
    right.set(xlabel=f"seconds that a unit takes; {max(r.workers for r in sized):,} workers, one corpus")
    left.legend(frameon=False, loc="lower left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    text = "\n".join(line.rstrip() for line in path.read_text(encoding="utf-8").splitlines())
    path.write_text(text + "\n", encoding="utf-8")


def measure(console: Console) -> None:
    """What the driver spends, with real Ray on this machine: processor time of its main thread."""
    from manifests.settings.run import RunSettings
    from pipelines.cluster import Cluster
    from tests.faults.toy import ToyJob, engine

    units = 600
    cluster = Cluster(RunSettings(workers=2))
    cluster.start()
    with tempfile.TemporaryDirectory() as folder:
        job = ToyJob(f"{folder}/toy", tuple(Unit(k, 1, 1.0) for k in range(units)))
        started, wall = time.thread_time(), time.perf_counter()
        engine(cluster, Path(folder)).run(job)
        spent, wall = time.thread_time() - started, time.perf_counter() - wall
    console.print(
        f"2 actors, {units} units that take no time: {1e6 * spent / units:,.0f} us of the driver for each; {units / wall:,.0f} units/s on this machine"
    )
    for count in (10, 100, 1000):
        console.print(f"a wait for {count} that are not there: {_waiting(count):,.0f} us")
    cluster.stop()
    for workers in (10, 100, 1000):
        console.print(f"{workers} simulated workers: {_own(workers):,.0f} us of the engine itself for each unit")


def _waiting(count: int) -> float:
    import ray

    remote: Any = ray.remote
    holder = remote(num_cpus=0, concurrency_groups={"late": 1})(_Late).remote()
    references = [holder.never.options(concurrency_group="late").remote() for _ in range(count)]
    ray.get(holder.here.remote())
    started = time.thread_time()
    for _ in range(50):
        ray.wait(references, num_returns=1, timeout=0)
    spent = (time.thread_time() - started) / 50
    ray.kill(holder)
    return 1e6 * spent


class _Late:
    """An actor that answers one thing and not the other."""

    def here(self) -> None: ...

    def never(self) -> None:
        time.sleep(3600)


def _own(workers: int) -> float:
    """Microseconds of the engine, without what the simulation itself takes."""
    from tests.faults.simulated import SimulatedRay

    inside = [0.0]

    def timed(method: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            started = time.thread_time()
            try:
                return method(*arguments, **more)
            finally:
                inside[0] += time.thread_time() - started

        return call

    kept = {name: getattr(SimulatedRay, name) for name in ("wait", "get", "_started")}
    for name, method in kept.items():
        setattr(SimulatedRay, name, timed(method))
    units = 8 * workers
    started = time.thread_time()
    run("calm", workers, units, 60.0)
    for name, method in kept.items():
        setattr(SimulatedRay, name, method)
    return 1e6 * (time.thread_time() - started - inside[0]) / units


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--units-per-worker", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=USUALLY, help="that a unit takes on a healthy worker")
    parser.add_argument(
        "--unit-seconds", type=float, nargs="+", default=[60, 180, 600], help="the same, of the second table"
    )
    parser.add_argument("--hours", type=float, default=2000.0, help="of audio in the second table")
    parser.add_argument("--short", type=float, nargs="+", default=[1, 2, 5], help="the same, of the third table")
    parser.add_argument("--weather", nargs="+", default=list(WEATHERS), choices=list(WEATHERS))
    parser.add_argument("--chart", type=Path, help="where to draw the chart (SVG)")
    parser.add_argument("--measure", action="store_true", help="measure what the driver spends, and end")
    arguments = parser.parse_args()
    console = Console(highlight=False, width=140)
    if arguments.measure:
        measure(console)
        return
    scaled = [
        run(w, n, n * arguments.units_per_worker, arguments.seconds)
        for w in arguments.weather
        for n in arguments.workers
    ]
    table("More workers, as much more work", scaled, console)
    most, work = max(arguments.workers), arguments.hours * HOUR / AUDIO
    sized = [
        run(w, most, max(1, round(work / s)), s)
        for w in arguments.weather
        if w != "calm"
        for s in arguments.unit_seconds
    ]
    table(f"{arguments.hours:,.0f} hours in units of other lengths", sized, console)
    short = [run("driver", most, most * max(arguments.units_per_worker // 4, 1), s) for s in arguments.short]
    table("Units so short that they wait for the driver: nothing fails, nothing starts", short, console)
    if arguments.chart:
        chart(arguments.chart, scaled, sized)


if __name__ == "__main__":
    main()
