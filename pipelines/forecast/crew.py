"""How many workers a stage gets, where they stand, and what keeps them from being more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from manifests.settings.run import RunSettings
from pipelines.engine.room import Demand
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.nodes import ClusterShape, Placed, lacking, placed, room

Limit = Literal["inline", "asked", "up", "room", "units"]


@dataclass(frozen=True)
class Crew:
    """The workers of one stage.

    demand       what each holds, its helpers included
    helpers      others for each of them that do part of its work
    limit        why there are no more: the recipe has all done in one process (``inline``), asks for no more (``asked``), or takes what is
                 up when the stage begins (``up``); the cluster has no more room (``room``); there is no more to do (``units``)
    room         how many the cluster would have room for
    scarce       of a full cluster, the resource that there is least of
    """

    stage: str
    placed: Placed
    demand: Demand
    helpers: int
    limit: Limit
    room: int
    scarce: str

    @property
    def workers(self) -> int:
        return len(self.placed.workers)


def crew(
    stage: str, helper: str | None, run: RunSettings, cluster: ClusterShape, up: Mapping[str, int], pieces: int
) -> Crew:
    """Who does a stage of so many pieces, as the engine would have it.

    Raises :class:`ForecastError` where no node has what one worker asks for.
    """
    settings = run.of(stage)
    if run.workers == 0:  # in the driver's process
        one = Demand({"CPU": 1.0})
        return Crew(stage, Placed((("", True),), {}), one, 0, "inline", room(cluster, one), "CPU")
    worker = Demand.of(settings)
    short = lacking(cluster, worker)
    if short is not None:
        raise ForecastError(
            f"{stage}: a worker asks for {worker}, and no node of {cluster.source} has that (lacking: {short}); "
            f"change run.stages.{stage}, or the cluster"
        )
    own = run.stages.get(helper) if helper else None  # pyright: ignore[reportArgumentType, reportCallIssue]
    helpers = 0 if own is None else own.workers or 1
    aide = Demand.of(run.of(helper)) if helper and helpers else Demand()
    most = _most(cluster, worker, aide, helpers)
    asked, limit = _asked(stage, run, cluster, worker, most)
    if pieces < asked:
        asked, limit = max(pieces, 1), "units"
    home = placed(cluster.nodes(worker, up), worker, asked, aide, helpers)
    if home is None:
        raise ForecastError(
            f"{stage}: {cluster.source} has no room for one worker with {helpers} listeners; change run.stages.{helper}"
        )
    return Crew(stage, home, _together(worker, aide, helpers), helpers, limit, most, _scarce(cluster, worker))


def _asked(stage: str, run: RunSettings, cluster: ClusterShape, worker: Demand, most: int) -> tuple[int, Limit]:
    """Workers that the engine would start, were there units enough, and why no more."""
    wanted = run.of(stage).workers
    if wanted is not None:
        return (wanted, "asked") if wanted < most else (most, "room")
    if cluster.grows:  # without a number a stage takes what is up when it begins, and never more
        return min(max(room(cluster, worker, most=False), 1), most), "up"
    return most, "room"


def _most(cluster: ClusterShape, worker: Demand, aide: Demand, helpers: int) -> int:
    """The most workers that find room together with their helpers."""
    high = room(cluster, worker)
    if not helpers:
        return high
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if placed(cluster.nodes(worker), worker, middle, aide, helpers):
            low = middle
        else:
            high = middle - 1
    return max(low, 1)


def _together(worker: Demand, aide: Demand, helpers: int) -> Demand:
    names = dict.fromkeys([*worker.amounts, *(aide.amounts if helpers else ())])
    return Demand({n: worker.amounts.get(n, 0) + helpers * aide.amounts.get(n, 0) for n in names})


def _scarce(cluster: ClusterShape, worker: Demand) -> str:
    """The resource that gives out first, over the nodes that take such workers."""
    nodes = [n for n in cluster.nodes(worker) if worker.times_in(n.left)]
    there = {name: sum(n.left.get(name, 0) for n in nodes) / amount for name, amount in worker.amounts.items()}
    return min(there, key=lambda name: there[name], default="CPU")


def local_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
