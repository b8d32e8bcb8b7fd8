"""A job whose utterances misbehave as told."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from manifests.ledger import Outcome, fold
from manifests.receipt import Receipt, receipts
from manifests.settings.run import RunSettings
from manifests.storage import Store
from pipelines.cluster import Cluster
from pipelines.engine.contract import Beat, Made, Task, Unit
from pipelines.engine.progress import Events
from pipelines.engine.run import Engine
from pipelines.engine.stopping import Stopping


@dataclass(frozen=True)
class ToyJob:
    """``behaviour`` says what (unit, position) does.

    segv, hang, raise, eat (memory, until there is none); once:<file> dies the first time only; slow:<seconds> only sleeps; slow_once:<file>[:<seconds>] does so
    (two minutes, unless said) the first time only; busy:<seconds> gives signs of life
    meanwhile; touch:<file> makes a file.
    """

    folder: str
    units: tuple[Unit, ...]
    behaviour: Mapping[tuple[int, int], str] = field(default_factory=dict)
    stage: str = "toy"

    def open(self) -> ToyWorker:
        return ToyWorker(self)


@dataclass
class ToyWorker:
    job: ToyJob

    def process(self, task: Task, beat: Beat) -> Made:
        first, end = task.only or (0, task.unit.count)
        outcomes = []
        for position in range(first, end):
            name = f"{task.unit.index}-{position}"
            if position in task.skip:
                outcomes.append(Outcome(name, "quarantined", *task.skip[position]))
                continue
            misbehave(self.job.behaviour.get((task.unit.index, position), ""), beat)
            outcomes.append(Outcome(name, "written"))
            beat(1)
        data = "\n".join(o.id for o in outcomes if o.status == "written").encode()
        return Made({f"unit-{task.unit.index}.txt": data}, tuple(outcomes))


def limit_memory(more: int) -> None:
    """Let this process grow by so many bytes of address space, and no further."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def misbehave(how: str, beat: Beat) -> None:
    kind, _, path = how.partition(":")
    if kind == "segv":
        ctypes.string_at(0)
    elif kind == "hang":
        time.sleep(3600)
    elif kind == "raise":
        raise OSError("the disk says no")
    elif kind == "eat":
        limit_memory(2**29)
        hoard = []
        while True:
            hoard.append(bytearray(2**26))
    elif kind == "once" and not Path(path).exists():
        Path(path).touch()
        os._exit(1)
    elif kind == "slow_once":
        marker, _, seconds = path.partition(":")
        if not Path(marker).exists():
            Path(marker).touch()
            time.sleep(float(seconds or 120))
    elif kind == "slow":
        time.sleep(float(path))
    elif kind == "busy":
        for _ in range(round(float(path) / 0.1)):
            time.sleep(0.1)
            beat(0)
    elif kind == "touch":
        Path(path).touch()


def engine(cluster: Cluster, tmp_path: Path, stopping: Stopping | None = None, **settings: object) -> Engine:
    """Two workers, one retry, events in ``tmp_path``."""
    resolved = RunSettings.model_validate({"workers": 2, "stall_seconds": 60, "error_retries": 1, **settings})
    events = Events(tmp_path / "events.jsonl")
    return Engine(resolved, Console(quiet=True), events, stopping or Stopping(1), cluster.start)


def written(job: ToyJob) -> list[Receipt]:
    return list(receipts(Store(job.folder), len(job.units)))


def ends(job: ToyJob) -> dict[str, str]:
    """Reason (or "written") by utterance, over all receipts; the ledger must balance."""
    outcomes = [o for r in written(job) for o in r.outcomes]
    assert fold(sum(u.count for u in job.units), outcomes).settled
    return {o.id: o.reason or "written" for o in outcomes}
