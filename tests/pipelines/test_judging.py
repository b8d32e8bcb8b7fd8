"""Rules asked of an utterance: what columns it has, and that a rule without sound spares the fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile

from manifests.ledger import Outcome
from manifests.recipe import Recipe, parse
from manifests.utterance import AudioRef, Header, Query, Utterance, to_cut
from pipelines.stages.hearing import Ear, Heard
from pipelines.stages.judging import Judge, reasons
from tests.small_corpus import RATE, tone


def recipe(root: Path | str = "/data", **blocks: Any) -> Recipe:
    return parse({"corpus": {"layout": "table", "root": str(root), "name": "mine", "language": "en"}, **blocks})


def heard(root: Path, utterance: Utterance, **blocks: Any) -> Heard | Outcome:
    asked = recipe(root, **blocks)
    ear = Ear.of(asked, str(root), RATE, asked.wanted, Judge.of(asked))
    return ear.hear(to_cut(utterance, Header(RATE, RATE)))


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", tone(1, 2.0), RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "q.wav", tone(2, 1.0), RATE, subtype="PCM_16")
    return tmp_path


def dialogue(**more: Any) -> Utterance:
    query = Query("how are you", "asker", AudioRef("q.wav"))
    return Utterance("d", AudioRef("a.wav"), "well", "teller", query=query, extra={"mood": "calm", "take": 3}, **more)


def test_columns_are_those_of_the_corpus_the_recipe_and_both_sounds() -> None:
    columns = Judge.of(recipe()).columns(dialogue(), {"seconds": 2.0, "snr_db": 30.0}, {"seconds": 1.0})
    wanted = {
        "id": "d", "text": "well", "speaker": "teller", "language": "en", "corpus": "mine", "recording": "d", "start": 0.0,
        "query_text": "how are you", "query_speaker": "asker", "extra.mood": "calm", "extra.take": 3,
        "seconds": 2.0, "snr_db": 30.0, "query_seconds": 1.0,
    }  # fmt: skip
    assert {name: columns[name] for name in wanted} == wanted
    assert columns["split"] in ("train", "dev", "test")
    assert Judge.of(recipe()).columns(dialogue(language="fr"))["language"] == "fr"


def test_a_rule_without_sound_is_asked_before_the_sound_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "another.wav").touch()  # a folder without any file would be a corpus that went away
    gone = Utterance("u", AudioRef("no-such.wav"), "hello", language="fr")
    ended = heard(tmp_path, gone, filters={"long": "seconds > 1", "foreign": 'language != "en"'})
    assert isinstance(ended, Outcome)
    assert (ended.status, ended.reason) == ("filtered", "foreign")
    ended = heard(tmp_path, gone, filters={"long": "seconds > 1"})
    assert isinstance(ended, Outcome)
    assert ended.status == "quarantined"


@pytest.mark.parametrize(
    ("rule", "true"),
    [
        ("query_seconds < 1.5 and seconds > 1.5", True), ("seconds < query_seconds", False), ('query_speaker == "asker"', True),
        ("query_bandwidth_hz > 100 and bandwidth_hz > 100", True), ("source_rate == 16000 and query_channels == 1", True),
        ('extra.mood == "calm" and extra.take < 4', True), ("extra.rating < 3", False),
    ],
)  # fmt: skip
def test_both_sides_of_a_dialogue_may_be_asked(rule: str, true: bool, sounds: Path) -> None:
    ended = heard(sounds, dialogue(), filters={"r": rule})
    assert isinstance(ended, Outcome) is true
    if isinstance(ended, Outcome):
        assert (ended.status, ended.reason) == ("filtered", "r")
        assert str(ended.error).startswith(f"{rule}: ")


def test_scores_are_measured_of_both_sides(sounds: Path) -> None:
    passed = heard(sounds, dialogue(), scores=["snr_db", "characters_per_second"])
    assert isinstance(passed, Heard)
    assert [set(side.scores) for side in passed.sides] == [{"snr_db", "characters_per_second"}] * 2
    assert passed.sides[0].scores != passed.sides[1].scores


def test_without_rules_and_scores_a_sound_is_what_it_always_was(sounds: Path) -> None:
    passed = heard(sounds, dialogue())
    assert isinstance(passed, Heard)
    assert all(side.scores == {} for side in passed.sides)


def test_reasons_of_a_recipe_stand_beside_the_pipelines_own() -> None:
    told = reasons(recipe(filters={"short": "seconds < 1"}).rules)
    assert told["short"] == "a rule of the recipe: seconds < 1"
    assert "silent" in told
