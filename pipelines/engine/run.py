"""Running a job to its end: what has a receipt is done; the rest is leased, watched, retried, committed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from manifests.receipt import FOLDER
from manifests.receipt_index import briefs
from manifests.settings.run import RunSettings
from manifests.storage import Store, sweep_attempts
from pipelines.engine.actors import RayPool
from pipelines.engine.contract import Job, RunFailed, Unit
from pipelines.engine.lease import Leases
from pipelines.engine.pace import Pace
from pipelines.engine.pool import DIED, STALLED, Event, InlinePool, Pool, in_touch
from pipelines.engine.progress import Events, Meter
from pipelines.engine.room import Demand, Wait, nodes, room_for
from pipelines.engine.stopping import Interrupted, Stopping

POLL_SECONDS = 0.5  # what ends is taken at once; this is how often the rest is looked at


@dataclass(frozen=True)
class Ground:
    """What a run stands on: actors, nodes, time. A simulation puts its own here."""

    pool: Callable[[Job, int, dict[str, Any], float], Pool] = RayPool
    nodes: Callable[[], list[Mapping[str, float]]] = nodes
    clock: Callable[[], float] = time.monotonic


@dataclass
class Engine:
    """How jobs are run: settings, where to print, what to stop on. Ray is started at the first job that needs it."""

    settings: RunSettings
    console: Console
    events: Events
    stopping: Stopping
    ray_started: Callable[[], None]
    ground: Ground = field(default_factory=Ground)

    def workers(self, stage: str) -> int:
        """Workers asked for, or one for each core of this machine; of a cluster that is joined, as many as its nodes have room for."""
        settings = self.settings.of(stage)
        if self.settings.workers == 0:  # no Ray at all, whatever a stage asks for
            return 0
        if settings.workers is not None:
            return settings.workers
        if self.settings.address is None:
            return os.cpu_count() or 1
        self.ray_started()
        return max(1, room_for(Demand.of(settings), self.ground.nodes()))

    def run(self, job: Job) -> int:
        """Do every unit of ``job`` that has no receipt. Returns how many were done now.

        Raises :class:`RunFailed` when units failed, :class:`Interrupted` when stopped.
        """
        store = Store(job.folder)
        done = {brief.unit for brief in briefs(store, keep=True)}
        todo = [unit for unit in job.units if unit.index not in done]
        if not todo:
            return 0
        sweep_attempts(store, "")
        sweep_attempts(store, FOLDER)
        leases = Leases.over(todo, self.settings.attempts, self.settings.error_retries)
        seconds, count = sum(u.seconds for u in todo), sum(u.count for u in todo)
        with Meter(job.stage, seconds, count, self.console, self.events) as meter, in_touch(job.stage):
            pool = self._pool(job, todo)
            self.events("stage_staffed", stage=job.stage, workers=pool.size)
            try:
                self._loop(leases, pool, meter)
            finally:
                pool.close()
        sweep_attempts(store, "")  # of a slow worker whose unit another one did
        if leases.failed:
            unit, why = next(iter(leases.failed.items()))
            raise RunFailed(
                f"{job.stage}: {len(leases.failed)} of {len(todo)} units failed; unit {unit}: {why}; run again to resume"
            )
        return len(todo)

    def _pool(self, job: Job, todo: list[Unit]) -> Pool:
        workers = self.workers(job.stage)
        if workers == 0:
            return InlinePool(job)
        self.ray_started()
        options = Demand.of(self.settings.of(job.stage)).options()
        return self.ground.pool(job, min(workers, len(todo)), options, self.settings.stall_seconds)

    def _loop(self, leases: Leases, pool: Pool, meter: Meter) -> None:
        ground, demand = self.ground, Demand.of(self.settings.of(meter.stage))
        pace = Pace(self.settings.slow_seconds, ground.clock)
        wait = Wait(meter.stage, pool.size, demand, self.console, ground.nodes, ground.clock)
        while leases.unfinished:
            if self.stopping.now or (self.stopping.draining and not leases.running):
                raise Interrupted(f"{meter.stage}: stopped; run again to resume")
            if self.stopping.draining:
                pool.recall()
            else:
                _lease(leases, pool, pace)
                self._lease_again(leases, pool, pace, meter.stage)
            for event in pool.poll(POLL_SECONDS):
                self._take(event, leases, meter, pace)
            meter.show(pool.beats)
            if pool.ready:
                wait.over()
            else:
                wait.on()

    def _lease_again(self, leases: Leases, pool: Pool, pace: Pace, stage: str) -> None:
        """Units that are far behind, for slots that have nothing else to do."""
        idle = [] if leases.queued else pool.idle()
        for task in pace.late(leases.running) if idle else ():
            if idle and (twin := leases.again(task)) is not None:
                pool.submit(idle.pop(), twin)  # the pace goes on counting from its first lease
                self.events("task_leased_again", stage=stage, unit=task.unit.index)

    def _take(self, event: Event, leases: Leases, meter: Meter, pace: Pace) -> None:
        task = event.task
        pace.ended(event.slot)
        if event.kind == "done":
            if leases.completed(task):
                pace.done(task)
                meter.unit_done(task.unit.seconds, event.counts or {}, task.unit.index)
            return
        self.events(
            f"task_{event.kind}", stage=meter.stage, unit=task.unit.index, only=task.only, message=event.message
        )
        if event.kind == "returned":
            leases.returned(task)
        elif event.kind == "error":
            leases.errored(task, event.message)
        elif event.kind == "lost":
            leases.lost(task, (DIED[0], event.message))
        else:
            leases.died(task, (STALLED[0] if event.kind == "stalled" else DIED[0], event.message))


def _lease(leases: Leases, pool: Pool, pace: Pace) -> None:
    """A task for each idle slot, then one to wait behind each task that runs."""
    for slot in pool.idle() if leases.queued else ():
        if (task := leases.next()) is not None:
            pool.submit(slot, task)
            pace.leased(task, slot)
    for slot in pool.spare() if leases.queued > pool.size else ():
        if (task := leases.ahead(keep=pool.size)) is not None:
            pool.submit(slot, task)
            pace.leased(task, slot, waits=True)
