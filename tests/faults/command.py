"""Running ``speechmill data`` as a process of its own, to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tests.small_corpus import fingerprints, overrides

ROOT = Path(__file__).resolve().parents[2]


def start(
    corpus: Path | str,
    out: Path | str,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    within: Callable[[list[str]], list[str]] = list,
    **more: object,
) -> subprocess.Popen[str]:
    """The command, in a process group of its own (as a terminal gives it), with its output captured; ``within`` puts it elsewhere."""
    sets = [part for value in overrides(corpus, **more) for part in ("--set", value)]
    code = "from pipelines.cli import main; main()"
    return subprocess.Popen(
        within([sys.executable, "-c", code, "data", "corpus", "-o", str(out), "--no-report", *sets]),
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], seconds: float = 240) -> tuple[int, str]:
    """Exit code and output. Raises TimeoutExpired, and leaves nothing behind, where it takes longer."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        raise
    return process.returncode, output


def run(
    corpus: Path | str,
    out: Path | str,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    within: Callable[[list[str]], list[str]] = list,
    **more: object,
) -> tuple[int, str]:
    return finish(start(corpus, out, environment, cwd, within, **more))


def in_one_process(corpus: Path | str, out: Path, **more: object) -> dict[str, bytes]:
    """The bytes of a run without Ray and without a fault: what all others must come to."""
    code, output = run(corpus, out, **{"run.workers": 0, **more})
    assert code == 0, output
    return fingerprints(out)
