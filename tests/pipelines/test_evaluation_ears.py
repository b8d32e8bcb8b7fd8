"""An ear of one's own choice hears beside pocketsphinx: named as in a recipe, refused before anything is said, asked once for each sound."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from rich.console import Console

from manifests.recipe_file import RecipeError
from manifests.settings.recognisers import FasterWhisperSettings, WhisperSettings
from manifests.settings.speech import PatchesSettings
from pipelines import cli
from pipelines.evaluation import listening
from pipelines.evaluation.comparing import compared
from pipelines.evaluation.ears import ChosenEar, asked_for
from pipelines.evaluation.evaluate import Asked, Evaluation, evaluate
from pipelines.evaluation.listening import EARS, Heard, Listen, Sound
from pipelines.evaluation.plot import ear_of
from pipelines.evaluation.rows import Row
from pipelines.evaluation.sentences import Sentence
from pipelines.evaluation.table import cells, show
from pipelines.voice.errors import SpeakError
from tests.pipelines.parrot import Parrot
from tests.pipelines.test_cli import refused
from tests.pipelines.tiny_run import make_run, make_tested_dataset
from tests.tokenization import whispers
from tokenization.adapter import TokenizerError
from tokenization.recognisers.base import RecogniserError
from tokenization.recognisers.registry import RECOGNISERS

QUIET = Console(quiet=True)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Weights of a recogniser that stands in Whisper's place; pocketsphinx is a parrot as well."""
    monkeypatch.setitem(EARS, "open", Parrot)
    monkeypatch.setitem(RECOGNISERS, WhisperSettings, "tests.pipelines.parrot")  # type: ignore[misc]
    (tmp_path / "weights").write_bytes(b"of many languages")
    Parrot.asked = 0
    torch.set_num_threads(1)
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return make_run(folder / "run", make_tested_dataset(folder))


def asked(run: Path, weights: Path | None, **more: Any) -> Asked:
    ear = None if weights is None else WhisperSettings(weights=str(weights), **more)
    return Asked(str(run), sentences=4, steps=(1,), heard=1, timed=1, workers=0, ear=ear)


def judged(run: Path, weights: Path | None, **more: Any) -> Mapping[str, Any]:
    return evaluate(asked(run, weights, **more), QUIET)


def test_it_has_its_columns_in_the_table_the_figures_the_page_and_the_plot(run: Path, registered: Path) -> None:
    value = judged(run, registered)
    for row in value["rows"]:
        errors = row["wer"]["whisper"]
        assert errors["low"] <= errors["rate"] <= errors["high"]
        assert (errors["sentences"], row["wer"]["open"]["sentences"]) == (4, 1), (
            "it hears all, however few are heard openly"
        )
        assert all("whisper" in one for one in row["heard"])
    headings = [column.heading for column in cells(value)[0]]
    assert headings[headings.index("none heard open") + 1 :][:2] == ["WER whisper %", "none heard whisper"]
    assert value["about"]["ear"]["name"] == "whisper"
    assert ear_of(value) == "whisper", "whoever chooses an ear wants to see what it heard"
    page = (run / "eval" / "index.html").read_text(encoding="utf-8")
    assert "WER whisper %" in page
    out = io.StringIO()
    show(value, Console(file=out, width=300))
    assert "WER whisper %" in out.getvalue()


def test_nothing_heard_is_counted_apart_for_it_as_well(registered: Path) -> None:
    row = Row("x", "codec", [Sentence("a b"), Sentence("c")], [Sound("x"), Sound("y")], {})
    row.heard["whisper"] = [Heard("a b", 0.0), Heard("", 1.0)]
    found = row.to_json()["wer"]["whisper"]
    assert (found["empty"], found["rate"], found["rate_heard"]) == (1, 1 / 3, 0.0)


def test_it_is_asked_once_for_each_sound_and_others_anew(run: Path, registered: Path) -> None:
    first = judged(run, registered, seed=1)
    asked_once = Parrot.asked
    assert judged(run, registered, seed=1)["rows"][0]["wer"] == first["rows"][0]["wer"]
    assert Parrot.asked == asked_once, "what was heard is kept"
    moved = registered.rename(registered.with_name("elsewhere"))
    judged(run, moved, seed=1)
    assert Parrot.asked == asked_once, "where weights lie decides nothing"
    judged(run, moved, seed=1, language="en")
    assert Parrot.asked > asked_once, "the same weights with other settings may hear other words"
    (again := moved.with_name("again")).write_bytes(b"other weights")
    before = Parrot.asked
    judged(run, again, seed=1)
    assert Parrot.asked > before
    kept = [orjson.loads(line)["ear"] for line in (run / "eval" / "heard.jsonl").read_bytes().splitlines()]
    assert len({ear for ear in kept if ear.startswith("whisper-")}) >= 3
    assert "ear" in orjson.loads((run / "eval" / "eval.json").read_bytes())["about"]


