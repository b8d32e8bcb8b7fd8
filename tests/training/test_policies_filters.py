"""Which cells go together: groups, gaps and prefixes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.policies import Policy, build, preset
from training.policies.budgets import BUDGETS, All, Schedule, Threshold, View
from training.policies.filters import Dilated, MinGap, PrefixContiguous
from training.policies.scores import Moment, left_to_right
from training.policies.stats import Stats


def random_stats(n: int, m: int, seed: int = 0) -> Stats:
    return Policy().stats(torch.randn(n, m, 5, generator=torch.Generator().manual_seed(seed)) * 2)


def rounds(policy: Policy, m: int, steps: int, codebooks: int = 1) -> list[list[int]]:
    """Cells revealed at each step of a block that is masked throughout."""
    masked_NM, found = torch.ones(1, m, dtype=torch.bool), []
    for step in range(1, steps + 1):
        reveal_NM = policy.select(random_stats(1, m), masked_NM, step, steps, codebooks=codebooks)
        found.append(reveal_NM[0].nonzero().flatten().tolist())
        masked_NM = masked_NM & ~reveal_NM
    return found


DUS = [[0, 8], [4, 12], [2, 6, 10, 14], [1, 3, 5, 7, 9, 11, 13, 15]]


@pytest.mark.parametrize("steps", [4, 5, 16])
def test_sixteen_frames_are_four_rounds_of_far_apart_ones(steps: int) -> None:
    assert rounds(preset("dilated"), 16, steps) == DUS + [[]] * (steps - 4)


@pytest.mark.parametrize(("steps", "opened"), [(1, [[0, 1, 2, 3]]), (2, [[0, 1], [2, 3]]), (3, [[0, 1], [2], [3]])])
def test_with_fewer_steps_neighbouring_groups_open_together(steps: int, opened: list[list[int]]) -> None:
    expected = [sorted(cell for group in groups for cell in DUS[group]) for groups in opened]
    assert rounds(preset("dilated"), 16, steps) == expected


def test_all_codebooks_of_a_frame_are_of_one_group() -> None:
    assert rounds(preset("dilated"), 12, 4, codebooks=3) == [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11], [], []]


def test_a_block_that_begins_partly_masked_opens_the_first_group_it_has() -> None:
    masked = torch.zeros(2, 16, dtype=torch.bool)
    masked[0, [2, 3, 10]], masked[1, [1, 0, 9]] = True, True
    found = preset("dilated").select(random_stats(2, 16), masked, 1, 8)
    assert [r.nonzero().flatten().tolist() for r in found] == [[2, 10], [0]]


def test_a_threshold_within_groups_takes_no_doubtful_cell_but_one() -> None:
    probs = torch.full((2, 16), 0.99)
    probs[0, 8] = 0.5  # in the open group 0, 8
    probs[1, [0, 8]] = torch.tensor([0.5, 0.6])
    stats = Policy().stats(torch.stack([probs.log(), (1 - probs).log()], -1))
    found = Policy(budget=Threshold(), filter=Dilated()).select(stats, torch.ones(2, 16, dtype=torch.bool), 1, 8)
    assert [r.nonzero().flatten().tolist() for r in found] == [[0], [8]]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**20), block=st.sampled_from([4, 7, 16]), codebooks=st.sampled_from([1, 1, 2]),
    steps=st.integers(2, 6), share=st.sampled_from([0.4, 0.8, 1.0]), reach=st.sampled_from([2.0, 4.0, 8.0]),
    budget=st.sampled_from(["even_ceil", "threshold", "cosine", "entropy_bound", "quantile"]),
)  # fmt: skip
def test_a_gap_is_kept_or_cannot_be(
    seed: int, block: int, codebooks: int, steps: int, share: float, reach: float, budget: str
) -> None:
    m = block * codebooks
    policy = Policy(budget=BUDGETS[budget](), filter=MinGap(reach))
    masked = torch.rand(3, m, generator=torch.Generator().manual_seed(seed)) < share
    stats = random_stats(3, m, seed)
    _, allotted = policy.allocate(stats, masked, 1, steps)
    reveal = policy.select(stats, masked, 1, steps, codebooks=codebooks)
    limits = torch.cat([allotted.most_N1, allotted.least_N1], 1).tolist()
    for ranks, masks, cells, (most, least) in zip(
        allotted.rank_NM.tolist(), masked.tolist(), reveal.tolist(), limits, strict=True
    ):
        gap = max(2, int(sum(masks) * reach / m))
        ranked = sorted((c for c in range(m) if masks[c]), key=lambda c: ranks[c])
        taken = apart([c for c in ranked if cells[c]], gap, codebooks)
        assert least <= sum(cells) <= most
        if len(taken) < sum(
            cells
        ):  # the gap was given up: then for what had to be, and no masked cell would have kept it
            assert sum(cells) == least
            assert all(near(c, taken, gap, codebooks) for c in ranked)


def near(cell: int, taken: list[int], gap: int, codebooks: int) -> bool:
    return any(abs(cell // codebooks - t // codebooks) < gap for t in taken)


def apart(ranked: list[int], gap: int, codebooks: int) -> list[int]:
    """Cells in order, without those too near to an earlier one."""
    taken: list[int] = []
    for cell in ranked:
        if not near(cell, taken, gap, codebooks):
            taken.append(cell)
    return taken


def score_of(values: list[float]) -> Tensor:
    return torch.tensor([values])


def test_the_gap_goes_down_the_ranking() -> None:
    scores = score_of([5.0, 9.0, 8.0, 1.0, 7.0, 2.0, 3.0, 6.0])
    policy = Policy(score=lambda stats, moment: scores, filter=MinGap(2.0))
    found = policy.select(random_stats(1, 8), torch.ones(1, 8, dtype=torch.bool), 1, 3)  # 3 of 8, two apart
    assert found.nonzero()[:, 1].tolist() == [1, 4, 7]  # 2 is next to 1


def test_too_few_for_the_quota_are_made_up_by_the_best_of_the_skipped() -> None:
    scores = score_of([1.0, 3.0, 2.0])
    policy = Policy(score=lambda stats, moment: scores, filter=MinGap())
    found = policy.select(random_stats(1, 3), torch.ones(1, 3, dtype=torch.bool), 1, 2)
    assert found.tolist() == [[False, True, True]]


def test_a_threshold_under_a_gap_leaves_the_rest_for_later() -> None:
    """What passes the test is not a duty: neighbours wait, and no doubtful cell comes in for them."""
    probs = torch.tensor([[0.99, 0.98, 0.97, 0.6, 0.6, 0.6, 0.6, 0.6]])
    stats = Policy().stats(torch.stack([probs.log(), (1 - probs).log()], -1))
    found = Policy(budget=Threshold(), filter=MinGap(2.0)).select(stats, torch.ones(1, 8, dtype=torch.bool), 1, 9)
    assert found.nonzero()[:, 1].tolist() == [0, 2]


def test_the_gap_shrinks_as_the_block_fills() -> None:
    masked = torch.stack([torch.ones(16, dtype=torch.bool), torch.arange(16) < 12, torch.arange(16) < 3])
    view = View(random_stats(3, 16), masked, torch.zeros(3, 16), 1, 4)
    assert MinGap(4.0).gap_N1(view).flatten().tolist() == [4, 3, 2]


def test_a_prefix_has_no_hole() -> None:
    scores = score_of([5.0, 9.0, 1.0, 8.0, 7.0])
    masked = torch.tensor([[True, False, True, True, True]])
    policy = Policy(score=lambda stats, moment: scores, budget=Schedule(), filter=PrefixContiguous())
    found = policy.select(random_stats(1, 5), masked, 1, 2)  # two of the four
    assert found.nonzero()[:, 1].tolist() == [0, 2]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from(sorted(BUDGETS)))
def test_a_prefix_is_the_first_masked_cells(seed: int, budget: str) -> None:
    masked = torch.rand(2, 9, generator=torch.Generator().manual_seed(seed)) < 0.7
    reveal = build("max_prob", budget, "prefix_contiguous").select(random_stats(2, 9, seed), masked, 1, 3)
    for row, revealed in zip(masked, reveal, strict=True):
        cells = row.nonzero().flatten().tolist()
        assert revealed.nonzero().flatten().tolist() == cells[: int(revealed.sum())]


def test_dilated_groups_of_everything_are_the_published_order_whatever_the_score() -> None:
    assert rounds(Policy(score=left_to_right, budget=All(), filter=Dilated()), 16, 4) == DUS
    assert left_to_right(random_stats(1, 2), Moment(1, 1)).tolist() == [[0.0, -1.0]]
