"""What an ablation has to do: what is asked for, less what is known from elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.ablation import Desk, bases_of, begin_alike, main, names_of, ordered
from benchmarks.ablation_arms import arms, chosen_of
from benchmarks.ablation_outcomes import ALONE, Outcome


def outcome(arm: str, seed: int = 0, steps: int = 4) -> Outcome:
    return Outcome(arm, seed, steps, "abc", 300, 0.25, (0, 1), (4, 5), {"length": 1.0})


def desk(tmp_path: Path, *known: Outcome, base: str = "demo", seeds: tuple[int, ...] = (0,)) -> Desk:
    return Desk("data", tmp_path, base, 300, 300, (1, 4), seeds, Console(), known)


def test_parts_of_names_choose_arms_and_an_arm_at_equal_time_needs_two_others() -> None:
    chosen = [a.name for a in chosen_of(["two, hierarchical, same time"], [])]
    assert chosen == ["two, hierarchical", "two, hierarchical, ISD", "two, hierarchical, same time"]
    assert not [a.name for a in chosen_of(["two,"], ["alpha", "same time"]) if "alpha" in a.name or "time" in a.name]
    assert chosen_of(None, []) == list(arms())


def test_names_that_no_arm_has_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["ablation.py", "data", "--only", "three,"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "no arm has such a name: there are two, bernoulli;" in capsys.readouterr().err


def test_every_arm_has_a_folder_of_its_own() -> None:
    assert len({a.folder for a in arms()}) == len({a.name for a in arms()}) == len(arms())


@pytest.mark.parametrize(("steps", "known"), [((1, 4), True), ((1, 4, 16), True), ((4,), False), ((), False)])
def test_an_arm_is_known_if_it_was_judged_at_all_steps_that_are_asked_for(
    tmp_path: Path, steps: tuple[int, ...], known: bool
) -> None:
    mine = desk(tmp_path, *(outcome("two, hierarchical", steps=s) for s in steps))
    assert mine.knows("two, hierarchical") == known
    assert not mine.knows("two, hierarchical", seed=1)
    assert not mine.knows("two, bernoulli")


def test_what_is_known_is_not_trained_again_and_needs_no_base(tmp_path: Path) -> None:
    chosen = chosen_of(["two, hierarchical, same time"], [])
    known = [outcome(a.name, seed, steps) for a in chosen for seed in (0, 1) for steps in (1, 4)]
    mine = desk(tmp_path, *known, seeds=(0, 1))
    for arm in chosen:
        mine.carry_out(arm, 1)
        assert [o.key for o in mine.come_of(arm, 1)] == [(arm.name, 1, 1), (arm.name, 1, 4)]
    assert list(tmp_path.iterdir()) == []
    assert bases_of(mine, chosen) == {}
    assert bases_of(replace(mine, seeds=(1, 2)), chosen) == {tmp_path / "base": "two_stream"}


def test_a_base_by_steps_is_of_a_layout_and_one_by_a_recipe_serves_all(tmp_path: Path) -> None:
    by_steps = bases_of(desk(tmp_path, base="1000"), arms())
    assert by_steps == {tmp_path / f"base-{layout}": layout for layout in ("single_stream", "two_stream")}
    assert list(bases_of(desk(tmp_path), arms())) == [tmp_path / "base"]


def test_next_frame_decoders_are_known_by_all_their_rows(tmp_path: Path) -> None:
    assert names_of("ar") == ["AR"]
    assert names_of("mtp") == ["MTP, guesses kept", "MTP, guesses tested"]
    mine = desk(tmp_path, outcome("AR", steps=ALONE), outcome("MTP, guesses kept", steps=ALONE))
    assert [all(map(mine.knows, names_of(kind))) for kind in ("ar", "mtp")] == [True, False]


def test_the_table_begins_with_what_arms_are_held_against() -> None:
    mixed = [outcome("two, hierarchical", 1), outcome("base"), outcome("two, hierarchical"), outcome("AR", steps=ALONE)]
    assert [(o.arm, o.seed) for o in ordered(mixed)] == [("AR", 0), ("base", 0), ("two, hierarchical", 0), ("two, hierarchical", 1)]  # fmt: skip


def test_a_seed_that_is_known_goes_on_from_the_same_base_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Desk, "origin", lambda desk, layout: "def")
    known = [outcome("two, hierarchical", 1), outcome("one, hierarchical", 0), outcome("AR", steps=ALONE)]
    begin_alike(desk(tmp_path, *known, seeds=(0, 2)), ["two_stream"])  # seed 1 is not gone on with, nor is one stream
    with pytest.raises(ValueError, match="two, hierarchical, seed 1, began from abc, but the base here is def"):
        begin_alike(desk(tmp_path, *known, seeds=(1, 2)), ["two_stream"])
    with pytest.raises(ValueError, match="one, hierarchical, seed 0"):
        begin_alike(desk(tmp_path, *known, seeds=(0, 2)), ["single_stream", "two_stream"])


def test_arms_at_equal_time_have_the_time_of_their_own_seed(tmp_path: Path) -> None:
    arm = arms()[0]
    mine = desk(tmp_path, outcome(arm.name, 0), replace(outcome(arm.name, 1), seconds_a_step=0.5))
    assert [mine.seconds_a_step(arm, seed) for seed in (0, 1)] == [0.25, 0.5]
