"""Relative paths: the same places for workers in other working directories, and for whoever looks at an output later."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from manifests.corpora.base import CorpusError
from manifests.recipe import Recipe, RecipeError, parse
from manifests.run_file import place_of_corpus
from manifests.storage import Store
from pipelines.data import opened
from pipelines.engine.run import Engine
from pipelines.repair.repair import planned_repair, repair
from pipelines.stages.s20_ingest import HeaderReader
from pipelines.status import status
from pipelines.verify.verify import verify
from tests.small_corpus import fingerprints, write_corpus

QUIET = Console(quiet=True)
SETTINGS = {
    "plan": {"unit_seconds": 4}, "speech": {"codebook_size": 16, "fit_seconds": 4, "iterations": 2}, "text": {"vocab_size": 300},
    "mask": {"block": 8, "sets": {"plain": {"views": 2, "mix": [{"noise": "bernoulli"}]}}}, "run": {"workers": 0},
}  # fmt: skip


def recipe(root: str, **corpus: Any) -> Recipe:
    return parse({**SETTINGS, "corpus": {"layout": "table", "root": root, **corpus}})


def made(out: str, asked: Recipe) -> dict[str, int]:
    with opened(asked, out, QUIET) as run:
        return run().description["ledger"]["quarantined"]


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def elsewhere(work: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """``work``, as a worker does it whose working directory is ``folder``."""

    @wraps(work)
    def done(*arguments: Any) -> Any:
        with working_in(folder):
            return work(*arguments)

    return done


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user types commands; the corpus lies there."""
    desk = tmp_path / "desk"
    write_corpus(desk / "data" / "corpus", 8)
    monkeypatch.chdir(desk)
    return desk


@pytest.fixture
def apart(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Workers work here: as on a cluster that is joined."""
    folder = tmp_path / "session"
    folder.mkdir()
    monkeypatch.setattr(Engine, "run", elsewhere(Engine.run, folder))
    monkeypatch.setattr(HeaderReader, "__call__", elsewhere(HeaderReader.__call__, folder))
    return folder


def test_workers_in_another_working_directory_find_what_is_given_by_relative_paths(
    desk: Path, apart: Path, tmp_path: Path
) -> None:
    assert made("out", recipe("data/corpus")) == {"empty_file": 1}
    assert not list(apart.iterdir())
    with opened(recipe(str(desk / "data" / "corpus")), str(tmp_path / "full"), QUIET) as run:
        run()
    assert fingerprints(desk / "out") == fingerprints(tmp_path / "full"), "where things lie decides no byte"


def test_workers_in_another_working_directory_read_relative_audio_roots(desk: Path, apart: Path) -> None:
    (desk / "sound").mkdir()
    shutil.move(desk / "data" / "corpus" / "u001.wav", desk / "sound" / "u001.wav")
    listing = desk / "data" / "corpus" / "list.tsv"
    listing.write_text(listing.read_text().replace("\tu001.wav", f"\t{desk}/sound/u001.wav"))
    assert made("out", recipe("data/corpus", audio_roots=["sound"])) == {"empty_file": 1}
    description = orjson.loads((desk / "out" / "dataset.json").read_bytes())
    assert description["recipe"]["corpus"]["audio_roots"] == ["sound"], "names go by what was written"


def test_an_output_is_verified_and_repaired_from_any_directory(desk: Path, tmp_path: Path) -> None:
    made("out", recipe("data/corpus"))
    write_corpus(tmp_path / "there" / "data" / "corpus", 4)  # another corpus of that name
    with working_in(tmp_path / "there"):
        verdict = verify(str(desk / "out"))
        assert verdict.ok, [str(fault) for fault in verdict.faults]
        assert verdict.reencoded
        next((desk / "out").glob("tokens-*/shard-000000.tar")).unlink()
        assert planned_repair(str(desk / "out")).parts[0].stage == "tokens"


def test_a_relative_root_of_an_older_version_is_meant_from_the_folder_of_the_output_where_it_is_only_there(
    desk: Path, tmp_path: Path
) -> None:
    out, told = Store(str(desk / "out")), "data/corpus"
    assert place_of_corpus(out, told) == told, "here it is"
    with working_in(tmp_path):
        assert place_of_corpus(out, told) == str(desk / told)
        assert place_of_corpus(out, "gone") == "gone"
        (tmp_path / told).mkdir(parents=True)
        assert place_of_corpus(out, told) == told, "it is in both: as it was typed"
    for kept in (str(desk / told), "s3://bucket/corpus"):
        assert place_of_corpus(out, kept) == kept


def test_what_was_spoken_for_an_output_moves_with_it(tmp_path: Path) -> None:
    out = tmp_path / "moved"
    (out / "spoken-0a1b").mkdir(parents=True)
    assert place_of_corpus(Store(str(out)), "/before/out/spoken-0a1b") == str(out / "spoken-0a1b")
    assert place_of_corpus(Store(str(out)), "/before/out/spoken-ffff") == "/before/out/spoken-ffff"


def test_a_mistyped_root_leaves_what_a_finished_output_says_of_itself(desk: Path) -> None:
    made("out", recipe("data/corpus"))
    before = (desk / "out" / "run.json").read_bytes()
    with opened(recipe("data/corpse"), "out", QUIET) as run, pytest.raises(CorpusError):
        run()
    assert (desk / "out" / "run.json").read_bytes() == before
    assert verify("out").reencoded


def test_a_first_run_says_what_it_is_before_its_corpus_is_listed(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(HeaderReader, "__call__", killed)
    with opened(recipe("data/corpus"), "out", QUIET) as run, pytest.raises(KeyboardInterrupt):
        run()
    assert orjson.loads((desk / "out" / "run.json").read_bytes())["root"] == str(desk / "data" / "corpus")
    assert [stage.stage for stage in status("out").stages] == ["ingest", "plan", "fit", "tokens", "masks"]
    monkeypatch.undo()
    monkeypatch.chdir(desk)
    assert repair("out", QUIET).ok
    assert status("out").finished


def test_an_output_in_the_folder_of_its_corpus_is_refused_before_anything_is_made(desk: Path) -> None:
    before = sorted(desk.rglob("*"))
    with (
        pytest.raises(RecipeError, match="name another folder with --out"),
        opened(recipe("data/corpus"), "data/corpus", QUIET),
    ):
        pass
    assert sorted(desk.rglob("*")) == before


def test_outputs_that_lie_in_their_corpus_are_no_part_of_it(desk: Path) -> None:
    def as_tars(out: str) -> int:
        asked = parse({**SETTINGS, "corpus": {"layout": "tars", "root": "."}})
        with opened(asked, out, QUIET) as run:
            return run().description["ledger"]["planned"]

    with tarfile.open(desk / "speech.tar", "w") as tar:
        for name in ("u000", "u001", "u002"):
            (desk / f"{name}.txt").write_text("a sentence")
            tar.add(desk / "data" / "corpus" / f"{name}.wav", f"{name}.wav")
            tar.add(desk / f"{name}.txt", f"{name}.txt")
    assert as_tars("out") == 3
    assert as_tars("out") == 3, "its own shards"
    assert as_tars("other") == 3, "those of another output"
    assert fingerprints(desk / "out") == fingerprints(desk / "other")
