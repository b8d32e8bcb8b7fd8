"""A talker of given text states, end to end: a dataset with states, two steps of training, saying and judging from states; and refusals in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from manifests.dataset import Dataset, DatasetError
from manifests.recipe import Recipe, RecipeError, parse
from manifests.training_recipe import TrainingRecipe
from manifests.training_recipe import parse as parse_training
from pipelines import cli
from pipelines.data import opened
from pipelines.evaluation.evaluate import Asked, evaluate
from pipelines.evaluation.sentences import held_out
from pipelines.say import say_into
from pipelines.train import run as train
from pipelines.voice.errors import SpeakError
from pipelines.voice.saying import say
from pipelines.voice.voice import Manner, Voice
from pipelines.voice.words import Words, read_states
from tests.pipelines.test_cli import refused
from tests.pipelines.tiny_run import make_run
from tests.small_corpus import write_corpus
from training.run import Job

QUIET = Console(quiet=True)
WIDTH, UTTERANCES = 5, 16
TALKER = {"layers": 1, "width": 16, "heads": 2, "ffn": 32, "block": 4, "anchors": 2, "max_frames": 80}
ABOUT_A_SECOND = Manner(max_seconds=1.0)


def training(**talker: Any) -> TrainingRecipe:
    stage = {"layout": "two_stream", "masks": "bernoulli", "steps": 2}
    settings = {"batch_frames": 128, "precision": "fp32", "schedule": {"name": "cosine", "warmup": 1}}
    return parse_training({
        "name": "given", "talker": {**TALKER, **talker},
        "train": {"stages": [stage], **settings, "validation": {"every": 0}},
    })  # fmt: skip


def recipe(corpus: Path, source: Path, **blocks: Any) -> Recipe:
    return parse({
        "name": "corpus", "corpus": {"layout": "table", "root": str(corpus)}, "plan": {"unit_seconds": 4},
        "mask": {"block": 4, "sets": {"bernoulli": {"views": 2, "mix": [{"noise": "bernoulli"}]}}},
        "speech": {"codebook_size": 16, "fit_seconds": 10, "pca": 8, "iterations": 2, "griffin_lim": 2}, "text": {"vocab_size": 300},
        "split": {"by": "recording", "dev": 0.0, "test": 0.4}, "run": {"workers": 0},
        "states": {"source": str(source), "width": WIDTH}, **blocks,
    })  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("states")
    for i in range(UTTERANCES - 1):  # the last one has none
        np.save(
            folder / f"u{i:03d}.npy", np.random.default_rng(i).standard_normal((3 + i % 4, WIDTH)).astype(np.float16)
        )
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", UTTERANCES)


@pytest.fixture(scope="module")
def data(corpus: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("out") / "out")
    with opened(recipe(corpus, source), out, QUIET) as run:
        run()
    return out


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    run = str(tmp_path_factory.mktemp("runs") / "given")
    assert train(Job(training(text_width=WIDTH), data, run), 1, None, QUIET).step == 2
    return run


class Memory:
    """A sink that keeps its pieces."""

    def __init__(self) -> None:
        self.pieces: list[np.ndarray] = []

    def write(self, wave_T: np.ndarray) -> None:
        self.pieces.append(wave_T)


def test_it_says_states_in_a_stream_as_it_says_them_at_once(trained: str, source: Path) -> None:
    voice, states_SW = Voice.load(trained), read_states(str(source / "u002.npy"))
    at_once, in_blocks = (say(voice, ABOUT_A_SECOND, states_SW, Memory(), stream) for stream in (False, True))
    assert len(at_once.codes_FQ)
    np.testing.assert_array_equal(at_once.codes_FQ, in_blocks.codes_FQ)


def test_draws_depend_on_the_states(trained: str, source: Path) -> None:
    voice = Voice.load(trained)
    manner = Manner(max_seconds=1.0, temperature=1.0)
    one, same, other = (
        say(voice, manner, read_states(str(source / f"{name}.npy")), Memory(), False).codes_FQ
        for name in ("u002", "u002", "u004")
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_command_says_a_file_of_states(
    precision: str, trained: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [
        "say",
        "--states",
        str(source / "u002.npy"),
        "--run",
        trained,
        "--max-seconds",
        "1",
        "-o",
        str(tmp_path / "out.wav"),
    ]
    monkeypatch.setattr("sys.argv", ["speechmill", *told, "--precision", precision])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert (tmp_path / "out.wav").stat().st_size > 44


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "this is a text",
            r"reads text states of a language model \(talker\.text_width 5\), no text: give --states FILE\.npy",
        ),
        (np.ones((2, 4), np.float32), r"reads text states of width 5 \(talker\.text_width\), not 4"),
        (np.ones((81, 5), np.float32), "the text has 81 states, the talker reads 80"),
    ],
)
def test_what_it_does_not_read_is_refused_in_a_line(trained: str, tmp_path: Path, words: Words, says: str) -> None:
    with pytest.raises(SpeakError, match=says):
        say_into(trained, words, ABOUT_A_SECOND, str(tmp_path / "out.wav"), False, QUIET)
    assert not (tmp_path / "out.wav").exists()


def test_a_talker_of_text_is_told_no_states(data: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", data)
    with pytest.raises(SpeakError, match="reads text, no text states"):
        say_into(str(run), np.ones((2, 5), np.float32), ABOUT_A_SECOND, str(tmp_path / "out.wav"), False, QUIET)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([], "give a text, or --states FILE.npy"),
        (["a text", "--states", "x.npy"], "give a text, or --states FILE.npy"),
        (["--states", "nowhere.npy"], "--states nowhere.npy: cannot be read: No such file or directory"),
        (["--states", __file__], "not a version 1.0 .npy array"),
    ],
)
def test_the_command_refuses_in_a_line(
    told: list[str], says: str, trained: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = refused(monkeypatch, capsys, "say", *told, "--run", trained)
    assert code
    assert says in " ".join(line.split())


def test_it_is_judged_on_held_out_sentences_that_have_states_beside_a_talker_of_text(
    trained: str, data: str, tmp_path: Path
) -> None:
    dataset = Dataset.open(data)
    sentences = held_out(dataset, 1, given=True)
    has = {s.key for s in dataset.states if "states" in s.arrays}
    test = {str(s.meta["text"]) for s in dataset if s.meta["split"] == "test" and s.key in has}
    with pytest.raises(SpeakError, match=f"{len(test)} distinct held-out sentences with text states in the test split"):
        held_out(dataset, 99, given=True)
    assert sentences[0].key in has
    text = make_run(tmp_path / "text", data, "ar")
    asked = Asked(trained, (("ar", str(text)),), sentences=len(test), steps=(2,), heard=0, timed=2, batch=3, workers=0)
    rows = {row["name"]: row for row in evaluate(asked, QUIET)["rows"]}
    assert {"AR", "2 steps"} <= set(rows)
    assert all(rows[name]["frames"] > 0 for name in ("AR", "2 steps"))


def test_a_dataset_without_states_does_not_judge_it(trained: str, corpus: Path, source: Path, tmp_path: Path) -> None:
    with opened(recipe(corpus, source, states=None), str(tmp_path / "out"), QUIET) as run:
        run()
    with pytest.raises(DatasetError, match="this dataset has no states"):
        evaluate(Asked(trained, data=str(tmp_path / "out"), sentences=1, heard=0), QUIET)


def test_such_a_teacher_is_not_recorded_ahead(trained: str, corpus: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text(training(text_width=WIDTH).to_yaml(), encoding="utf-8")
    ways = ({"teacher": trained}, {"bootstrap": str(tmp_path / "given.yaml")})
    for way in ways:
        asked = recipe(corpus, source, teach={"masks": "bernoulli", "views": 1, **way})
        with (
            pytest.raises(RecipeError, match=r"reads given text states \(talker\.text_width\)"),
            opened(asked, str(tmp_path / "out"), QUIET) as run,
        ):
            run()
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {".lock", "events.jsonl"}
