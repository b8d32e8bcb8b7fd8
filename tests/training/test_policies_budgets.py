"""How many cells each budget lets go, against counts worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.policies import Policy, build, preset
from training.policies.budgets import (
    AtLeast,
    ConfidentPrefix,
    DecayingThreshold,
    EntropyBound,
    Quantile,
    Schedule,
    Threshold,
    View,
    cosine,
    shifted,
)
from training.policies.stats import Stats


def of_probs(probs_NM: Tensor) -> Stats:
    """Statistics of two classes, the likelier of which has these probabilities."""
    logits = torch.stack([probs_NM.log(), (1 - probs_NM).log()], dim=-1)
    return Policy().stats(logits)


def counts(policy: Policy, left: int, steps: int, m: int | None = None) -> list[int]:
    """Cells revealed at each step of a block that begins with ``left`` masks, all cells alike."""
    masked_NM = torch.arange(m or left)[None] < left
    stats, found = of_probs(torch.full((1, m or left), 0.6)), []
    for step in range(1, steps + 1):
        reveal_NM = policy.select(stats, masked_NM, step, steps)
        found.append(int(reveal_NM.sum()))
        masked_NM = masked_NM & ~reveal_NM
    return found


@pytest.mark.parametrize(
    ("left", "steps", "expected"),
    [
        (16, 4, [4, 4, 4, 4]),
        (10, 4, [3, 3, 2, 2]),
        (9, 4, [3, 2, 2, 2]),
        (5, 4, [2, 1, 1, 1]),
        (3, 4, [1, 1, 1, 0]),
        (1, 4, [1, 0, 0, 0]),
        (16, 1, [16]),
        (16, 16, [1] * 16),
        (3, 8, [1, 1, 1, 0, 0, 0, 0, 0]),
    ],
)
def test_the_even_budget_of_the_paper(left: int, steps: int, expected: list[int]) -> None:
    assert counts(preset("even"), left, steps, 16) == expected


def test_even_quotas_sum_to_the_masks_for_every_number_of_both() -> None:
    masks = torch.arange(1, 65)
    stats = of_probs(torch.full((64, 64), 0.6))
    for steps in (1, 2, 3, 5, 7, 16, 40, 64):
        left_NM = torch.arange(64)[None] < masks[:, None]
        for step in range(1, steps + 1):
            quota_N = torch.tensor([-(-int(r) // (steps - step + 1)) for r in left_NM.sum(1)])
            reveal_NM = preset("even").select(stats, left_NM, step, steps)
            assert torch.equal(reveal_NM.sum(1), quota_N)
            left_NM = left_NM & ~reveal_NM
        assert not left_NM.any()


def test_the_cosine_budget_begins_slowly() -> None:
    found = counts(preset("cosine"), 64, 4)
    kept = [64 * math.cos(math.pi / 2 * j / 4) for j in range(1, 5)]
    assert [64 - sum(found[: j + 1]) for j in range(4)] == pytest.approx(kept, abs=1)
    assert found == sorted(found)


def test_the_shifted_budget_reveals_its_fraction() -> None:
    found = counts(build(budget="shifted"), 60, 4)
    revealed = [60 * 0.5 * u / (1 - 0.5 * u) for u in (0.25, 0.5, 0.75, 1)]
    assert [sum(found[: j + 1]) for j in range(4)] == pytest.approx(revealed, abs=1.01)


def test_shares_are_whole_numbers_that_do_not_exceed_one() -> None:
    for share in (cosine, shifted):
        for steps in range(1, 40):
            for step in range(1, steps + 1):
                part, whole = share(step, steps)
                assert isinstance(part, int)
                assert 0 < part <= whole
            part, whole = share(steps, steps)
            assert part == whole, "the last step takes all"


def test_a_threshold_takes_what_passes_or_else_the_best() -> None:
    probs = torch.tensor([[0.95, 0.6, 0.91, 0.9], [0.7, 0.8, 0.6, 0.8], [0.99, 0.99, 0.99, 0.99]])
    masked = torch.tensor([[True] * 4, [True] * 4, [False, True, False, True]])
    found = preset("threshold").select(of_probs(probs), masked, 1, 9)
    assert found.int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, 1]]


def test_a_threshold_is_a_test_even_where_something_else_ranks() -> None:
    """No cell under the bar comes in for its position."""
    found = build("left_to_right", "threshold").select(of_probs(torch.tensor([[0.6, 0.95, 0.6, 0.99]])), ALL4, 1, 9)
    assert found.int().tolist() == [[0, 1, 0, 1]]


def test_a_drawn_class_that_the_model_doubts_does_not_pass_a_threshold() -> None:
    """The likeliest class would pass, but it is not the one that would be written."""
    logits = torch.tensor([[[0.02, 0.98], [0.5, 0.5]]]).log()
    found = preset("threshold").select(Stats(logits, torch.tensor([[0, 1]])), torch.ones(1, 2, dtype=torch.bool), 1, 9)
    assert found.tolist() == [[True, False]]  # none passes; the first ranks best
    assert not Threshold()(View(Stats(logits, torch.tensor([[0, 1]])), ALL4[:, :2], logits[..., 0], 1, 9)).most_N1 > 1


ALL4 = torch.ones(1, 4, dtype=torch.bool)


def test_a_threshold_over_a_schedule_never_falls_behind_it() -> None:
    policy = Policy(budget=AtLeast(Threshold(0.95), Schedule()))
    assert counts(policy, 16, 4) == [4, 4, 4, 4]
    probs = torch.tensor([[0.99, 0.98, 0.97, 0.96, 0.6, 0.6, 0.6, 0.6]])
    assert int(policy.select(of_probs(probs), torch.ones(1, 8, dtype=torch.bool), 1, 4).sum()) == 4


def test_a_decaying_threshold_falls_as_the_block_fills() -> None:
    probs = torch.full((2, 10), 0.8)
    masked = torch.stack([torch.ones(10, dtype=torch.bool), torch.arange(10) < 4])
    # .9 (1 - .3 * 0) = .9 passes none; .9 (1 - .3 * .6) = .738 passes all
    found = Policy(budget=DecayingThreshold(0.9, 0.3)).select(of_probs(probs), masked, 1, 9)
    assert found.sum(1).tolist() == [1, 4]


@pytest.mark.parametrize(("bound", "expected"), [(0.0, 1), (0.33, 2), (0.4, 2), (0.75, 3), (2.0, 4)])
def test_the_entropy_bound_adds_entropies_less_the_largest(bound: float, expected: int) -> None:
    probs = torch.tensor([[0.9, 0.8, 0.95, 0.6]])  # entropies .325, .500, .199, .673
    found = Policy(budget=EntropyBound(bound)).select(of_probs(probs), ALL4, 1, 9)
    sums = torch.tensor([0.199, 0.325, 0.500, 0.673]).cumsum(0) - torch.tensor([0.199, 0.325, 0.500, 0.673])
    assert int((sums <= bound).sum()) == expected
    assert int(found.sum()) == expected


def test_the_entropy_bound_counts_masked_cells_alone() -> None:
    masked = torch.tensor([[True, False, False, True]])
    probs = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert Policy(budget=EntropyBound(0.5)).select(of_probs(probs), masked, 1, 9).sum() == 1
    assert Policy(budget=EntropyBound(0.7)).select(of_probs(probs), masked, 1, 9).sum() == 2


def test_the_quantile_takes_the_top_share_of_what_is_masked() -> None:
    probs = torch.linspace(0.55, 0.95, 11)[None]
    masked = torch.ones(1, 11, dtype=torch.bool)
    # alpha .5 at step 2 of 5: quantile 1 - .5 * 2/5 = .8 of 11 values is the third from the top
    found = Policy(budget=Quantile(0.5)).select(of_probs(probs), masked, 2, 5)
    expected = probs >= torch.quantile(probs, 0.8)
    assert torch.equal(found, expected)
    masked = probs < 0.85
    found = Policy(budget=Quantile(0.5)).select(of_probs(probs), masked, 2, 5)
    assert torch.equal(found, masked & (probs >= torch.quantile(probs[masked], 0.8)))


def test_the_quantile_without_alpha_is_the_best_and_its_equals() -> None:
    probs = torch.tensor([[0.6, 0.9, 0.9, 0.7]])
    assert Policy(budget=Quantile(0.0)).select(of_probs(probs), ALL4, 3, 9).tolist() == [[False, True, True, False]]


def test_the_quantile_keeps_the_floor_of_its_schedule() -> None:
    fast, floor = build(budget="quantile", options={"budget": {"alpha": 1.0}}), build(budget="shifted")
    probs = torch.linspace(0.55, 0.95, 16)[None]
    masked_fast = masked_floor = torch.ones(1, 16, dtype=torch.bool)
    for step in range(1, 8):
        masked_fast = masked_fast & ~fast.select(of_probs(probs), masked_fast, step, 8)
        masked_floor = masked_floor & ~floor.select(of_probs(probs), masked_floor, step, 8)
        assert masked_fast.sum() <= masked_floor.sum()
    assert masked_fast.sum() < masked_floor.sum()


def test_a_confident_prefix_ends_at_the_first_doubt() -> None:
    probs = torch.tensor([[0.95, 0.5, 0.99, 0.6, 0.99], [0.6, 0.99, 0.99, 0.99, 0.99]])
    masked = torch.tensor([[True, False, True, True, True], [True] * 5])
    found = preset("prefix").select(of_probs(probs), masked, 1, 9)
    assert found.int().tolist() == [[1, 0, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert ConfidentPrefix(0.5) != ConfidentPrefix()
