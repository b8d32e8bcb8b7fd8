"""One bad utterance costs that utterance: whatever it does to its worker, its neighbours are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.cluster import Cluster
from pipelines.engine.contract import RunFailed, Unit
from tests.faults.toy import ToyJob, ends, engine

UNITS = tuple(Unit(k, 8, 8.0) for k in range(3))


def test_an_utterance_that_crashes_its_worker_is_found_and_quarantined(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS, {(1, 5): "segv"})
    assert engine(cluster, tmp_path).run(job) == 3
    found = ends(job)
    assert found.pop("1-5") == "worker_died"
    assert set(found.values()) == {"written"}


def test_two_poisonous_utterances_in_one_unit_are_both_found(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS[:1], {(0, 0): "segv", (0, 7): "segv"})
    engine(cluster, tmp_path).run(job)
    assert {k for k, v in ends(job).items() if v != "written"} == {"0-0", "0-7"}


def test_an_utterance_that_hangs_meets_a_deadline(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), (Unit(0, 2, 2.0),), {(0, 1): "hang"})
    engine(cluster, tmp_path, stall_seconds=1.5, attempts=1).run(job)
    assert ends(job) == {"0-0": "written", "0-1": "worker_stalled"}


def test_a_worker_that_dies_once_costs_no_utterance(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS, {(2, 3): f"once:{tmp_path / 'died'}"})
    engine(cluster, tmp_path).run(job)
    assert set(ends(job).values()) == {"written"}


def test_an_error_that_is_no_utterances_fault_is_retried_then_fails_the_run_and_resumes(
    cluster: Cluster, tmp_path: Path
) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS, {(0, 1): "raise"})
    with pytest.raises(RunFailed, match=r"1 of 3 units failed; unit 0: OSError: the disk says no; run again to resume"):
        engine(cluster, tmp_path).run(job)
    mended = ToyJob(job.folder, UNITS)
    assert engine(cluster, tmp_path).run(mended) == 1
    assert set(ends(mended).values()) == {"written"}


def test_signs_of_life_keep_a_worker_that_finishes_no_utterance_for_long(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), (Unit(0, 1, 1.0),), {(0, 0): "busy:5"})
    engine(cluster, tmp_path, stall_seconds=2, attempts=1).run(job)
    assert ends(job) == {"0-0": "written"}
    assert "task_" not in (tmp_path / "events.jsonl").read_text()


def test_an_utterance_that_eats_all_memory_is_found_and_quarantined(cluster: Cluster, tmp_path: Path) -> None:
    job = ToyJob(str(tmp_path / "toy"), UNITS[:2], {(1, 5): "eat"})
    engine(cluster, tmp_path, attempts=1).run(job)
    found = ends(job)
    assert found.pop("1-5") == "worker_died"
    assert set(found.values()) == {"written"}
