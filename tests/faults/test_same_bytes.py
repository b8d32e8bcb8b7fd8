"""The promise: the bytes of the dataset are a function of corpus and recipe alone, whatever dies on the way."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.faults.command import ROOT, finish, in_one_process, run, start
from tests.faults.processes import workers_of
from tests.small_corpus import fingerprints, write_corpus

CRASH_POINTS = ("before-data", "between-files", "before-receipt", "after-receipt")
DRIVER_POINTS = ("between-manifest-and-receipt", "before-plan", "before-dataset", "after-dataset")
# test_curation_data.py, test_repair.py, test_export.py and test_segment_stage.py in tests/pipelines
ELSEWHERE = {"repair-removing", "before-name", "after-name", "before-marked-plan", "between-segments-and-receipt"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a run in one process without Ray."""
    out = tmp_path_factory.mktemp("undisturbed")
    made = in_one_process(corpus, out)
    ledger = json.loads((out / "dataset.json").read_text())["ledger"]
    assert ledger["written"] == 22
    assert ledger["filtered"] == {"silent": 1}
    assert ledger["quarantined"] == {"empty_file": 1}
    return made


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_makes_the_same_bytes(
    workers: int, corpus: Path, undisturbed: dict, tmp_path: Path
) -> None:
    code, output = run(corpus, tmp_path, **{"run.workers": workers})
    assert code == 0, output
    assert fingerprints(tmp_path) == undisturbed


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_worker_that_dies_between_data_and_receipt_changes_nothing(
    point: str, corpus: Path, undisturbed: dict, tmp_path: Path
) -> None:
    marker = tmp_path / "crashed"
    code, output = run(corpus, tmp_path / "out", {"SPEECHMILL_CRASH_AT": f"{point}:{marker}"}, **{"run.workers": 2})
    assert marker.exists(), "the crash point was never reached"
    assert code == 0, output
    assert fingerprints(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("point", DRIVER_POINTS)
def test_a_driver_that_dies_on_the_way_leaves_what_the_next_one_finishes(
    point: str, corpus: Path, undisturbed: dict, tmp_path: Path
) -> None:
    marker = tmp_path / "crashed"
    crash = {"SPEECHMILL_CRASH_AT": f"{point}:{marker}"}
    code, output = run(corpus, tmp_path / "out", crash, **{"run.workers": 0})
    assert code == 137, output
    assert (tmp_path / "out" / "dataset.json").exists() == (point == "after-dataset")
    code, output = run(corpus, tmp_path / "out", **{"run.workers": 0})
    assert code == 0, output
    assert fingerprints(tmp_path / "out") == undisturbed


def test_every_crash_point_of_the_pipeline_is_died_at() -> None:
    text = "".join(path.read_text() for path in (ROOT / "pipelines").rglob("*.py"))
    assert set(re.findall(r'crash_point\("([^"]+)"\)', text)) == {*CRASH_POINTS, *DRIVER_POINTS} | ELSEWHERE


@pytest.mark.parametrize("seed", [1, 2])
def test_random_kills_of_workers_and_driver_then_a_resume_make_the_same_bytes(
    seed: int, corpus: Path, undisturbed: dict, tmp_path: Path
) -> None:
    rng, out = random.Random(seed), tmp_path / "out"
    for _ in range(2):
        process = start(corpus, out, **{"run.workers": 2})
        deadline = time.monotonic() + rng.uniform(4, 9)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
            for worker in workers_of(process.pid)[:1]:
                if rng.random() < 0.3:
                    worker.kill()
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    code, output = run(corpus, out, **{"run.workers": 2})
    assert code == 0, output
    assert fingerprints(out) == undisturbed


def test_ctrl_c_drains_and_the_next_run_finishes_the_same_bytes(
    corpus: Path, undisturbed: dict, tmp_path: Path
) -> None:
    process = start(corpus, tmp_path, **{"run.workers": 1, "plan.unit_seconds": 4})
    _wait_for(tmp_path, "cuts/cuts.json")
    os.killpg(process.pid, signal.SIGINT)  # the whole group, as a terminal does
    code, output = finish(process)
    assert code == 130, output
    assert "run again to resume" in output
    assert not (tmp_path / "dataset.json").exists()
    code, output = run(corpus, tmp_path, **{"run.workers": 1})
    assert code == 0, output
    assert fingerprints(tmp_path) == undisturbed


@pytest.mark.parametrize(("sent", "times"), [(signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGTERM, 2)])
def test_a_signal_to_the_driver_once_drains_twice_stops_and_both_resume(
    sent: signal.Signals, times: int, corpus: Path, undisturbed: dict, tmp_path: Path
) -> None:
    """SIGTERM once is what a spot machine gets before it is taken away; the grace it has is ``run.drain_seconds``.

    Ray, when it is let go, takes away whatever the process does on SIGTERM: a second one within that second ends it by the signal itself.
    """
    process = start(corpus, tmp_path, **{"run.workers": 1, "run.drain_seconds": 20})
    _wait_for(tmp_path, "cuts/cuts.json")
    for _ in range(times):
        os.kill(process.pid, sent)
        time.sleep(0.3)
    code, output = finish(process, 60)
    if (code, sent, times) != (-signal.SIGTERM, signal.SIGTERM, 2):
        assert code == 130, output
        assert "run again to resume" in output
    assert not (tmp_path / "dataset.json").exists()
    code, output = run(corpus, tmp_path, **{"run.workers": 0})
    assert code == 0, output
    assert fingerprints(tmp_path) == undisturbed


def test_a_second_driver_on_the_same_output_is_refused(corpus: Path, tmp_path: Path) -> None:
    first = start(corpus, tmp_path, **{"run.workers": 1})
    _wait_for(tmp_path, ".lock")
    time.sleep(0.5)
    code, output = run(corpus, tmp_path, **{"run.workers": 1})
    assert code == 3
    assert "another speechmill" in output
    assert finish(first)[0] == 0


def test_a_finished_run_has_nothing_to_do(corpus: Path, tmp_path: Path) -> None:
    assert run(corpus, tmp_path, **{"run.workers": 0})[0] == 0
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("shard-*")}
    code, output = run(corpus, tmp_path, **{"run.workers": 2})
    assert code == 0
    assert "nothing to do" in output
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("shard-*")} == before


def _wait_for(out: Path, name: str) -> None:
    deadline = time.monotonic() + 60
    while not (out / name).exists():
        assert time.monotonic() < deadline, f"{name} never came"
        time.sleep(0.05)
