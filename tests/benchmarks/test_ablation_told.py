"""What an ablation says of its arms: rates are those of what was heard, differences are paired, a claim holds only where it can be told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablation_outcomes import ALONE, MEASURES, Outcome, write
from benchmarks.ablation_told import Claim, by_arm, chart, drawn, main, resampled, table, told

SENTENCES = 40


def heard(arm: str, wrong: Iterable[int], seed: int = 0, steps: int = 4) -> Outcome:
    """Four words a sentence, one of them heard wrongly in some sentences."""
    errors, measures = set(wrong), dict.fromkeys(MEASURES, 1.0)
    return Outcome(arm, seed, steps, "base", 300, 0.5, tuple(int(k in errors) for k in range(SENTENCES)), (4,) * SENTENCES, measures)  # fmt: skip


def verdict(claim: Claim, *outcomes: Outcome) -> str:
    return str(claim.verdict(outcomes))


ONE_OTHER = Claim("", ("one",), ("other",), (4, 4))


def test_the_rate_is_that_of_all_words_and_seeds() -> None:
    seeds = [heard("two", range(4)), heard("two", range(12), seed=1)]
    assert resampled(seeds[:1])[0] == pytest.approx(4 / 160)
    assert resampled(seeds)[0] == pytest.approx((4 + 12) / 2 / 160)
    assert by_arm(seeds) == {"two": {4: seeds}}


def test_a_seed_that_was_judged_at_fewer_steps_counts_where_it_was_and_the_table_says_so() -> None:
    outcomes = [heard("two", {1}), heard("two", {1, 2}, seed=1), heard("two", {1, 2}, steps=16)]
    assert by_arm(outcomes)["two"] == {4: outcomes[:2], 16: outcomes[2:]}
    headings, [row] = table(outcomes)
    cells = dict(zip(headings, row, strict=True))
    assert cells["seeds"] == "2"
    assert cells["WER % @4"].startswith("0.9 [")
    assert cells["WER % @4"].endswith("]")
    assert cells["WER % @16"].endswith("] (1)")
    assert cells["WER % @1"] == ""


def test_seeds_that_differ_widen_the_interval() -> None:
    alike = [heard("two", range(8), seed=k) for k in range(3)]
    apart = [heard("two", range(24 * (k == 0)), seed=k) for k in range(3)]
    spread = [np.ptp(np.quantile(resampled(seeds)[1:], [0.025, 0.975])) for seeds in (alike, apart)]
    assert resampled(alike)[0] == resampled(apart)[0]
    assert spread[1] > 1.5 * spread[0]


def test_an_arm_does_not_differ_from_one_that_was_heard_alike() -> None:
    said = verdict(ONE_OTHER, heard("one", {1, 5, 7}), heard("other", {1, 5, 7}))
    assert said.startswith("cannot be told")
    assert "+0.0 [0.0, 0.0] points" in said


def test_claims_hold_fail_or_are_left_open() -> None:
    good, bad = heard("one", {0}), heard("other", range(30))
    assert verdict(ONE_OTHER, good, bad).startswith("holds: 0.6 [")
    assert verdict(Claim("", ("other",), ("one",), (4, 4)), good, bad).startswith("does not hold")
    assert Claim("", ("one",), ("other",), (1, 4)).verdict([good, bad]) is None, "nobody was judged at one step"
    assert ONE_OTHER.verdict([good]) is None


def test_a_factor_moves_the_limit() -> None:
    outcomes = heard("one", range(20)), heard("one", range(10), steps=16)
    assert verdict(Claim("", ("one",), ("one",), (4, 16), 1.2), *outcomes).startswith("does not hold")
    assert verdict(Claim("", ("one",), ("one",), (4, 16), 5.0), *outcomes).startswith("holds")


def test_only_seeds_that_all_have_are_compared() -> None:
    """The second seed of one arm alone must not stand against the first of another."""
    outcomes = heard("one", range(8)), heard("one", range(40), seed=1), heard("other", range(8))
    assert verdict(ONE_OTHER, *outcomes).endswith("+0.0 [0.0, 0.0] points (one seed)")
    assert ONE_OTHER.verdict([outcomes[1], outcomes[2]]) is None


def test_what_was_made_once_stands_against_every_seed() -> None:
    claim = Claim("", ("one",), ("AR",), (4, ALONE))
    outcomes = heard("AR", range(20), steps=ALONE), heard("one", range(4)), heard("one", range(8), seed=1)
    assert verdict(claim, *outcomes).startswith("holds: 3.8 [")
    assert verdict(claim, *outcomes).endswith("(seeds 0, 1)")


def test_arms_of_one_side_are_averaged() -> None:
    claim = Claim("", ("a", "b"), ("c", "d"), (4, 4))
    outcomes = [heard(arm, range(count)) for arm, count in (("a", 2), ("b", 6), ("c", 8), ("d", 16))]
    assert verdict(claim, *outcomes).startswith("holds: 2.5 [")
    assert "against 7.5 [" in verdict(claim, *outcomes)
    assert claim.verdict(outcomes[:3]) is None


def test_arms_that_were_judged_by_other_sentences_are_not_compared() -> None:
    one, other = heard("one", {1}), heard("other", {1})
    longer = Outcome(**{**vars(other), "words": (5,) * SENTENCES})
    with pytest.raises(ValueError, match="different sentences"):
        ONE_OTHER.verdict([one, longer])


def test_arms_of_a_seed_that_began_from_other_talkers_are_not_compared() -> None:
    """Two seeds may: each is compared within itself."""
    claim = Claim("", ("two, a",), ("two, b",), (4, 4))
    one, other = heard("two, a", {1}), heard("two, b", {1})
    elsewhere = [Outcome(**{**vars(arm), "seed": 1, "base": "elsewhere"}) for arm in (one, other)]
    assert verdict(claim, one, other, *elsewhere).endswith("(seeds 0, 1)")
    with pytest.raises(ValueError, match="seed 0 began from different talkers"):
        claim.verdict([one, Outcome(**{**vars(other), "base": "elsewhere"})])


def test_every_drawing_takes_as_many_as_there_are() -> None:
    times_RK = drawn(7, 0)
    assert (times_RK.sum(1) == 7).all()
    assert (times_RK[0] == 1).all()
    assert len(np.unique(times_RK[1:], axis=0)) > 100


def test_the_chart_names_every_arm() -> None:
    svg = chart([heard("two, ISD", {1})])
    assert "two, ISD" in svg
    assert "4 steps a block" in svg


def test_what_was_kept_is_told_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints what a page and a chart then hold, of several files; the last one counts."""
    old, new = (
        [heard("two, hierarchical", {1})],
        [heard("two, hierarchical", {1, 2}), heard("two, hierarchical, ISD", {2})],
    )
    write(tmp_path / "old.jsonl", old)
    write(tmp_path / "new.jsonl", new)
    page, picture = tmp_path / "page.md", tmp_path / "chart.svg"
    monkeypatch.setattr("sys.argv", ["told", *map(str, sorted(tmp_path.glob("*.jsonl"), reverse=True)), "--page", str(page), "--chart", str(picture)])  # fmt: skip
    main()
    assert capsys.readouterr().out == page.read_text() == told(new)
    assert "- 4 steps: ISD beats cross entropy, hierarchical masks: **cannot be told**: 0.6 [" in page.read_text()
    assert picture.read_text() == chart(new)
