"""Recipes: typed, frozen; every mistake is one line that says where and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from manifests.recipe import RecipeError, find, load, parse, shipped

SMALL = {"corpus": {"layout": "folder", "root": "somewhere"}}


def masks(**sets: object) -> dict:
    return {**SMALL, "mask": {"sets": sets}}


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({**SMALL, "plann": {}}, "plann: unknown key; did you mean plan?"),
        ({**SMALL, "plan": {"unit_second": 3}}, "plan.unit_second: unknown key; did you mean plan.unit_seconds?"),
        ({**SMALL, "speech": {"name": "patches", "mel": 3}}, "did you mean speech.mels?"),
        ({"corpus": {"layout": "folder", "rot": "x"}}, "did you mean corpus.root?"),
        ({"corpus": {"layout": "librispeach"}}, "did you mean librispeech?"),
        ({"corpus": {"root": "x"}}, "corpus: say which kind with 'layout'"),
        ({**SMALL, "zzzzzz": 1}, "valid keys: name, corpus, plan"),
        (
            masks(bernoulli={"views": 2, "view": 3, "mix": [{"noise": "bernoulli"}]}),
            "did you mean mask.sets.bernoulli.views?",
        ),
        (
            masks(a={"views": 2, "mix": [{"noise": "bernouli"}]}),
            "mask.sets.a.mix.0: no such kind 'bernouli'; did you mean bernoulli?",
        ),
        (
            masks(a={"views": 2, "mix": [{"noise": "full_block", "tokens": 1}]}),
            "mask.sets.a.mix.0.tokens: unknown key; valid keys: weight",
        ),
        (masks(a={"views": 2, "mix": [{}]}), "mask.sets.a.mix.0: say which kind with 'noise'"),
        ({}, "corpus"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(value: dict, line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(value)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({**SMALL, "plan": {"unit_seconds": "many"}}, "plan.unit_seconds"),
        ({**SMALL, "plan": {"unit_seconds": -1}}, "plan.unit_seconds"),
        ({**SMALL, "run": {"attempts": 0}}, "run.attempts"),
        ({**SMALL, "plan": [1]}, "plan"),
        (masks(), "mask.sets"),
        (masks(Loud={"views": 2, "mix": [{"noise": "bernoulli"}]}), r"mask.sets.Loud.\[key\]"),
        (masks(a_name_of_15_ab={"views": 2, "mix": [{"noise": "bernoulli"}]}), r"mask.sets.a_name_of_15_ab.\[key\]"),
        (masks(a={"views": 0, "mix": [{"noise": "bernoulli"}]}), "mask.sets.a.views"),
        (masks(a={"views": 2, "mix": []}), "mask.sets.a.mix"),
        (masks(a={"views": 2, "mix": [{"noise": "bernoulli", "weight": 0}]}), "mask.sets.a.mix.0.weight"),
        (masks(a={"views": 2, "mix": [{"noise": "bernoulli", "tokens": [0.5, 0.3]}]}), "mask.sets.a.mix.0.tokens"),
        (masks(a={"views": 2, "mix": [{"noise": "bernoulli", "replace": [0.5, 1.3]}]}), "mask.sets.a.mix.0.replace.1"),
    ],
)
def test_a_value_of_another_kind_is_named_by_place_and_value(value: dict, place: str) -> None:
    with pytest.raises(RecipeError, match=rf"^recipe: {place}: .*\(got "):
        parse(value)


@pytest.mark.parametrize("text", ["20240101", "no", "2024-01-01", "1.5"])
def test_a_text_that_yaml_reads_as_something_else_is_to_be_quoted(text: str) -> None:
    with pytest.raises(RecipeError, match=r"corpus\.language: .*write it in quotes"):
        load("corpus", [f"corpus.language={text}"])
    assert load("corpus", [f'corpus.language="{text}"']).corpus.language == text


@pytest.mark.parametrize("folder", ["/data/take #2", "c #1", "a#b"])
def test_a_number_sign_in_an_override_begins_no_comment(folder: str) -> None:
    assert load("corpus", [f"corpus.root={folder}"]).corpus.root == folder


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "segment.detector=silero",
            "segment.detector: a block is wanted that says which kind: {name: KIND} (got 'silero')",
        ),
        ("copies=true", "copies: a block is wanted: {key: value}, or {} for all as it is by itself (got True)"),
        ("corpus.audio_roots=/a", "corpus.audio_roots: a list is wanted: [one, two] (got '/a')"),
        ("run.stages={token: {workers: 2}}", "run.stages.token: there is no 'token'; did you mean tokens?"),
        ("split.by=weather", "split.by: there is no 'weather'; one of "),
    ],
)
def test_what_is_wanted_is_said_as_one_would_write_it(override: str, line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load("corpus", [override])
    assert f"{find('corpus')}: {line}" in str(caught.value)


def test_every_mistake_has_its_line() -> None:
    with pytest.raises(RecipeError) as caught:
        parse({**SMALL, "plan": {"seeed": 1, "unit_seconds": -1}, "spit": {}})
    assert len(str(caught.value).splitlines()) == 3


def test_overrides_win_and_are_read_as_yaml(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump(SMALL))
    recipe = load(path, ["plan.seed=7", "run.workers=0", "plan.dedup=false", "corpus.limit=3"])
    assert (recipe.plan.seed, recipe.run.workers, recipe.plan.dedup, recipe.corpus.limit) == (7, 0, False, 3)


@pytest.mark.parametrize("override", ["plan.seed", "plan.seed.deep=1", "plan.sed=1", "plan.seed=[", "plan=3"])
def test_a_bad_override_is_one_line_and_names_it(tmp_path: Path, override: str) -> None:
    path = written(tmp_path, yaml.safe_dump({**SMALL, "plan": {"seed": 1}}))
    with pytest.raises(RecipeError, match=r"plan|seed") as caught:
        load(path, [override])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["- a list", "a: [", "just words", "\x00"])
def test_a_file_that_is_no_recipe_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load(written(tmp_path, text))


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match="no recipe file"):
        find("no-such-recipe")


def test_yaml_cannot_run_anything(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not YAML"):
        load(written(tmp_path, "name: !!python/object/apply:os.getcwd []"))


def test_how_it_is_run_and_where_the_corpus_lies_decide_no_byte() -> None:
    one = parse(SMALL)
    other = parse(
        {"corpus": {"layout": "folder", "root": "elsewhere"}, "run": {"workers": 3}, "report": {"examples": 1}}
    )
    assert one.deciding() == other.deciding()
    assert one.deciding() != parse({**SMALL, "plan": {"seed": 1}}).deciding()
    near, far = (parse({**SMALL, "teach": {"teacher": where}}) for where in ("near", "far"))
    assert near.deciding() == far.deciding() != one.deciding()


def test_a_stage_is_decided_by_its_own_blocks() -> None:
    one, other = parse(SMALL), parse({**SMALL, "mask": {"seed": 1}})
    assert one.deciding("tokens") == other.deciding("tokens")
    assert one.deciding("masks") != other.deciding("masks")
    cut = parse({**SMALL, "segment": {}})
    read = {block for stage in ("segments", "tokens", "masks", "teach") for block in cut.deciding(stage)}
    assert read == set(cut.deciding()), "every block that decides bytes is read by a stage"
    assert set(cut.deciding()) - set(one.deciding()) == {"segment"}, "a recipe that does not use it does not know of it"
    assert parse({**SMALL, "mask": None}).deciding("masks") == {"mask": None}


def test_complementary_views_come_in_pairs() -> None:
    with pytest.raises(RecipeError, match=r"mask\.sets\.a: .*must be even, not 3"):
        parse(masks(a={"views": 3, "complementary": True, "mix": [{"noise": "bernoulli"}]}))


def test_entries_of_a_mix_have_names_of_their_own() -> None:
    mix = [{"noise": "bernoulli"}, {"noise": "full_block"}, {"noise": "bernoulli", "tokens": [0.1, 0.2]}]
    settings = parse(masks(a={"views": 3, "mix": mix})).mask
    assert settings is not None
    assert settings.sets["a"].names == ("bernoulli_1", "full_block", "bernoulli_2")


def test_a_recipe_written_out_is_the_same_recipe(tmp_path: Path) -> None:
    recipe = parse({**SMALL, "name": "größe", "plan": {"unit_seconds": 12.5}})
    assert load(written(tmp_path, recipe.to_yaml())) == recipe


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(SMALL).name = "other"


def test_every_shipped_recipe_loads_by_its_name() -> None:
    assert shipped()
    for name in shipped():
        assert load(name).name


@pytest.mark.parametrize(
    "key",
    [
        "plan.unit_seconds",
        "plan.batch_seconds",
        "run.stall_seconds",
        "run.cpus_per_worker",
        "clean.max_seconds",
        "run.drain_seconds",
    ],
)
@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_no_number_of_a_recipe_is_infinite(key: str, value: str) -> None:
    with pytest.raises(RecipeError, match=rf"{key}: .*finite"):
        load("corpus", ["corpus.layout=folder", "corpus.root=somewhere", f"{key}={value}"])