def test_without_one_nothing_is_different(run: Path, registered: Path) -> None:
    value = judged(run, None)
    assert value["about"]["ear"] is None
    assert all(set(row["wer"]) == {"open"} for row in value["rows"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ear", "whisper", "--weights", "/no/such"], "--ear: weights: /no/such is no file or folder here"),
        (["--ear", "whisper"], "--ear: weights: where are the weights of 'whisper'?"),
        (["--ear", "whisperer"], "--ear: ear: no such kind 'whisperer'; did you mean whisper?"),
        (["--ear", "{name: whisper, wieghts: x}"], "--ear: ear.wieghts: unknown key; did you mean ear.weights?"),
        (["--ear", "pocketsphinx"], "it listens in any case"),
        (["--weights", "x"], "--weights x: of which recogniser? name it by --ear"),
    ],
)
def test_what_cannot_listen_is_refused_in_one_line_before_anything_is_said(
    arguments: list[str], said: str, run: Path, registered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    code, error = refused(monkeypatch, capsys, "eval", str(run), "--sentences", "4", *arguments)
    assert (code, error.count("\n")) == (cli.USAGE, 1), error
    assert said in error


def test_a_recogniser_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr("tokenization.recognisers.faster_whisper.import_module", absent)
    with pytest.raises(RecogniserError, match=r"^--ear: name is 'faster-whisper', which needs .*pip install") as found:
        Evaluation.open(Asked(str(run), ear=FasterWhisperSettings(weights="x")), QUIET)
    assert "\n" not in str(found.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused(registered: Path) -> None:
    with pytest.raises(TokenizerError, match="--ear: device is 'cuda'"):
        ChosenEar.of(WhisperSettings(weights=str(registered), device="cuda"))


def test_a_language_that_the_ear_does_not_know_is_refused(registered: Path) -> None:
    everything = ChosenEar.of(WhisperSettings(weights=str(registered)))
    everything.require_languages(["de-AT", "en", None])
    registered.write_bytes(b"english alone")
    english = ChosenEar.of(WhisperSettings(weights=str(registered)))
    english.require_languages(["en-US", None])
    with pytest.raises(
        SpeakError, match="know en only, and the sentences are in de, ja: give weights of several languages"
    ):
        english.require_languages(["de-AT", "English", "ja"])
    with pytest.raises(SpeakError, match="the sentences are in de"):
        ChosenEar.of(WhisperSettings(weights=str(registered), language="de")).require_languages([None])


def test_sentences_that_no_ear_of_english_can_hear_are_noted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Evaluation.open(asked(run, None), QUIET)
    said = [Sentence("der zug fährt", language="de"), Sentence("the train leaves", language="en")]
    monkeypatch.setattr(Evaluation, "recorded", [])
    for heard, noted in ((0, 0), (1, 1), (None, 1)):
        notes = Evaluation(Asked("", heard=heard), opened.voice, opened.dataset, said, [], QUIET).notes
        assert len(notes) == noted
        assert all("1 of its sentences are not" in note for note in notes)


def test_words_are_compared_as_those_that_were_heard_openly() -> None:
    assert compared("whisper", "I've set it for 10 minutes.") == compared("open", "i have set it for ten minutes")
    assert compared("whisper", "der Um zug", "de") == "der um zug"


def test_of_a_language_without_spaces_every_sign_is_a_word() -> None:
    row = Row(
        "x", "codec", [Sentence("今日は晴れ。", language="ja")], [Sound("x")], {}, {"whisper": [Heard("今日は雨", 0.0)]}
    )
    found = row.to_json()["wer"]["whisper"]
    assert (found["words"], found["errors"]) == (5, 2)


def test_sentences_of_which_nobody_says_a_language_are_in_the_one_it_was_told(run: Path, registered: Path) -> None:
    told = Evaluation.open(asked(run, registered, language="de"), QUIET)
    untold = Evaluation.open(asked(run, registered), QUIET)
    languages = [(s.language, t.language) for s, t in zip(untold.sentences, told.sentences, strict=True)]
    assert languages == [(None, "de")] * 4


def test_the_option_takes_the_settings_of_a_recipe() -> None:
    assert asked_for(None) is None
    assert asked_for("whisper", "x.pt") == WhisperSettings(weights="x.pt")
    assert asked_for("{name: faster-whisper, language: de, beam_size: 5}", "/models/large") == FasterWhisperSettings(
        weights="/models/large", language="de", beam_size=5
    )
    with pytest.raises(RecipeError, match=r"--ear: ear\.beam_size"):
        asked_for("{name: whisper, beam_size: 0}")


def test_a_whisper_hears_what_is_said(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ChosenEar.of(WhisperSettings(weights=str(whispers.trained(tmp_path_factory))))
    waves = {"lamp": whispers.sound(200), "train": whispers.sound(1_800)}
    monkeypatch.setattr(listening, "made", lambda sound, tokenizer: waves[sound.name].astype(np.float64))
    heard = Listen(chosen.key, PatchesSettings(), b"", chosen.settings)
    monkeypatch.setattr(listening, "_tokenizer", lambda *asked: Standing())
    assert [one.words for one in heard([Sound("lamp"), Sound("train")])] == ["the red lamp is on", "wo ist der bahnhof"]


class Standing:
    """A tokenizer of which only the rate is asked."""

    class spec:
        sample_rate = whispers.RATE
