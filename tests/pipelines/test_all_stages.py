"""All stages that a recipe may ask for, in one: long recordings are cut up, looked at for copies, heard, judged, and become the same dataset every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from manifests.dataset import Dataset
from manifests.recipe import Recipe, parse
from manifests.storage import Store
from pipelines.data import Result, opened
from pipelines.stages.order import ORDER
from pipelines.stages.s30_plan import read_plan
from pipelines.verify.verify import verify
from tests.corpora import corpus
from tests.small_corpus import fingerprints

QUIET = Console(quiet=True)


def recipe() -> Recipe:
    return parse({
        "name": "all", "corpus": {"layout": "folder", "root": str(corpus("jfk") / "tests")},
        "segment": {"max_seconds": 5}, "copies": {}, "transcribe": {"use": "missing"}, "verify_text": {},
        "scores": {"snr_db": {}}, "filters": {"short_one": "seconds < 1.5", "noisy": "snr_db < 0"},
        "speech": {"fit_seconds": 60, "codebook_size": 16, "pca": 8}, "text": {"vocab_size": 300}, "run": {"workers": 0},
    })  # fmt: skip


def made(out: Path) -> Result:
    with opened(recipe(), str(out), QUIET) as run:
        return run()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("all") / "out"
    made(out)
    return out


def test_every_piece_ends_somewhere_and_what_is_written_was_heard(finished: Path) -> None:
    dataset = Dataset.open(str(finished))
    ledger = dataset.description["ledger"]
    pieces = dataset.description["segments"]["utterances"]
    assert pieces >= 3
    assert ledger["written"] == len(dataset) < pieces
    assert ledger["filtered"] == {"short_one": pieces - len(dataset)}
    for sample in dataset:
        assert sample.meta["text"] == sample.meta["heard"]["text"]
        assert sample.meta["heard"]["is_text"]
        assert sample.meta["scores"]["snr_db"] > 0
        assert sample.meta["duration"] >= 1.5


def test_stages_run_in_the_order_that_others_are_told_and_leave_what_they_are_said_to(finished: Path) -> None:
    description = Dataset.open(str(finished)).description
    folders, units = description["folders"], len(read_plan(Store(str(finished)).sub(description["folders"]["plan"])))
    there = [stage for stage in ORDER if stage.name in folders]
    assert {stage.name for stage in there} >= {"segments", "plan", "copies", "transcripts", "fit", "tokens"}
    begun = [min(path.stat().st_mtime_ns for path in (finished / folders[s.name]).rglob("*.*")) for s in there]
    assert begun == sorted(begun)
    for stage in there:
        found = finished / folders[stage.name]
        if stage.units:
            assert len(list(found.glob("receipts/*.json"))) == units, stage.name
        assert len(list(found.glob("*.tar"))) == (units if stage.shards else 0), stage.name


def test_it_verifies_and_a_rerun_has_nothing_to_do(finished: Path) -> None:
    assert verify(str(finished), reencode=4).ok
    assert made(finished).nothing_to_do


def test_another_run_makes_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    made(tmp_path / "out")
    assert fingerprints(tmp_path / "out") == fingerprints(finished)
