"""The teach stage under fire: actors with a teacher in them die as any others do, and the bytes are the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.faults.command import finish, run, start
from tests.faults.processes import workers_of
from tests.small_corpus import fingerprints, write_corpus

TEACHER = {
    "name": "first",
    "talker": {"layers": 1, "width": 32, "heads": 2, "ffn": 64, "block": 16},
    "train": {"batch_frames": 200, "precision": "fp32", "validation": {"every": 0},
              "stages": [{"name": "only", "masks": "hierarchical", "steps": 2}]},
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    recipe = tmp_path_factory.mktemp("recipe") / "first.yaml"
    recipe.write_text(yaml.safe_dump(TEACHER), encoding="utf-8")
    return {"teach": f"{{bootstrap: {recipe}, store: topk, batch_frames: 64}}"}


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output made in one process without Ray, a teacher of its own in it."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    code, output = run(corpus, out, **settings, **{"run.workers": 0})
    assert code == 0, output
    assert list(out.glob("teach-*/shard-*.tar"))
    return out


@pytest.fixture
def untaught(undisturbed: Path, tmp_path: Path) -> Path:
    """The same, with nothing taught yet."""
    out = Path(shutil.copytree(undisturbed, tmp_path / "out"))
    shutil.rmtree(next(out.glob("teach-*")))
    return out


def made(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in fingerprints(out).items() if not name.startswith("teacher-")}


@pytest.mark.parametrize("point", ["between-files", "before-receipt"])
def test_an_actor_that_dies_between_data_and_receipt_changes_nothing(
    point: str, corpus: Path, settings: dict[str, object], undisturbed: Path, untaught: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "crashed"
    crash = {"SPEECHMILL_CRASH_AT": f"{point}:{marker}"}
    code, output = run(corpus, untaught, crash, **settings, **{"run.workers": 2})
    assert marker.exists(), "the crash point was never reached"
    assert code == 0, output
    assert made(untaught) == made(undisturbed)


def test_actors_and_driver_are_killed_while_they_teach_and_a_resume_makes_the_same_bytes(
    corpus: Path, settings: dict[str, object], undisturbed: Path, untaught: Path
) -> None:
    process = start(corpus, untaught, **settings, **{"run.workers": 1})
    wait_for_receipt(untaught)
    for actor in workers_of(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):  # one that ended just now
            actor.kill()
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    taught = len(list(untaught.glob("teach-*/receipts/unit-*.json")))
    code, output = run(corpus, untaught, **settings, **{"run.workers": 2})
    assert code == 0, output
    assert 0 < taught <= len(list(undisturbed.glob("teach-*/receipts/unit-*.json")))
    assert made(untaught) == made(undisturbed)


def wait_for_receipt(out: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(out.glob("teach-*/receipts/unit-*.json")):
        assert time.monotonic() < deadline, "nothing was taught"
        time.sleep(0.02)
