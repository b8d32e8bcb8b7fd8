"""Recipes that choose their data: how scores, filters and copies are written, what they decide, and what a recipe without them is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests.fingerprint import pretty
from manifests.recipe import Recipe, RecipeError, load, parse
from manifests.settings.scores import ScoresSettings

CORPUS = {"corpus": {"layout": "table", "root": "/data"}}
FILTERS = {
    "too_noisy": "snr_db < 10",
    "fast": "characters_per_second > 25",
    "other_language": 'language not in ("en",)',
}


def recipe(**blocks: Any) -> Recipe:
    return parse({**CORPUS, **blocks})


def test_scores_are_a_list_of_names_or_a_mapping_where_one_has_settings() -> None:
    named = recipe(scores=["snr_db", "bandwidth_hz"])
    assert named.wanted == ("snr_db", "bandwidth_hz")
    assert recipe(scores={"bandwidth_hz": None, "snr_db": {}}).deciding() == named.deciding()
    assert recipe(scores={"dnsmos": {"model": "/m.onnx"}}).scores.dnsmos is not None
    assert recipe(scores=None).wanted == ()


def test_a_score_that_a_rule_names_need_not_be_asked_for() -> None:
    assert recipe(filters=FILTERS).wanted == ("snr_db", "characters_per_second")
    assert recipe(filters={"echo": "query_bandwidth_hz < 4000"}, scores=["snr_db"]).wanted == ("snr_db", "bandwidth_hz")


def test_rules_that_need_no_sound_are_asked_first_and_else_in_the_order_written() -> None:
    assert [rule.reason for rule in recipe(filters=FILTERS).rules] == ["other_language", "too_noisy", "fast"]
    turned = dict(reversed(FILTERS.items()))
    assert [rule.reason for rule in recipe(filters=turned).rules] == ["other_language", "fast", "too_noisy"]


def test_a_recipe_without_them_decides_what_it_always_did() -> None:
    decided = recipe().deciding()
    assert not {"scores", "filters", "copies"} & decided.keys()
    assert "near_text" not in decided["plan"]
    assert recipe(scores={}, filters={}, copies=None, plan={"near_text": None}).deciding() == decided


@pytest.mark.parametrize(
    "blocks",
    [{"scores": ["snr_db"]}, {"filters": FILTERS}, {"filters": dict(reversed(FILTERS.items()))}, {"copies": {}},
     {"plan": {"near_text": 0.9}}, {"plan": {"near_text": 0.8}}, {"copies": {"bit_errors": 0.1}}],
)  # fmt: skip
def test_what_they_say_decides_bytes_and_survives_json_with_sorted_keys(blocks: dict) -> None:
    asked = recipe(**blocks)
    assert asked.deciding() != recipe().deciding()
    assert asked.deciding("tokens") != recipe().deciding("tokens") or "copies" in blocks
    written = yaml.safe_load(pretty(asked.deciding()))
    again = parse({**written, **CORPUS})
    assert again.deciding() == asked.deciding()
    assert [r.reason for r in again.rules] == [r.reason for r in asked.rules]


def test_a_printed_recipe_is_the_recipe(tmp_path: Path) -> None:
    asked = recipe(filters=FILTERS, scores={"snr_db": {}}, plan={"near_text": 0.9}, copies={})
    (tmp_path / "r.yaml").write_text(asked.to_yaml(), encoding="utf-8")
    assert load(str(tmp_path / "r.yaml")) == asked
    assert load("corpus", ["corpus.layout=table", "filters.short=seconds >= 2"]).filters == {"short": "seconds >= 2"}


def test_where_a_model_lies_decides_nothing_and_its_checksum_does() -> None:
    here, there = (recipe(scores={"dnsmos": {"model": place}}) for place in ("/a.onnx", "/b.onnx"))
    assert here.deciding() == there.deciding()
    assert recipe(scores={"dnsmos": {"checksum": "0" * 64}}).deciding() != here.deciding()


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({"scores": ["snr_bd"]}, "recipe: scores.snr_bd: unknown key; did you mean scores.snr_db?"),
        ({"filters": {"noisy": "snr_bd < 3"}}, "recipe: filters.noisy: there is no column snr_bd; did you mean snr_db?"),
        ({"filters": {"No good": "seconds < 3"}}, "filters.No good"),
        ({"filters": {"noisy": True}}, "filters.noisy: Input should be a valid string"),
        ({"filters": [{"a": "seconds < 1"}, {"a": "seconds > 2"}]}, "a is there twice"),
        ({"filters": {"bad": "dnsmos_ovrl < 3"}}, "scores: {dnsmos: {model: PATH}}"),
        ({"plan": {"near_text": 0.2}}, "plan.near_text"),
        ({"copies": {"bit_errors": 0.5}}, "copies.bit_errors"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_where(blocks: dict, said: str) -> None:
    with pytest.raises(RecipeError) as refused:
        recipe(**blocks)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_wrong_rule_is_told_at_once() -> None:
    with pytest.raises(RecipeError) as refused:
        recipe(filters={"a": "secnds < 1", "b": "text < 1", "c": "seconds < 1"})
    assert [line.split(":")[1].strip() for line in str(refused.value).splitlines()] == ["filters.a", "filters.b"]


def test_settings_say_only_what_is_asked_for() -> None:
    assert ScoresSettings().model_dump() == {}
    assert ScoresSettings.model_validate(["snr_db"]).model_dump() == {"snr_db": {}}
