"""``speechmill train`` from the command line: refusals in one line, a run over what the pipeline made."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import threading
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from pipelines import cli
from pipelines import train as starting
from pipelines.engine.contract import RunFailed
from pipelines.engine.stopping import Stopping
from pipelines.train_rank import vectors_of
from tests.pipelines.finished import make_dataset
from tests.pipelines.test_cli import refused
from training.checkpoint import FOLDER
from training.errors import RowsError
from training.loading import load_talker
from training.start import spread

torch.set_num_threads(1)

SMALL = ["talker.width=32", "talker.layers=1", "talker.block=8", "train.stages.0.steps=2", "train.stages.1.steps=2",
         "train.stages.0.masks=plain", "train.stages.1.masks=mixed", "train.validation.every=2"]  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def run(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    done = CliRunner().invoke(cli.app, arguments(dataset, folder))
    assert done.exit_code == 0, done.output
    return folder


def arguments(data: str, folder: Path, *more: str) -> list[str]:
    sets = [part for value in (*SMALL, *more) for part in ("--set", value)]
    return ["train", "tiny", data, "-o", str(folder), "--processes", "1", *sets]


def test_a_talker_is_trained_on_what_the_pipeline_made(dataset: str, run: Path) -> None:
    talker, facts = load_talker(run)
    assert (facts["step"], talker.settings.width) == (4, 32)
    assert facts["dataset"]["speech"] == json.loads((Path(dataset) / "dataset.json").read_text())["speech"]
    assert set(facts["figures"]) == {"dev_full", "dev_full_accuracy", "dev_half", "dev_half_accuracy"}
    assert list((run / "tensorboard").iterdir())
    assert yaml.safe_load((run / "recipe.yaml").read_text())["talker"]["width"] == 32
    assert (run / "voice" / "voice.json").is_file(), "what it needs to speak lies beside it"


def test_the_papers_stages_follow_each_other(dataset: str, tmp_path: Path) -> None:
    """In small: width, batches and epochs; layouts, losses and what teaches are the recipes'."""
    small = ["talker.width=32", "talker.heads=2", "talker.ffn=64", "talker.layers=1", "talker.block=8", "train.batch_frames=128",
             "train.stages.0.epochs=1", "train.schedule.warmup=1", "train.validation.every=0", "train.log_every=1"]  # fmt: skip
    second, third = tmp_path / "paper", tmp_path / "paper-isd"
    for name, run, more in (
        ("paper", second, ["train.stages.0.masks=plain"]),
        ("paper-isd", third, ["train.stages.0.masks=mixed", f"train.start={second}"]),
    ):
        sets = [part for value in (*small, *more) for part in ("--set", value)]
        done = CliRunner().invoke(cli.app, ["train", name, dataset, "-o", str(run), "--processes", "1", *sets])
        assert done.exit_code == 0, done.output
    lines = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (second, third)]
    assert "divergence" not in lines[0][0]
    assert all(line["divergence"] > 0 for line in lines[1] if "loss" in line)


@pytest.mark.parametrize(("codes", "low", "high"), [("tokenizer", 0.7, 1.0), ("random", -0.4, 0.4)])
def test_codes_begin_where_the_speech_tokenizer_has_them(
    codes: str, low: float, high: float, dataset: str, tmp_path: Path
) -> None:
    more = [f"train.codes={codes}", "train.optimiser.lr=1e-9", "train.stages.0.steps=1", "train.stages.1.steps=1"]
    done = CliRunner().invoke(cli.app, arguments(dataset, tmp_path / "run", *more))
    assert done.exit_code == 0, done.output
    vectors_QKZ = vectors_of(dataset)
    assert vectors_QKZ is not None
    talker = load_talker(tmp_path / "run", "last")[0]
    wanted = torch.pdist(torch.from_numpy(spread(vectors_QKZ[0])))
    found = torch.pdist(talker.codes.weight.detach()[: len(vectors_QKZ[0])])
    assert low < torch.corrcoef(torch.stack([found, wanted]))[0, 1] < high


