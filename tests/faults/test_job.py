"""``ray job submit``: the driver runs on the cluster, with what was sent along as its working directory. The same bytes, and the job's end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.command import ROOT, in_one_process
from tests.faults.heads import Head, cluster
from tests.small_corpus import fingerprints, overrides, write_corpus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with cluster(dashboard=True) as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, without the rest of a checkout: what ``--working-dir .`` sends along."""
    folder = tmp_path_factory.mktemp("sent")
    for room in ("manifests", "tokenization", "training", "pipelines"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def submit(head: Head, folder: Path, *arguments: str) -> tuple[int, str]:
    """The command of docs/cluster.md, from that folder; its exit code and all that it and the job say."""
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", head.dashboard, "--working-dir", ".", "--",
        sys.executable, "-m", "pipelines.cli", *arguments,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **head.environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_job_makes_the_same_bytes_with_the_code_that_was_sent_along(head: Head, folder: Path, tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", 12), tmp_path / "out"
    undisturbed = in_one_process(corpus, tmp_path / "alone")
    sets = [part for value in overrides(corpus) for part in ("--set", value)]
    code, output = submit(head, folder, "data", "corpus", "-o", str(out), "--address", "auto", "--no-report", *sets)
    assert code == 0, output
    assert "12 = 10 written + 1 filtered + 1 quarantined" in output
    assert fingerprints(out) == undisturbed


def test_a_job_that_cannot_be_done_fails_with_the_line_that_says_why(head: Head, folder: Path, tmp_path: Path) -> None:
    code, output = submit(
        head,
        folder,
        "data",
        "corpus",
        "-o",
        str(tmp_path / "out"),
        "--address",
        "auto",
        "--set",
        f"corpus.root={tmp_path}/none",
    )
    assert code != 0
    assert "speechmill: " in output
    assert "none" in next(line for line in output.splitlines() if "speechmill: " in line)
