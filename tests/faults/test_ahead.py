"""A task that waits behind another on one actor: never blamed for what it did not do, never begun after a stop."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster import Cluster
from pipelines.engine.contract import RunFailed, Unit
from pipelines.engine.stopping import Interrupted, Stopping
from tests.faults.toy import ToyJob, ends, engine, written

UNITS = tuple(Unit(k, 4, 4.0) for k in range(6))


def happened(tmp_path: Path, kind: str) -> list[int]:
    """The units of the events of one kind, in order."""
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    return [event["unit"] for event in events if event["event"] == kind]


def attempts(job: ToyJob) -> dict[int, int]:
    return {receipt.unit: receipt.made["attempt"] for receipt in written(job)}


def test_a_task_that_waits_behind_one_that_dies_comes_back_unblamed(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS, {(0, 2): f"once:{tmp_path / 'died'}"})
    engine(cluster, tmp_path, workers=1).run(job)
    assert set(ends(job).values()) == {"written"}
    assert happened(tmp_path, "task_returned") == [1], "no task waited behind the one that died"
    assert happened(tmp_path, "task_died") == [0]
    assert attempts(job) == {0: 2, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}


def test_a_task_that_kills_as_soon_as_it_is_begun_is_not_laid_at_its_predecessors_door(
    cluster: Cluster, tmp_path: Path
) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS, {(1, 0): "segv", (3, 0): "segv"})
    engine(cluster, tmp_path, workers=1, attempts=1).run(job)
    found = ends(job)
    assert {k for k, v in found.items() if v != "written"} == {"1-0", "3-0"}
    assert {found["1-0"], found["3-0"]} == {"worker_died"}
    assert set(happened(tmp_path, "task_died")) == {1, 3}
    assert {k: v for k, v in attempts(job).items() if k not in (1, 3)} == {0: 1, 2: 1, 4: 1, 5: 1}


def test_the_deadline_counts_for_the_task_that_runs_not_for_the_one_that_waits(
    cluster: Cluster, tmp_path: Path
) -> None:
    slow = {(0, position): "slow:1.5" for position in range(4)}
    job = ToyJob(str(tmp_path / "toy"), UNITS[:4], {**slow, (2, 1): "hang"})
    engine(cluster, tmp_path, workers=1, stall_seconds=4, attempts=1).run(job)
    assert {k: v for k, v in ends(job).items() if v != "written"} == {"2-1": "worker_stalled"}
    assert set(happened(tmp_path, "task_stalled")) == {2}


def test_a_stop_lets_the_running_task_finish_and_does_not_begin_the_waiting_one(
    cluster: Cluster, tmp_path: Path
) -> None:
    begun, stopping = tmp_path / "begun", Stopping(60)
    job = ToyJob(str(tmp_path / "toy"), UNITS, {(0, 0): f"touch:{begun}", (0, 1): "slow:4"})

    def stop() -> None:
        while not begun.exists():
            time.sleep(0.05)
        stopping.ask()

    asking = threading.Thread(target=stop)
    asking.start()
    with pytest.raises(Interrupted, match="run again to resume"):
        engine(cluster, tmp_path, stopping, workers=1).run(job)
    asking.join()
    assert [receipt.unit for receipt in written(job)] == [0]
    assert happened(tmp_path, "task_returned") == [1]
    assert engine(cluster, tmp_path, workers=1).run(job) == 5
    assert set(ends(job).values()) == {"written"}
    assert set(attempts(job).values()) == {1}


def test_workers_that_the_cluster_has_no_room_for_hold_no_task(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS, {(unit, 0): "slow:3" for unit in range(6)})
    engine(cluster, tmp_path, workers=5, stall_seconds=5, attempts=1).run(job)
    assert set(ends(job).values()) == {"written"}
    assert happened(tmp_path, "task_stalled") == []


def _only_in(process: int) -> dict[str, Any]:
    if os.getpid() != process:
        raise ModuleNotFoundError("No module named 'a_plug_in'")
    return {}


class OnlyHere(dict[Any, str]):
    """A value that cannot be loaded in any process but this one, as code that is not installed there."""

    def __reduce__(self) -> Any:
        return _only_in, (os.getpid(),)


def test_a_job_that_no_worker_can_load_fails_the_run_and_blames_no_utterance(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS, OnlyHere())
    with pytest.raises(RunFailed, match=r"no worker starts; is this version of the project installed.*run again"):
        engine(cluster, tmp_path).run(job)
    assert written(job) == []
