"""A process that Ray itself is made of dies under a run on one machine: the run ends without a traceback, and resumes. The same bytes."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import psutil
import pytest
from ray.exceptions import LocalRayletDiedError, RayActorError

from manifests.settings.run import RunSettings
from pipelines.cluster import Cluster
from pipelines.engine.pool import in_touch
from pipelines.engine.run import RunFailed
from tests.faults.command import finish, in_one_process, run, start
from tests.faults.processes import ray_of, workers_of
from tests.small_corpus import fingerprints, write_corpus


@pytest.mark.parametrize("lost", [LocalRayletDiedError(), ConnectionError("the client is disconnected")])
def test_a_driver_that_has_lost_ray_says_how_to_go_on(lost: Exception) -> None:
    with pytest.raises(RunFailed, match=r"tokens: the Ray cluster is out of touch .*; run again to resume"), in_touch("tokens"):  # fmt: skip
        raise lost


@pytest.mark.parametrize("other", [BrokenPipeError("a pipe"), RayActorError(), ValueError("a stage's own")])
def test_other_errors_are_left_as_they_are(other: Exception) -> None:
    with pytest.raises(type(other)) as told, in_touch("tokens"):
        raise other
    assert told.value is other


def test_no_worker_is_waited_for_while_ray_starts() -> None:
    """Ray keeps its first driver waiting for workers, and for ever where one of them dies as it starts."""
    cluster = Cluster(RunSettings(workers=2))
    cluster.start()
    try:
        assert workers_of(os.getpid()) == []
    finally:
        cluster.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", ["ingest", "tokens"])
def test_ray_is_killed_under_a_run_which_ends_and_resumes(tmp_path: Path, stage: str) -> None:
    corpus, out, more = write_corpus(tmp_path / "corpus", 24), tmp_path / "out", {"plan.unit_seconds": 2}
    undisturbed = in_one_process(corpus, tmp_path / "alone", **more)
    process = start(corpus, out, **{"run.workers": 1, **more})
    deadline = time.monotonic() + 120
    while not (workers_of(process.pid) and (stage == "ingest" or list(out.glob("cuts/*.json")))):
        assert time.monotonic() < deadline, f"never within {stage}"
        time.sleep(0.02)
    for part in ray_of(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):  # one ends with the other
            part.kill()
    code, output = finish(process)
    assert code in (1, 3), output  # 1: Ray ends the process of a driver that has lost it
    assert "pipelines/" not in output, f"a traceback: {output}"
    code, output = run(corpus, out, **{"run.workers": 0, **more})
    assert code == 0, output
    assert fingerprints(out) == undisturbed
