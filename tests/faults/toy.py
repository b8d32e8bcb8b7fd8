"""A job whose utterances misbehave as told."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manifests.ledger import Outcome
from pipelines.engine.contract import Beat, Made, Task, Unit


@dataclass(frozen=True)
class ToyJob:
    """``behaviour`` says what (unit, position) does: segv, hang, raise, or once:<file> (dies the first time only)."""

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
            misbehave(self.job.behaviour.get((task.unit.index, position), ""))
            outcomes.append(Outcome(name, "written"))
            beat(1)
        data = "\n".join(o.id for o in outcomes if o.status == "written").encode()
        return Made({f"unit-{task.unit.index}.txt": data}, tuple(outcomes))


def misbehave(how: str) -> None:
    kind, _, path = how.partition(":")
    if kind == "segv":
        ctypes.string_at(0)
    elif kind == "hang":
        time.sleep(3600)
    elif kind == "raise":
        raise OSError("the disk says no")
    elif kind == "once" and not Path(path).exists():
        Path(path).touch()
        os._exit(1)
