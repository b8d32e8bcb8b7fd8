"""Doing one task and committing it: data under attempt-private names, published, then the receipt.

``crash_point`` marks every place where dying must be harmless; tests make it fatal.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping
from typing import Any

from manifests.ledger import Outcome
from manifests.receipt import FileEntry, Receipt, read_receipt, write_receipt
from manifests.storage import Store
from pipelines.engine import cores
from pipelines.engine.contract import Beat, Job, Task, Worker

CRASH_VARIABLE = "SPEECHMILL_CRASH_AT"


def crash_point(name: str) -> None:
    """Nothing, unless a test asked this process to die here.

    ``SPEECHMILL_CRASH_AT=name:file`` kills the process (as SIGKILL would) the first time it comes by: the file is
    created first, so that the next attempt survives.
    """
    wanted, _, marker = os.environ.get(CRASH_VARIABLE, "").partition(":")
    if wanted == name and marker and not os.path.exists(marker):
        with open(marker, "w", encoding="utf-8") as file:
            file.write(name)
        os._exit(137)


def execute(job: Job, worker: Worker, task: Task, beat: Beat) -> Mapping[str, Any]:
    """Do ``task``; unless it is a probe, publish its files and then its receipt. Returns the counts for the progress table."""
    started, began, had, waited = time.time(), time.monotonic(), time.process_time(), cores.waited()
    if (already := committed(job, task)) is not None:  # another lease did it, or a listing that lags did not show it
        return already
    made = worker.process(task, beat)
    counts = _counts(made.outcomes)
    beat(0)
    if task.only is not None:
        return counts
    store = Store(job.folder)
    if (already := committed(job, task)) is not None:  # another lease of this unit was faster
        return already
    crash_point("before-data")
    for name, data in made.files.items():
        store.publish(name, data)
        beat(0)
        crash_point("between-files")
    crash_point("before-receipt")
    entries = tuple(FileEntry.of(name, data) for name, data in made.files.items())
    how = _made(task, started, time.monotonic() - began, time.process_time() - had, cores.since(waited))
    receipt = Receipt(job.stage, task.unit.index, entries, made.outcomes, made.facts, how)
    write_receipt(store, receipt)
    crash_point("after-receipt")
    return counts


def committed(job: Job, task: Task) -> dict[str, int] | None:
    """The counts of a task whose receipt is written, even if whoever did it died before saying so; else None."""
    receipt = read_receipt(Store(job.folder), task.unit.index) if task.only is None else None
    return None if receipt is None else _counts(receipt.outcomes)


def _counts(outcomes: tuple[Outcome, ...]) -> dict[str, int]:
    counts = {"written": 0, "filtered": 0, "quarantined": 0}
    for outcome in outcomes:
        counts[outcome.status] += 1
    return counts


def _made(task: Task, started: float, seconds: float, core: float, waited: float | None) -> dict[str, Any]:
    """Of the seconds, ``core`` are those in which this process had a core (more, where it has several threads), ``waited`` those in which
    the thread that did it could have gone on and had none; left out where the system does not tell.
    """
    told = {} if waited is None else {"waited_seconds": round(waited, 3)}
    return {
        "seconds": round(seconds, 3), "core_seconds": round(core, 3), **told, "started": round(started, 3), "attempt": task.attempt,
        "host": platform.node(), "node": node(), "machine": platform.machine(), "python": platform.python_version(),
    }  # fmt: skip


def node() -> str:
    """The id of the Ray node this process runs on; empty without Ray."""
    ray = sys.modules.get("ray")
    return str(ray.get_runtime_context().get_node_id()) if ray is not None and ray.is_initialized() else ""
