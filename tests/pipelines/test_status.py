"""What ``status`` says of an output root before, during and after a run, and with damaged files in it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.status import StageStatus, quarantine, status
from tests.pipelines.finished import do_units, finish, make_until_tokens, small_recipe, write_corpus


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same run at three moments: planned, killed after one unit, finished."""
    folder = tmp_path_factory.mktemp("made")
    write_corpus(folder / "corpus")
    job = make_until_tokens(str(folder / "planned"), small_recipe(folder / "corpus"))
    shutil.copytree(folder / "planned", folder / "half")
    half = make_until_tokens(str(folder / "half"), small_recipe(folder / "corpus"))
    do_units(half, 1)
    do_units(job)
    finish(str(folder / "planned"), job)
    (folder / "planned").rename(folder / "whole")
    return {name: str(folder / name) for name in ("half", "whole")}


def stage(root: str, name: str) -> StageStatus:
    return next(s for s in status(root).stages if s.stage == name)


def test_an_empty_root_has_every_stage_before_it(tmp_path: Path) -> None:
    seen = status(str(tmp_path))
    assert not seen.finished
    assert seen.ledger is None
    assert [(s.stage, s.done, s.folder) for s in seen.stages] == [
        (n, 0, None) for n in ("ingest", "plan", "fit", "tokens", "masks")
    ]


def test_a_root_that_does_not_exist_is_as_an_empty_one(tmp_path: Path) -> None:
    assert not any(s.done for s in status(str(tmp_path / "nowhere")).stages)


def test_a_killed_run_shows_what_is_done_and_what_is_pending(roots: dict[str, str]) -> None:
    seen = status(roots["half"])
    tokens = stage(roots["half"], "tokens")
    assert seen.ledger is not None
    assert (seen.finished, tokens.done) == (False, 1)
    assert tokens.units > 1
    assert 0 < seen.ledger.pending < seen.ledger.planned == 18


def test_a_finished_run_has_nothing_pending_and_its_reasons_are_counted(roots: dict[str, str]) -> None:
    seen = status(roots["whole"])
    assert seen.finished
    assert seen.ledger is not None
    assert (seen.ledger.planned, seen.ledger.written, seen.ledger.pending) == (18, 16, 0)
    assert sum(seen.ledger.filtered.values()) == sum(seen.ledger.quarantined.values()) == 1
    assert all(s.done == s.units for s in seen.stages)
    assert [s.stage for s in seen.stages] == ["ingest", "plan", "fit", "tokens", "masks"]


def test_hours_by_split_are_the_hours_of_the_tokens(roots: dict[str, str]) -> None:
    hours = status(roots["whole"]).hours
    written = sum(0.8 + 0.2 * n for _ in range(4) for n in range(4)) / 3600
    assert set(hours) <= {"train", "dev"}
    assert sum(hours.values()) == pytest.approx(written, rel=0.05)


def test_the_rate_is_audio_over_worker_time() -> None:
    assert StageStatus("tokens", "t", 2, 1, seconds=2.0, audio_seconds=500.0).rate == 250.0
    assert StageStatus("tokens", "t", 2, 0).rate is None


def test_quarantine_is_every_utterance_that_was_not_written(roots: dict[str, str]) -> None:
    ended = {outcome.id: outcome.status for outcome in quarantine(roots["whole"])}
    assert ended == {"sp0/silent": "filtered", "sp1/broken": "quarantined"}
    assert all(outcome.reason and outcome.error for outcome in quarantine(roots["whole"]))


def test_it_is_json_and_it_can_be_printed(roots: dict[str, str]) -> None:
    for root in roots.values():
        seen = status(root)
        assert json.loads(json.dumps(seen.to_json()))["ledger"]["planned"] == 18
        paper = io.StringIO()
        seen.render(Console(file=paper, width=160))
        assert "pending" in paper.getvalue()
        assert "tokens-0" in paper.getvalue()
        assert ("masks-0" in paper.getvalue()) == (root == roots["whole"])


def test_a_run_that_asks_for_no_masks_shows_no_stage_of_them(roots: dict[str, str], tmp_path: Path) -> None:
    root = Path(shutil.copytree(roots["half"], tmp_path / "out"))
    assert stage(str(root), "masks").done == 0
    run = json.loads((root / "run.json").read_bytes())
    (root / "run.json").write_text(json.dumps({**run, "recipe": {**run["recipe"], "mask": None}}))
    assert [s.stage for s in status(str(root)).stages] == ["ingest", "plan", "fit", "tokens"]


@pytest.mark.parametrize(
    "name",
    [
        "tokens-0/receipts/unit-000000.json",
        "plan-0/plan.json",
        "cuts/cuts.json",
        "dataset.json",
        "masks-0/receipts/unit-000000.json",
    ],
)
def test_a_damaged_file_is_listed_and_the_rest_is_still_shown(roots: dict[str, str], tmp_path: Path, name: str) -> None:
    root = shutil.copytree(roots["whole"], tmp_path / "out")
    (root / name).write_bytes(b'{"unit')
    seen = status(str(root))
    assert any(name in fault for fault in seen.faults)
    assert not seen.finished
    assert seen.stages[2].done == 1


def test_a_dataset_is_not_finished_for_a_recipe_that_was_begun_since(roots: dict[str, str], tmp_path: Path) -> None:
    root = Path(shutil.copytree(roots["whole"], tmp_path / "out"))
    run = json.loads((root / "run.json").read_bytes())
    speech = {**run["recipe"]["speech"], "codebook_size": 32}
    (root / "run.json").write_text(json.dumps({**run, "recipe": {**run["recipe"], "speech": speech}}))
    seen = status(str(root))
    assert (seen.finished, seen.faults) == (False, ())
    assert seen.apart is not None
    assert "other speech;" in seen.apart
    assert json.loads(json.dumps(seen.to_json()))["apart"] == seen.apart
    paper = io.StringIO()
    seen.render(Console(file=paper, width=300))
    assert "not finished" in paper.getvalue()
    assert seen.apart in paper.getvalue()


def test_how_and_where_it_is_run_leaves_a_dataset_finished(roots: dict[str, str], tmp_path: Path) -> None:
    root = Path(shutil.copytree(roots["whole"], tmp_path / "out"))
    run = json.loads((root / "run.json").read_bytes())
    recipe = {**run["recipe"], "run": {"workers": 3}, "corpus": {**run["recipe"]["corpus"], "root": "/elsewhere"}}
    (root / "run.json").write_text(json.dumps({**run, "recipe": recipe}))
    assert status(str(root)).finished


def test_reasons_and_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "[bold]out"
    root.mkdir()
    paper = io.StringIO()
    status(str(root)).render(Console(file=paper, width=300))
    assert "[bold]out" in paper.getvalue()
