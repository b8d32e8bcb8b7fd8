"""Training recipes: the shipped ones load, every mistake is one line that says where and what was meant."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from manifests.recipe_file import RecipeError
from manifests.training_recipe import SHIPPED, TrainingRecipe, load, parse, shipped

STAGE = {"layout": "two_stream", "masks": "bernoulli", "steps": 5}


def recipe(stage: dict[str, Any] | None = None, **train: Any) -> TrainingRecipe:
    return parse({"train": {"stages": [STAGE if stage is None else stage], **train}})


def test_every_shipped_recipe_loads_by_its_name_and_says_what_it_is() -> None:
    assert shipped() == ["demo", "demo-ar", "demo-mtp", "isd", "paper", "paper-isd", "scratch", "teacher", "tiny"]
    for name in shipped():
        assert load(name).name == name
        assert (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", ["demo", "isd"])
def test_what_starts_from_the_datasets_teacher_has_its_shape(name: str) -> None:
    assert load(name).train.start == "teacher"
    assert load(name).talker == load("teacher").talker


def test_the_paper_is_one_recipe_away() -> None:
    second, third = load("paper"), load("paper-isd")
    assert second.talker == third.talker
    assert (second.talker.layers, second.talker.block, second.talker.anchors) == (4, 16, 4)
    assert second.talker.conditioning == "anchors"
    stages = [stage for recipe in (second, third) for stage in recipe.train.stages]
    assert [(s.masks, s.epochs, s.layout, s.loss) for s in stages] == [
        ("bernoulli", 8, "single_stream", "cross_entropy"), ("hierarchical", 4, "single_stream", "distillation"),
    ]  # fmt: skip
    assert third.train.start == "teacher"
    taught = stages[1].taught
    assert taught is not None
    assert (taught.iterations, taught.kl, taught.tau, taught.alpha, taught.policy) == (4, "reverse", 2.0, 0.7, "even")
    for recipe in (second, third):
        assert (recipe.train.optimiser.name, recipe.train.optimiser.lr) == ("adamw", 2e-4)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"train": {"stages": [STAGE]}, "tolker": {}}, "recipe: tolker: unknown key; did you mean talker?"),
        ({"train": {"stages": [STAGE], "batch_frame": 3}}, "did you mean train.batch_frames?"),
        ({"train": {"stages": [{**STAGE, "layot": 1}]}}, "train.stages.0.layot: unknown key; did you mean train.stages.0.layout?"),
        ({"train": {"stages": [STAGE], "optimiser": {"lrr": 1}}}, "did you mean train.optimiser.lr?"),
        ({"train": {"stages": [STAGE], "optimiser": {"name": "muonn"}}}, "train.optimiser: no such kind 'muonn'; did you mean muon?"),
        ({"train": {"stages": [STAGE], "optimiser": {"name": "muon", "momentun": 1}}}, "did you mean train.optimiser.momentum?"),
        ({"train": {"stages": [STAGE], "schedule": {"name": "wsd", "decai": 1}}}, "did you mean train.schedule.decay?"),
        ({"train": {"stages": [STAGE], "validation": {"evry": 1}}}, "did you mean train.validation.every?"),
        ({"talker": {"width": 30}, "train": {"stages": [STAGE]}}, "talker: talker.width 30 is not a multiple of"),
        ({"train": {"stages": [{**STAGE, "layout": "two_streams"}]}}, "train.stages.0.layout: there is no 'two_streams'; did you mean two_stream?"),
        ({"train": {"stages": []}}, "train.stages: a run needs at least one stage"),
        ({"train": {"stages": [{**STAGE, "steps": "many"}]}}, "train.stages.0.steps: "),
        ({"train": {"stages": [STAGE], "ema": 1.0}}, "train.ema: "),
        ({}, "recipe: train: Field required"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_the_nearest_right_thing(value: dict[str, Any], line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(value)
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({**STAGE, "epochs": 2}, "stage main needs either steps or epochs"),
        ({"layout": "two_stream", "masks": "bernoulli"}, "stage main needs either steps or epochs"),
        ({"layout": "single_stream", "steps": 1}, "masks must name a mask set of the dataset"),
        ({"layout": "autoregressive", "steps": 1, "masks": "bernoulli"}, "masks nothing: leave out masks and copies"),
        ({"layout": "anchored", "steps": 1, "copies": 2}, "masks nothing: leave out masks and copies"),
        ({"layout": "autoregressive", "steps": 1, "block": 4}, "guesses frame by frame: leave out block"),
        ({"layout": "anchored", "steps": 1, "cut_tail": 0.2}, "whatever the place in a block: leave out cut_tail"),
        (
            {
                "layout": "two_stream",
                "masks": "whole",
                "steps": 1,
                "cut_tail": 0.2,
                "loss": "distillation",
                "distillation": {"stored": True},
            },
            "leave out cut_tail, or distillation.stored",
        ),
        (
            {"layout": "two_stream", "masks": "whole", "steps": 1, "block": 5},
            "its block of 5 does not divide talker.block",
        ),
        ({**STAGE, "windows": {"ahead": 3}}, "has layout two_stream, which has no windows: leave out windows"),
        ({"layout": "anchored", "steps": 1, "windows": {"ahead": 16}}, r"reach past a block of 16 .*: at most 15"),
        ({"layout": "anchored", "steps": 1, "windows": {"stride": 0}}, r"windows\.stride"),
    ],
)
def test_a_stage_that_does_not_hold_together_is_refused(stage: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(stage)


ANCHORED = {"layout": "anchored", "steps": 1}


def test_windows_as_usual_leave_a_recipe_the_identity_that_it_had_without_them() -> None:
    without, said, others = (
        recipe({**ANCHORED, **more}).deciding() for more in ({}, {"windows": {"ahead": 3}}, {"windows": {"ahead": 7}})
    )
    assert without == said != others
    assert "windows" not in without["train"]["stages"][0]
    assert others["train"]["stages"][0]["windows"] == {"ahead": 7, "stride": 4, "causal": True}
    assert "windows" not in recipe().deciding()["train"]["stages"][0]


TAUGHT = {"layout": "two_stream", "masks": "any", "steps": 1, "loss": "distillation", "distillation": {"teacher": "x"}}


@pytest.mark.parametrize(
    ("part", "later"),
    [((), {"certainty": 2.0}), ((), {"cut_tail": 0.5}), (("distillation",), {"targets": "hard"})],
)
def test_what_recipes_could_not_say_once_is_told_only_where_it_is_said(
    part: tuple[str, ...], later: dict[str, Any]
) -> None:
    """Else runs and teachers that were there before would count as others."""
    (name,) = later
    plain, said = recipe(TAUGHT).deciding(), copy.deepcopy(TAUGHT)
    (said["distillation"] if part else said).update(later)
    now = recipe(said).deciding()
    for value in (plain, now):
        value["found"] = value["train"]["stages"][0]
        for step in part:
            value["found"] = value["found"][step]
    assert name not in plain["found"]
    assert now["found"][name] == later[name]


def test_two_stages_of_one_name_are_refused() -> None:
    with pytest.raises(RecipeError, match="two stages have one name"):
        parse({"train": {"stages": [STAGE, STAGE]}})


def test_single_values_are_overridden_in_lists_too() -> None:
    made = load(
        "demo", ["train.stages.1.steps=7", "train.optimiser.lr=0.5", "train.optimiser.name=muon", "talker.width=64"]
    )
    assert (made.train.stages[1].steps, made.talker.width) == (7, 64)
    assert (made.train.optimiser.name, made.train.optimiser.lr) == ("muon", 0.5)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.stages.9.steps=7", "9 is not one of the list's 0 to 1"),
        ("train.stages.first.steps=7", "first is not one of the list's"),
        ("train.stages.0.steps.more=7", "steps is a value, not a block"),
        ("train.ema", "write it as block.key=value"),
    ],
)
def test_a_bad_override_is_named(override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load("demo", [override])


def test_a_block_without_a_name_is_of_the_default_kind() -> None:
    assert recipe(optimiser={"lr": 0.1}).train.optimiser.name == "adamw"
    assert recipe(schedule={"warmup": 1}).train.schedule.name == "cosine"


def test_how_it_is_carried_out_decides_nothing() -> None:
    carried = {
        "loaders": 3,
        "keep": 9,
        "log_every": 1,
        "checkpoint_every": 7,
        "accumulate": 4,
        "precision": "fp32",
        "compile": True,
    }
    assert recipe(**carried, validation={"every": 3}).deciding() == recipe().deciding()
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"ema": 0.5},
        {"batch_frames": 1},
        {"optimiser": {"lr": 1.0}},
        {"clip": None},
    ]
    for change in changes:
        assert recipe(**change).deciding() != recipe().deciding()


def test_a_recipe_written_out_is_the_same_recipe(tmp_path: Path) -> None:
    for name in shipped():
        path = tmp_path / f"{name}.yaml"
        path.write_text(load(name).to_yaml(), encoding="utf-8")
        assert load(str(path)) == load(name)


def test_a_recipe_of_a_dataset_is_not_taken_for_one_of_a_talker() -> None:
    with pytest.raises(RecipeError, match="no recipe file 'corpus'"):
        load("corpus")
