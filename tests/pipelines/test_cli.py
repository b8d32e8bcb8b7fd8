"""The command line: one clear line for each refusal, exit codes that scripts can use, help that teaches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from manifests.recipe import shipped as data_recipes
from manifests.training_recipe import shipped as training_recipes
from pipelines import cli
from tests.small_corpus import overrides, write_corpus
from training.policies import PRESETS, policy_of

COMMANDS = {
    "data",
    "plan",
    "status",
    "verify",
    "inspect",
    "report",
    "quarantine",
    "train",
    "distill",
    "say",
    "eval",
    "export",
    "repair",
}


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and what stands on stderr."""
    monkeypatch.setattr("sys.argv", ["speechmill", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().err


def test_the_help_names_every_recipe_that_is_shipped() -> None:
    known = {"train": training_recipes(), "data": data_recipes()}
    for name, recipes in known.items():
        said = " ".join(CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "400"}).stdout.split())
        assert ", ".join(recipes) in said


@pytest.mark.parametrize("name", ["say", "eval"])
def test_the_help_names_every_policy_and_shows_how_to_write_one(name: str) -> None:
    said = " ".join(CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "1000"}).stdout.split())
    assert ", ".join(sorted(PRESETS)) in said
    policy_of("pmi+threshold:0.8+min_gap:2")
    assert "pmi+threshold:0.8+min_gap:2" in said


def test_the_commands_are_these_and_each_has_help() -> None:
    assert {c.name or c.callback.__name__ for c in cli.app.registered_commands if c.callback} == COMMANDS
    for name in COMMANDS:
        shown = CliRunner().invoke(cli.app, [name, "--help"])
        assert shown.exit_code == 0
        assert "Usage" in shown.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["data", "demo", "--set", "corpus.dialogue=3"],
            "corpus.dialogue: unknown key; did you mean corpus.dialogues?",
        ),
        (["data", "corpus", "--set", "corpus.layout=librispech"], "did you mean librispeech?"),
        (["data", "demmo"], "did you mean demo?"),
        (["data", "demo", "--set", "nonsense"], "write it as block.key=value"),
        (["data", "demo", "--set", "plan.unit_seconds=-3"], "plan.unit_seconds"),
        (["data", "corpus"], "corpus.root: say where the corpus lies"),
        (["plan", "corpus", "--set", "corpus.layout=librispeech"], "corpus.root: say where the corpus lies"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_nearest_right_thing(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, error = refused(monkeypatch, capsys, *arguments)
    assert code == cli.USAGE
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir()), "a refused recipe must make nothing"


def test_print_recipe_shows_the_resolved_recipe_and_does_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = CliRunner().invoke(cli.app, ["data", "demo", "-o", str(out), "--set", "corpus.seed=7", "--print-recipe"])
    assert yaml.safe_load(shown.output)["corpus"]["seed"] == 7
    assert not out.exists()


def test_a_dataset_is_made_looked_at_and_found_whole_then_damaged_and_found_wanting(tmp_path: Path) -> None:
    root, out, say = write_corpus(tmp_path / "corpus", 8), tmp_path / "out", CliRunner()
    sets = [part for value in overrides(root, **{"run.workers": 0}) for part in ("--set", value)]
    made = say.invoke(cli.app, ["data", "corpus", "-o", str(out), *sets])
    assert made.exit_code == 0, made.output
    assert (out / "report" / "index.html").stat().st_size > 10_000
    status = json.loads(say.invoke(cli.app, ["status", str(out), "--json"]).output)
    assert status["ledger"]["pending"] == 0
    aside = [json.loads(line) for line in say.invoke(cli.app, ["quarantine", str(out)]).output.splitlines()]
    assert {o["reason"] for o in aside} == {"empty_file", "silent"}
    heard = say.invoke(cli.app, ["inspect", str(out), "u001", "--audio", str(tmp_path / "sound")])
    assert "this is sentence number 1" in heard.output
    assert {p.name for p in (tmp_path / "sound").iterdir()} == {
        "u001.speech-from-codes.wav",
        "u001.speech-original.wav",
    }
    assert say.invoke(cli.app, ["inspect", str(out), "nobody"]).exit_code == cli.FAULTS
    assert say.invoke(cli.app, ["verify", str(out)]).exit_code == 0
    shard = next(out.glob("tokens-*/shard-000000.tar"))
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    found = say.invoke(cli.app, ["verify", str(out), "--json"])
    assert found.exit_code == cli.FAULTS
    assert "shard-000000.tar" in json.loads(found.output)["faults"][0]["where"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data", "-o", "file"], "what is there is no folder"),
        (["data", "-o", "file/sub"], "a part of this path is a file"),
        (["data", "-o", "n" * 300], "longer than the file system takes"),
        (["data", "-o", "circle/sub"], "lead round in a circle"),
        (["verify", "file"], "nothing there was made by `speechmill data`"),
        (["repair", "file"], "a part of this path is a file"),
        (["status", "file"], "nothing there was made by `speechmill data`"),
        (["status", "nowhere"], "nowhere: nothing is there; is it the right path?"),
        (["verify", "nowhere"], "nowhere: nothing is there; is it the right path?"),
        (["quarantine", "nowhere"], "nowhere: nothing is there; is it the right path?"),
        (["quarantine", "corpus"], "corpus: nothing there was made by `speechmill data`"),
        (["status", "corpus", "--json"], "corpus: nothing there was made by `speechmill data`"),
    ],
)
def test_a_wrong_path_is_one_clear_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "corpus", 4)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "circle").symlink_to("circle")
    sets = [part for value in overrides("corpus", **{"run.workers": 0}) for part in ("--set", value)]
    arguments = [arguments[0], "corpus", *arguments[1:], *sets] if arguments[0] == "data" else arguments
    code, error = refused(monkeypatch, capsys, *arguments)
    assert code == cli.USAGE
    assert said in error
    assert error.count("\n") == 1


def test_a_run_that_has_only_just_begun_has_a_status(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    shown = CliRunner().invoke(cli.app, ["status", str(tmp_path)])
    assert shown.exit_code == 0
    assert "not finished" in " ".join(shown.output.split())
    assert CliRunner().invoke(cli.app, ["quarantine", str(tmp_path)]).exit_code == 0