def test_print_recipe_shows_the_resolved_recipe_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(cli.app, ["train", "demo-ar", "--set", "train.seed=7", "--print-recipe"])
    assert yaml.safe_load(shown.output)["train"]["seed"] == 7
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["train.stages.0.masks=plane"], "no mask set plane; did you mean plain?"),
        (["talker.block=16"], "its masks are of blocks of 8, the talker's are of 16: set talker.block=8"),
        (["talker.widht=3"], "did you mean talker.width?"),
        (["train.start=/no/such/run"], "/no/such/run: no checkpoint"),
    ],
)
def test_what_does_not_fit_is_refused(
    dataset: str,
    change: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, error = refused(monkeypatch, capsys, *arguments(dataset, tmp_path / "run", *change))
    assert (code, error.count("\n")) == (cli.USAGE, 1), error
    assert said in error


def test_an_unknown_recipe_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = refused(monkeypatch, capsys, "train", "demo-arr")
    assert (code, error) == (cli.USAGE, "speechmill: no recipe file 'demo-arr'; did you mean demo-ar?\n")


def copy_of(dataset: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def unfinished(root: Path) -> None:
    (root / "dataset.json").unlink()


def without_masks(root: Path) -> None:
    value = json.loads((root / "dataset.json").read_text())
    del value["masks"]
    (root / "dataset.json").write_text(json.dumps(value))


def damaged(root: Path) -> None:
    shard = root / "tokens-0" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:1_000])


def missing(root: Path) -> None:
    (root / "masks-0" / "shard-000000.tar").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (unfinished, "no dataset.json: not a dataset, or not finished (run `speechmill data` again)"),
        (without_masks, "this dataset has no masks: its recipe did not ask for them"),
        (damaged, "shard-000000.tar: shorter (1000 bytes) than its index says"),
        (missing, "masks-0/shard-000000.tar'; `speechmill verify"),
    ],
)
def test_a_dataset_that_is_unfinished_or_damaged_is_refused(
    dataset: str,
    harm: object,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = copy_of(dataset, tmp_path)
    harm(root)  # pyright: ignore[reportCallIssue]
    code, error = refused(monkeypatch, capsys, *arguments(str(root), tmp_path / "run"))
    assert code == cli.USAGE, error
    assert said in error
    assert [line.startswith("speechmill: ") for line in error.splitlines() if "step" not in line] == [True]


@pytest.mark.parametrize(("kind", "field", "value"), [("speech", "checksum", "f" * 64), ("text", "checksum", "e" * 64)])
def test_a_run_does_not_go_on_with_another_vocabulary(
    kind: str, field: str, value: str, dataset: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root, mine = copy_of(dataset, tmp_path), shutil.copytree(run, tmp_path / "run")
    description = json.loads((root / "dataset.json").read_text())
    description[kind][field] = value
    (root / "dataset.json").write_text(json.dumps(description))
    code, error = refused(monkeypatch, capsys, *arguments(str(root), mine))
    assert (code, error.count("\n")) == (cli.USAGE, 1), error
    assert f"trained on another {kind} tokenizer" in error


def test_a_damaged_checkpoint_is_named_and_training_goes_on_from_the_one_before(
    dataset: str, run: Path, tmp_path: Path
) -> None:
    mine = shutil.copytree(run, tmp_path / "run")
    newest = max((mine / FOLDER).iterdir())
    (newest / "talker.safetensors").write_bytes(b"")
    done = CliRunner().invoke(cli.app, arguments(dataset, mine))
    assert done.exit_code == 0
    assert "damaged checkpoint passed over" in done.output
    assert load_talker(mine)[1]["step"] == 4


# Several ranks


class NoMember:
    """A process that is only heard of."""

    def __init__(self) -> None:
        self.pipe, self.theirs = multiprocessing.Pipe(duplex=False)


def outcome_of(members: list[NoMember]) -> None:
    with Stopping(0) as stopping:
        starting._outcome(members, stopping, lambda: None)  # type: ignore[arg-type]


def test_what_went_wrong_is_said_by_the_rank_that_met_it_not_by_the_one_that_missed_its_peer() -> None:
    """Under load the word of the second may come long before that of the first."""
    members = [NoMember(), NoMember()]
    members[0].theirs.send(RuntimeError("Connection closed by peer"))
    later = threading.Timer(0.5, members[1].theirs.send, [RowsError("u0030.speech.npy: damaged")])
    later.start()
    with pytest.raises(RowsError, match=r"u0030\.speech\.npy"):
        outcome_of(members)


def test_a_rank_that_died_without_a_word_is_the_cause_as_well() -> None:
    members = [NoMember(), NoMember()]
    members[0].theirs.send(RuntimeError("Connection closed by peer"))
    members[1].theirs.close()
    with pytest.raises(RunFailed, match="rank 1 died"):
        outcome_of(members)


def test_where_nobody_says_more_the_missing_peer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "LAST_WORDS", 0.1)
    members = [NoMember(), NoMember()]
    members[0].theirs.send(RuntimeError("Connection closed by peer"))
    with pytest.raises(RuntimeError, match="Connection closed by peer"):
        outcome_of(members)
