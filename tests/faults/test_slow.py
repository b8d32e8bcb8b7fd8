"""A slow worker holds up no run: its unit is leased again, and nothing is published twice."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

from pipelines.cluster import Cluster
from pipelines.engine.commit import execute
from pipelines.engine.contract import Beat, Made, Task, Unit
from tests.faults.toy import ToyJob, ToyWorker, ends, engine, written

UNITS = tuple(Unit(k, 2, 2.0) for k in range(4))


def happened(tmp_path: Path, kind: str) -> list[int]:
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    return [event["unit"] for event in events if event["event"] == kind]


def test_the_unit_of_a_slow_worker_is_done_by_another_and_the_run_does_not_wait(
    cluster: Cluster, tmp_path: Path
) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS, {(0, 1): f"slow_once:{tmp_path / 'slow'}"})
    assert engine(cluster, tmp_path, slow_seconds=1).run(job) == 4
    assert set(ends(job).values()) == {"written"}
    assert 0 in happened(tmp_path, "task_leased_again")  # and what waited behind it
    assert sorted(happened(tmp_path, "unit_done")) == [0, 1, 2, 3]
    assert {r.unit: r.made["attempt"] for r in written(job)}[0] == 2


class Overtaken(ToyWorker):
    """Another lease of the unit is done and committed while this one works on it."""

    def process(self, task: Task, beat: Beat) -> Made:
        execute(self.job, ToyWorker(self.job), replace(task, attempt=2), beat)
        return super().process(task, beat)


def test_a_slow_worker_that_ends_after_another_did_its_unit_publishes_nothing(tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS[:1])
    counts = execute(job, Overtaken(job), Task(UNITS[0]), lambda _: None)
    assert counts == {"written": 2, "filtered": 0, "quarantined": 0}
    assert [r.made["attempt"] for r in written(job)] == [2], "the slow one wrote over what was published"
    assert len(list((tmp_path / "toy").glob("unit-*"))) == 1


def test_no_unit_that_runs_is_leased_again_before_its_time(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS, {(0, 1): "slow:2"})
    started = time.monotonic()
    engine(cluster, tmp_path, slow_seconds=3600).run(job)
    assert time.monotonic() - started > 2
    assert 0 not in happened(tmp_path, "task_leased_again")  # what only waits behind it may begin elsewhere
