"""``plan`` is a look: a dataset, or a run that was begun, is the same afterwards, whatever was asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import cli
from pipelines.repair.repair import planned_repair
from pipelines.verify.verify import verify
from tests.small_corpus import overrides, write_corpus

LOOKED = (".lock", "events.jsonl", "forecast.json")  # what a look itself leaves


def command(name: str, out: Path, *more: str, **settings: object) -> str:
    sets = overrides(out.parent / "corpus", **{"run.workers": 0, **settings})
    arguments = [name, "corpus", "-o", str(out), *(part for value in sets for part in ("--set", value)), *more]
    shown = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def content(out: Path) -> dict[str, bytes]:
    files = (p for p in out.rglob("*") if p.is_file() and p.name not in LOOKED)
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planning")
    write_corpus(folder / "corpus", 12)
    command("data", folder / "out", "--no-report")
    return folder / "out"


@pytest.mark.parametrize(
    "other", [{"corpus.limit": 5}, {"plan.unit_seconds": 6}, {"corpus.limit": 5, "run.relist": "false"}, {}]
)
def test_a_plan_by_other_settings_changes_nothing_in_a_finished_dataset(whole: Path, other: dict[str, object]) -> None:
    before = content(whole)
    told = json.loads(command("plan", whole, "--json", **other))
    assert told["utterances"] == other.get("corpus.limit", 12)
    assert content(whole) == before
    assert not list(whole.glob(".probe-*"))
    assert verify(str(whole)).ok
    assert planned_repair(str(whole)).parts == ()


def test_a_plan_aside_is_the_plan_of_a_fresh_output(whole: Path) -> None:
    fresh = whole.parent / "fresh"
    for other in ({"corpus.limit": 5}, {"plan.unit_seconds": 6}):
        assert command("plan", whole, **other) == command("plan", fresh, **other)
    assert (fresh / "cuts" / "cuts.json").exists(), "where nothing was made it is kept for the run"


def test_a_forecast_by_other_settings_changes_nothing_in_a_finished_dataset(whole: Path) -> None:
    before = content(whole)
    told = json.loads(command("plan", whole, "--json", "--hours", "1", **{"corpus.limit": 8}))
    assert told["before"] == []
    assert content(whole) == before
    told = json.loads(command("plan", whole, "--json", "--hours", "1"))
    assert told["before"] == ["ingest", "segments", "plan"], "by its own settings it is planned already"
    assert content(whole) == before


def test_a_run_that_was_begun_goes_on_after_a_plan_by_other_settings(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole.parent / "corpus", tmp_path / "corpus")
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    (out / "dataset.json").unlink()
    before = content(out)
    command("plan", out, **{"corpus.limit": 5})
    assert content(out) == before
