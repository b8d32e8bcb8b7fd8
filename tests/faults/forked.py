"""``speechmill data`` in a process that is forked from one which has the libraries loaded, to be killed: cheap enough to kill a run of every codec."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import torch
import transformers  # noqa: F401
from rich.console import Console

from manifests.recipe import parse
from pipelines.data import opened

torch.set_num_threads(1)


def killed(values: dict[str, Any], out: Path, point: str, seconds: float = 240) -> int | None:
    """The exit code of a run of the recipe ``values`` into ``out`` that dies at a crash point (``pipelines/engine/commit.py``)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_run, args=(values, str(out), f"{point}:{out}.{point}"))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
    return process.exitcode


def _run(values: dict[str, Any], out: str, crash: str) -> None:
    os.environ["SPEECHMILL_CRASH_AT"] = crash
    with opened(parse(values), out, Console(quiet=True)) as run:
        run()
