"""What an ablation says of its arms: rates are those of what was heard, differences are paired, a claim holds only where it can be told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablation_told import Claim, chart, drawn, judged, rates, resampled

SENTENCES = 40


def run_with(folder: Path, wrong: set[int], steps: int = 4) -> Path:
    """A run that was judged: four words a sentence, one of them heard wrongly in some sentences."""
    heard = [{"said": "turn on the light", "grammar": f"turn {'off' if k in wrong else 'on'} the light"} for k in range(SENTENCES)]  # fmt: skip
    row = {"name": f"{steps} steps", "kind": "block", "decoder": {"steps": steps}, "heard": heard}
    (folder / "eval").mkdir(parents=True)
    (folder / "eval" / "eval.json").write_text(json.dumps({"rows": [row]}))
    return folder


def test_the_rate_is_that_of_all_words_and_seeds(tmp_path: Path) -> None:
    runs = [run_with(tmp_path / "0", set(range(4))), run_with(tmp_path / "1", set(range(12)))]
    assert resampled(runs[:1], 4, "two")[0] == pytest.approx(4 / 160)
    assert resampled(runs, 4, "two")[0] == pytest.approx((4 + 12) / 2 / 160)
    assert judged("two", runs) == {4: runs}


def test_a_seed_that_was_judged_at_fewer_steps_counts_where_it_was(tmp_path: Path) -> None:
    runs = [run_with(tmp_path / "0", {1}, steps=4), run_with(tmp_path / "1", {1, 2}, steps=16)]
    assert judged("two", runs) == {4: runs[:1], 16: runs[1:]}
    assert [rate_R[0] for rate_R in rates("two", runs).values()] == pytest.approx([1 / 160, 2 / 160])


def test_seeds_that_differ_widen_the_interval(tmp_path: Path) -> None:
    alike = [run_with(tmp_path / f"a{k}", set(range(8))) for k in range(3)]
    apart = [run_with(tmp_path / f"b{k}", set(range(24 * (k == 0)))) for k in range(3)]
    spread = [np.ptp(np.quantile(resampled(runs, 4, "two")[1:], [0.025, 0.975])) for runs in (alike, apart)]
    assert resampled(alike, 4, "two")[0] == resampled(apart, 4, "two")[0]
    assert spread[1] > 1.5 * spread[0]


def test_an_arm_does_not_differ_from_itself(tmp_path: Path) -> None:
    run = run_with(tmp_path / "0", {1, 5, 7})
    found = {"one": rates("one", [run]), "other": rates("other", [run])}
    assert np.array_equal(found["one"][4], found["other"][4])
    assert str(Claim("", ("one", 4), ("other", 4)).verdict(found)).startswith("cannot be told")


def test_claims_hold_fail_or_are_left_open(tmp_path: Path) -> None:
    good, bad = run_with(tmp_path / "good", {0}), run_with(tmp_path / "bad", set(range(30)))
    found = {"good": rates("good", [good]), "bad": rates("bad", [bad])}
    assert str(Claim("", ("good", 4), ("bad", 4)).verdict(found)).startswith("holds")
    assert str(Claim("", ("bad", 4), ("good", 4)).verdict(found)).startswith("does not hold")
    assert Claim("", ("good", 1), ("bad", 1)).verdict(found) is None, "nobody was judged at one step"


def test_every_drawing_takes_as_many_as_there_are() -> None:
    times_RK = drawn(7, 0)
    assert (times_RK.sum(1) == 7).all()
    assert (times_RK[0] == 1).all()
    assert len(np.unique(times_RK[1:], axis=0)) > 100


def test_the_chart_names_every_arm(tmp_path: Path) -> None:
    svg = chart({"two, ISD": rates("two, ISD", [run_with(tmp_path / "0", {1})])})
    assert "two, ISD" in svg
    assert "4 steps a block" in svg
