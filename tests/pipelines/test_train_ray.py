"""How a training on Ray is told to stop: a file in the run folder, once; at once, where it is told twice."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from pipelines.engine.stopping import Interrupted, Stopping
from pipelines.train_ray import ASK_EVERY, _ended


def test_told_once_it_asks_in_the_run_folder_and_waits_for_the_end(tmp_path: Path) -> None:
    work, stop = Future[None](), tmp_path / "stop"
    stopping = Stopping(0)
    stopping.ask()
    threading.Timer(5 * ASK_EVERY, work.set_result, [None]).start()
    _ended(work, stopping, stop)
    assert stop.exists()


def test_told_twice_it_does_not_wait(tmp_path: Path) -> None:
    stopping = Stopping(0)
    stopping.ask()
    stopping.ask()
    with pytest.raises(Interrupted, match="stopped at once; the same command goes on from the last checkpoint"):
        _ended(Future(), stopping, tmp_path / "stop")


def test_what_ended_the_work_is_raised_and_nothing_is_asked(tmp_path: Path) -> None:
    work = Future[None]()
    work.set_exception(ValueError("u0030: damaged"))
    with pytest.raises(ValueError, match="u0030"):
        _ended(work, Stopping(0), tmp_path / "stop")
    assert not (tmp_path / "stop").exists()
