"""Checkpoints: a folder of safetensors files and ``state.json``, whole or not there.

    RUN/checkpoints/step-00000500/talker.safetensors      weights
                                  average.safetensors     averaged weights
                                  optimiser.safetensors   state of the optimisers
                                  state.json              step, recipe, dataset, size and SHA-256 of the files above

A folder is written under another name, synced, and renamed; ``state.json`` is its last file. One that is damaged all the same is
found out by its hashes, named, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from manifests.fingerprint import pretty
from training.errors import CheckpointError

FORMAT = "speechmill-checkpoint/1"
FOLDER, STATE = "checkpoints", "state.json"
ATTEMPT = ".attempt-"

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is whole.

    facts   what ``state.json`` holds beside the list of files: step, recipe, dataset, what lies beside its tokens, figures
    """

    path: Path
    facts: dict[str, Any]

    @property
    def step(self) -> int:
        return self.facts["step"]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a file. Raises :class:`CheckpointError`."""
        try:
            return load_file(self.path / f"{name}.safetensors")
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.path}/{name}.safetensors: cannot be read: {error}") from None


def _sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _facts_of(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _crash(point: str) -> None:
    """A place where tests let the process die."""
    if os.environ.get("SPEECHMILL_CRASH_AT") == point:
        os._exit(9)


def save(run: Path, step: int, files: Mapping[str, Tensors], facts: Mapping[str, Any], keep: int) -> Path:
    """Publish a checkpoint of a run, then remove all but the newest ``keep``; returns its folder."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / name_of(step)
    attempt = folder / f"{final.name}{ATTEMPT}{uuid.uuid4().hex}"
    attempt.mkdir()
    for name, tensors in files.items():
        path = attempt / f"{name}.safetensors"
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, path)
        path.chmod(attempt.stat().st_mode & 0o666)  # it comes out private
        _sync(path)
        _crash(f"after-{name}")
    listed = {path.name: _facts_of(path) for path in sorted(attempt.iterdir())}
    (attempt / STATE).write_bytes(pretty({**facts, "format": FORMAT, "step": step, "files": listed}))
    _sync(attempt / STATE)
    _sync(attempt)
    _crash("before-rename")
    if final.exists():  # a damaged one: a whole one would have been gone on from
        final.rename(folder / f"{final.name}{ATTEMPT}{uuid.uuid4().hex}")
        _crash("between-renames")
    attempt.rename(final)
    _sync(folder)
    _crash("after-rename")
    _tidy(folder, keep)
    return final


def _tidy(folder: Path, keep: int) -> None:
    """Remove attempts and all but the newest checkpoints."""
    names = sorted(path.name for path in folder.iterdir())
    published = [name for name in names if ATTEMPT not in name]
    for name in [name for name in names if ATTEMPT in name] + published[:-keep]:
        shutil.rmtree(folder / name)


def read(path: Path) -> Checkpoint:
    """The checkpoint in a folder, after its sizes and hashes were compared. Raises :class:`CheckpointError`."""
    try:
        facts = orjson.loads((path / STATE).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: no readable {STATE}: {error}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(f"{path}/{STATE}: not of format {FORMAT}")
    for name, expected in facts["files"].items():
        if not (path / name).is_file() or _facts_of(path / name) != expected:
            raise CheckpointError(f"{path}/{name}: missing or damaged: not the file that {STATE} lists")
    return Checkpoint(path, facts)


def name_of(step: int) -> str:
    """The folder of a checkpoint."""
    return f"step-{step:08d}"


def published(run: Path) -> list[Path]:
    """The folders of a run's checkpoints, oldest first, whole or damaged."""
    folder = run / FOLDER
    return sorted(p for p in folder.iterdir() if ATTEMPT not in p.name) if folder.is_dir() else []


def newest(run: Path, tell: Callable[[str], None] = lambda line: None) -> Checkpoint | None:
    """The newest whole checkpoint of a run, or None; damaged ones are told and passed over."""
    for path in reversed(published(run)):
        try:
            return read(path)
        except CheckpointError as error:
            tell(f"damaged checkpoint passed over: {error}")
    return None


def find(path: str | Path, tell: Callable[[str], None] = lambda line: None) -> Checkpoint:
    """The checkpoint in a folder, or the newest of a run that is whole. Raises :class:`CheckpointError`."""
    path = Path(path)
    if (path / STATE).is_file():
        return read(path)
    found = newest(path, tell)
    if found is None and (damaged := published(path)):
        return read(damaged[-1])  # it says what is wrong
    if found is None:
        raise CheckpointError(
            f"{path}: no checkpoint: neither one nor a run that has one (`speechmill train -o {path}`)"
        )
    return found
