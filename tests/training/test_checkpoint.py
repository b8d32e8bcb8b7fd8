"""Checkpoints are whole or not there, whatever dies or rots on the way."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from manifests.dataset import Dataset
from tests.training.datasets import TEXT, VOCAB, recipe, utterances, write_dataset
from training import checkpoint
from training.checkpoint import ATTEMPT, FOLDER, Checkpoint
from training.distributed import Ranks
from training.errors import CheckpointError
from training.loading import load_talker, require_same_tokens
from training.run import Job, train

torch.set_num_threads(1)

POINTS = ("after-talker", "after-average", "after-optimiser", "before-rename", "between-renames", "after-rename")


def tensors(value: float) -> dict[str, dict[str, Tensor]]:
    """Three files, all of them full of one value."""
    return {
        name: {"a": torch.full((3, 2), value), "b": torch.tensor(value)} for name in ("talker", "average", "optimiser")
    }


def save(run: Path, step: int, keep: int = 9) -> Path:
    return checkpoint.save(run, step, tensors(float(step)), {"figures": {"dev": 1.5}}, keep)


def holds(found: Checkpoint | None, step: int) -> bool:
    return found is not None and found.step == step and all(
        bool((t == step).all()) for name in tensors(0) for t in found.tensors(name).values()
    )  # fmt: skip


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    path = save(tmp_path, 7)
    found = checkpoint.newest(tmp_path)
    assert holds(found, 7)
    assert found is not None
    assert (found.path, found.facts["figures"]) == (path, {"dev": 1.5})
    assert {p.suffix for p in path.iterdir()} == {".safetensors", ".json"}


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 3):
        save(tmp_path, step, keep=2)
    assert sorted(p.name for p in (tmp_path / FOLDER).iterdir()) == ["step-00000003", "step-00000010"]


def dies_at(point: str, run: Path, step: int) -> None:
    os.environ["SPEECHMILL_CRASH_AT"] = point
    save(run, step)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("damaged", [False, True])
def test_a_process_that_dies_while_it_saves_leaves_the_old_or_the_new(
    tmp_path: Path, point: str, damaged: bool
) -> None:
    """``damaged``: a checkpoint of the same step lies there that is no good."""
    save(tmp_path, 1)
    if damaged:
        (save(tmp_path, 2) / "talker.safetensors").write_bytes(b"nothing")
    process = multiprocessing.get_context("fork").Process(target=dies_at, args=(point, tmp_path, 2))
    process.start()
    process.join()
    reached = damaged or point != "between-renames"
    assert process.exitcode == (9 if reached else 0)
    found = checkpoint.newest(tmp_path)
    assert holds(found, 2) or (holds(found, 1) and point != "after-rename")
    assert holds(found, 1) or point in ("after-rename", "between-renames")
    save(tmp_path, 3)
    assert holds(checkpoint.newest(tmp_path), 3)
    assert not [p for p in (tmp_path / FOLDER).iterdir() if ATTEMPT in p.name], "what dead attempts left is gone"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: _flip(p / "talker.safetensors"), "talker.safetensors: missing or damaged"),
        (lambda p: (p / "optimiser.safetensors").unlink(), "optimiser.safetensors: missing or damaged"),
        (lambda p: (p / "average.safetensors").write_bytes(b""), "average.safetensors: missing or damaged"),
        (lambda p: (p / "state.json").unlink(), "no readable state.json"),
        (lambda p: (p / "state.json").write_bytes(b'{"step":'), "no readable state.json"),
        (lambda p: (p / "state.json").write_bytes(b"{}"), "not of format speechmill-checkpoint/1"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    save(tmp_path, 1)
    damage(save(tmp_path, 2))
    told: list[str] = []
    assert holds(checkpoint.newest(tmp_path, told.append), 1)
    assert len(told) == 1
    assert "step-00000002" in told[0]
    assert said in told[0]


def test_where_all_are_damaged_it_is_said_what_is_wrong_with_the_newest(tmp_path: Path) -> None:
    for step in (1, 2):
        (save(tmp_path, step) / "average.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-00000002/average\.safetensors: missing or damaged"):
        checkpoint.find(tmp_path)


def test_where_there_is_none_that_is_said(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.find(tmp_path)


# Loading a talker


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    root = write_dataset(folder / "data", utterances(12))
    made = recipe({"layout": "two_stream", "masks": "bernoulli", "steps": 3}, ema=0.9)
    train(Job(made, root, str(folder / "run")), Ranks(), lambda: False, Console(quiet=True))
    return folder


def test_a_talker_is_loaded_from_its_run_or_checkpoint(trained: Path) -> None:
    averaged, facts = load_talker(trained / "run")
    same, _ = load_talker(trained / "run" / FOLDER / "step-00000003")
    last, _ = load_talker(trained / "run", weights="last")
    assert not averaged.training
    assert (facts["step"], facts["dataset"]["speech"]["vocab_size"], facts["dataset"]["text"]["vocab_size"]) == (
        3,
        VOCAB,
        TEXT,
    )
    assert facts["recipe"]["name"] == "tiny"
    for name, weight in averaged.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    assert not torch.equal(averaged.head.weight, last.head.weight)


@pytest.mark.parametrize(("kind", "field", "value"), [("speech", "checksum", "f" * 64), ("text", "vocab_size", 21)])
def test_another_vocabulary_is_refused(trained: Path, kind: str, field: str, value: object) -> None:
    found = checkpoint.find(trained / "run")
    description = json.loads(json.dumps(Dataset.open(str(trained / "data")).description))
    require_same_tokens(found, description)
    description[kind][field] = value
    with pytest.raises(CheckpointError, match=f"trained on another {kind} tokenizer"):
        require_same_tokens(found, description)
