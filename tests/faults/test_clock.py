"""Clocks that jump: neither deadlines nor bytes go by the time of day."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from rich.console import Console

from manifests.recipe import Recipe, parse
from pipelines.data import opened
from pipelines.status import status
from pipelines.verify.verify import verify
from tests.faults.command import ROOT
from tests.small_corpus import fingerprints, write_corpus

YEAR = 365 * 86400.0


def recipe_of(corpus: Path) -> Recipe:
    return parse({
        "corpus": {"layout": "table", "root": str(corpus)}, "plan": {"unit_seconds": 4}, "run": {"workers": 0},
        "speech": {"codebook_size": 16, "fit_seconds": 4, "iterations": 2}, "text": {"vocab_size": 300},
    })  # fmt: skip


def make(corpus: Path, out: Path) -> dict[str, bytes]:
    with opened(recipe_of(corpus), str(out), Console(quiet=True)) as run:
        run()
    assert not verify(str(out), reencode=0).faults
    return fingerprints(out)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", 8)


def test_a_clock_that_jumps_to_and_fro_changes_no_byte_and_no_duration(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, real, jumps = make(corpus, tmp_path / "one"), time.time, cycle([0.0, -30 * YEAR, 5 * YEAR, -1.0])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    assert make(corpus, tmp_path / "other") == undisturbed
    assert all(0 <= stage.seconds < 60 for stage in status(str(tmp_path / "other")).stages)


def test_times_of_files_that_moved_back_between_runs_change_no_byte(corpus: Path, tmp_path: Path) -> None:
    before = make(corpus, tmp_path / "out")
    shards = {p: p.stat().st_ino for p in (tmp_path / "out").rglob("shard-*")}
    for path in (*corpus.iterdir(), *(p for p in (tmp_path / "out").rglob("*") if p.is_file())):
        os.utime(path, (0, 0))
    assert make(corpus, tmp_path / "out") == before
    assert {p: p.stat().st_ino for p in (tmp_path / "out").rglob("shard-*")} == shards, "a unit was made anew"


def waits() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "pipelines/engine").glob("*.py")):
        for line in path.read_text().splitlines():
            if "time.time()" in line:
                yield path.name, line.strip()


def test_the_engine_asks_for_the_time_of_day_only_to_write_it_down() -> None:
    assert {name for name, _ in waits()} == {"commit.py", "progress.py"}
    assert len(list(waits())) == 2
