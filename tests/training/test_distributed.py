"""Several processes learn what one learns; one that fails or dies ends all of them, and nothing hangs."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import pipelines.train
from manifests.training_recipe import TrainingRecipe
from pipelines.engine.contract import RunFailed
from pipelines.train_ray import STOP
from tests.training.datasets import recipe, utterances, write_dataset
from training import checkpoint
from training.errors import RowsError
from training.logs import LOG
from training.run import Job, check
from training.trainer import Outcome

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[2]
STAGES = (
    {"name": "one", "layout": "single_stream", "masks": "pairs", "copies": 2, "steps": 3},
    {"name": "two", "layout": "two_stream", "masks": "hierarchical", "steps": 3},
)
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data"), utterances(40))


def start(
    made: TrainingRecipe, data: str, run: Path, *options: str, before: tuple[str, ...] = (), **environment: str
) -> Any:
    """``speechmill train`` as a process of its own, in a group of its own, as a terminal gives it."""
    run.parent.mkdir(parents=True, exist_ok=True)
    written = run.with_suffix(".yaml")
    written.write_text(made.to_yaml(), encoding="utf-8")
    command = [sys.executable, *before, "-m", "pipelines.cli", "train", str(written), data, "-o", str(run), *options]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **ONE_THREAD, **environment}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=280)
    return process.returncode, output


def curve(run: Path) -> list[tuple[int, float, float]]:
    told = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    return [(e["step"], e["loss"], e["gradient_norm"]) for e in told if "loss" in e]


def _stepped(run: Path) -> list[int]:
    return [step for step, *_ in curve(run)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.find(run).tensors("average")


def here(made: TrainingRecipe, data: str, run: Path, processes: int) -> Outcome:
    """The same without the command: ranks are processes of their own, this one is what starts them."""
    return pipelines.train.run(Job(made, data, str(run)), processes, None, Console(quiet=True))


@pytest.fixture(scope="module")
def alone(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "alone"
    here(recipe(*STAGES, ema=0.9), dataset, run, 1)
    return run


@pytest.fixture(scope="module")
def two(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "two"
    here(recipe(*STAGES, ema=0.9), dataset, run, 2)
    return run


def test_two_processes_learn_what_one_learns(alone: Path, two: Path) -> None:
    for (step, loss, norm), (other_step, other_loss, other_norm) in zip(curve(alone), curve(two), strict=True):
        assert step == other_step
        assert (other_loss, other_norm) == pytest.approx((loss, norm), rel=1e-4)
    for name, weight in weights(two).items():
        torch.testing.assert_close(weight, weights(alone)[name], rtol=1e-3, atol=1e-4)


def test_under_torchrun_it_is_the_same_run(dataset: str, two: Path, tmp_path: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    code, output = finish(start(recipe(*STAGES, ema=0.9), dataset, tmp_path / "run", before=torchrun))
    assert code == 0, output
    assert curve(tmp_path / "run") == curve(two)


def test_on_ray_it_is_the_same_run(dataset: str, two: Path, tmp_path: Path) -> None:
    code, output = finish(
        start(recipe(*STAGES, ema=0.9), dataset, tmp_path / "run", "--processes", "2", "--address", "local")
    )
    assert code == 0, output
    assert curve(tmp_path / "run") == curve(two)
    assert "step 6, loss" in output, "the log is shown where the command was given"


def test_on_ray_too_a_signal_ends_the_step_and_places_are_those_of_the_command(
    dataset: str, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's workers are in other folders than the command. What a run is compared by, when it goes on, stays as it was written."""
    run, place = tmp_path / "run", os.path.relpath(alone, ROOT)
    stages = {"layout": "two_stream", "masks": "hierarchical", "steps": 100_000}
    long = recipe(stages, ema=0.9, checkpoint_every=100_000, start=place)
    run.mkdir()
    (run / STOP).touch()  # a run that was killed as it stopped left it behind
    process = start(long, dataset, run, "--processes", "2", "--address", "local")
    _wait_for_step(run)
    os.killpg(process.pid, signal.SIGINT)
    code, output = finish(process)
    stopped = checkpoint.find(run)
    assert code == 130, output
    assert f"stopped at step {stopped.step} of 100000" in output
    assert 1 < stopped.step == len(_stepped(run))
    assert not (run / STOP).exists()
    assert stopped.facts["recipe"]["train"]["start"] == place
    monkeypatch.chdir(ROOT)
    check(Job(long, dataset, str(run)))


def test_a_rank_that_meets_damage_ends_all_with_one_line(tmp_path: Path) -> None:
    codes = utterances(40)
    codes[30][0, 0] = 60_000  # found when the utterance is read, by the rank that reads it
    data = write_dataset(tmp_path / "data", codes)
    with pytest.raises(RowsError, match=r"u0030\.speech\.npy: .*; `speechmill verify .*` lists all that is damaged$"):
        here(recipe(*STAGES), data, tmp_path / "run", 2)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("processes", "sent"), [("1", signal.SIGINT), ("2", signal.SIGINT), ("2", signal.SIGTERM)])
def test_a_signal_to_all_ends_the_step_and_the_same_command_goes_on_to_the_same_bits(
    dataset: str, tmp_path: Path, processes: str, sent: signal.Signals
) -> None:
    """Ctrl-C of a terminal, or the SIGTERM of ``timeout`` and of a scheduler: every process of the group gets it."""
    long = recipe(
        {"layout": "two_stream", "masks": "hierarchical", "steps": 60}, checkpoint_every=1_000, talker={"dropout": 0.1}
    )
    process = start(long, dataset, tmp_path / "cut", "--processes", processes)
    _wait_for_step(tmp_path / "cut")
    os.killpg(process.pid, sent)
    code, output = finish(process)
    stopped = checkpoint.find(tmp_path / "cut").step
    assert code == 130, output
    assert f"stopped at step {stopped} of 60" in output
    assert 0 < stopped < 60
    assert here(long, dataset, tmp_path / "cut", int(processes)).finished
    assert f"going on from step {stopped}" in (tmp_path / "cut" / LOG).read_text()
    assert [step for step, *_ in curve(tmp_path / "cut")] == list(range(1, 61))
    here(long, dataset, tmp_path / "whole", int(processes))
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    for name, weight in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "cut")[name], weight)


def _wait_for_step(run: Path) -> None:
    deadline = time.monotonic() + 90
    while not (run / LOG).is_file() or '"step": 2' not in (run / LOG).read_text():
        assert time.monotonic() < deadline, "no step was made"
        time.sleep(0.02)


def test_a_rank_that_is_killed_ends_the_run_and_does_not_hang(dataset: str, tmp_path: Path) -> None:
    def kill_one() -> None:
        _wait_for_step(tmp_path / "run")
        os.kill(multiprocessing.active_children()[-1].pid or 0, signal.SIGKILL)

    long = recipe({"layout": "two_stream", "masks": "hierarchical", "steps": 100_000}, checkpoint_every=5)
    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(RunFailed, match="the same command goes on from the last checkpoint"):
        here(long, dataset, tmp_path / "run", 2)
    killer.join()
    assert not multiprocessing.active_children()


def test_ranks_whose_parent_is_killed_save_and_end(dataset: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    long = recipe({"layout": "two_stream", "masks": "hierarchical", "steps": 100_000}, checkpoint_every=100_000)
    process = start(long, dataset, run, "--processes", "2")
    _wait_for_step(run)
    process.kill()
    finish(process)  # its output ends when the last of its children has ended
    assert checkpoint.find(run).step == curve(run)[-1][0]
