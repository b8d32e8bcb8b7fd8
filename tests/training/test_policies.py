"""Every reveal policy keeps the promises of a policy, whatever the model says."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.waiting import waits
from training.policies import PRESETS, Key, Policy, build, preset
from training.policies.budgets import BUDGETS, Schedule
from training.policies.filters import FILTERS, Dilated, MinGap
from training.policies.scores import SCORES, Moment
from training.policies.stats import Stats

CLASSES = 4
VALUES = (float("-inf"), 0.0, 0.0, 1.0, 9.0)  # logits that make ties, certainty, and classes that cannot be


def first_logit(stats: Stats, moment: Moment) -> Tensor:
    """A score that takes any value, -inf too."""
    return stats.logits_NMC[..., 0]


def built() -> dict[str, Policy]:
    """Every combination of registered parts, and the presets."""
    scores = {**SCORES, "any": first_logit}
    made = {
        f"{s} {b} {f}": replace(build(budget=b, filter=f), score=scores[s])
        for s, b, f in itertools.product(scores, BUDGETS, FILTERS)
    }
    return {**made, **PRESETS}


POLICIES = built()


class Case:
    """A batch of blocks with logits of each step; ``rows`` cuts it down."""

    def __init__(self, logits_KNMC: Tensor, masked_NM: Tensor, codebooks: int, utterance_N: Tensor) -> None:
        self.logits_KNMC, self.masked_NM, self.codebooks = logits_KNMC, masked_NM, codebooks
        self.key = Key(7, utterance_N, torch.arange(len(utterance_N)))
        self.prior_C = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()

    def row(self, i: int) -> Case:
        case = Case(self.logits_KNMC[:, i : i + 1], self.masked_NM[i : i + 1], self.codebooks, self.key.utterance_N)
        assert isinstance(self.key.block, Tensor)
        case.key = Key(7, self.key.utterance_N[i : i + 1], self.key.block[i : i + 1])
        return case

    def run(self, policy: Policy) -> Tensor:
        """``reveal_KNM`` of all steps."""
        masked_NM, reveals, steps = self.masked_NM, [], len(self.logits_KNMC)
        for step in range(1, steps + 1):
            stats = policy.stats(self.logits_KNMC[step - 1], step, self.key, self.prior_C)
            reveal_NM = policy.select(stats, masked_NM, step, steps, self.key, self.codebooks)
            reveals.append(reveal_NM)
            masked_NM = masked_NM & ~reveal_NM
        return torch.stack(reveals)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    codebooks = draw(st.sampled_from([1, 1, 1, 2, 3]))
    n, block, steps = draw(st.integers(1, 3)), draw(st.sampled_from([1, 4, 5, 16])), draw(st.integers(1, 6))
    m = block * codebooks
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    kind = draw(st.sampled_from(["ties", "smooth", "equal", "no first class"]))
    shape = (steps, n, m, CLASSES)
    if kind == "ties":
        logits = torch.tensor(VALUES)[torch.randint(len(VALUES), shape, generator=generator)]
        logits[..., 1] = 0.0  # one class is always possible
    else:
        logits = torch.randn(shape, generator=generator) * (0 if kind == "equal" else 3)
    if kind == "no first class":
        logits[..., 0] = float("-inf")
    masked_NM = torch.rand((n, m), generator=generator) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    return Case(logits, masked_NM, codebooks, torch.randint(2**62, (n,), generator=generator))


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from(sorted(POLICIES)))
def test_masks_alone_are_revealed_at_least_one_a_step_and_all_by_the_last(case: Case, name: str) -> None:
    left_NM = case.masked_NM
    for reveal_NM in case.run(POLICIES[name]):
        assert not (reveal_NM & ~left_NM).any(), "revealed what was not masked"
        assert (reveal_NM.any(1) == left_NM.any(1)).all(), "a row that is not finished reveals at least one"
        left_NM = left_NM & ~reveal_NM
    assert not left_NM.any()


@settings(max_examples=80, deadline=None)
@given(cases(), st.sampled_from(sorted(POLICIES)), st.floats(0, 1.5))
def test_a_row_alone_is_a_row_in_a_batch(case: Case, name: str, temperature: float) -> None:
    policy = replace(POLICIES[name], temperature=temperature, top_p=0.9)
    together_KNM = case.run(policy)
    for i in range(len(case.masked_NM)):
        assert torch.equal(case.row(i).run(policy)[:, 0], together_KNM[:, i])


def test_every_combination_reveals_every_cell_of_a_block_once() -> None:
    logits = torch.randn((2, 2, 8, CLASSES), generator=torch.Generator().manual_seed(1)) * 3
    case = Case(logits, torch.ones(2, 8, dtype=torch.bool), 1, torch.tensor([5, 6]))
    for name, policy in POLICIES.items():
        assert (case.run(policy).sum(0) == 1).all(), name


@settings(max_examples=50, deadline=None)
@given(cases(), st.sampled_from(["none", "min_gap", "prefix_contiguous"]), st.sampled_from(sorted(SCORES)))
def test_the_even_quota_is_met_exactly_under_every_filter_that_keeps_counts(
    case: Case, filter: str, score: str
) -> None:
    left_NM, steps = case.masked_NM, len(case.logits_KNMC)
    for j, reveal_NM in enumerate(case.run(build(score, "even_ceil", filter)), start=1):
        quota_N = torch.tensor([-(-int(r) // (steps - j + 1)) for r in left_NM.sum(1)])
        assert torch.equal(reveal_NM.sum(1), quota_N)
        left_NM = left_NM & ~reveal_NM


@settings(max_examples=50, deadline=None)
@given(cases(), st.sampled_from(["any", *sorted(SCORES)]))
def test_the_best_are_revealed_first_and_ties_go_to_the_lower_position(case: Case, score: str) -> None:
    policy = POLICIES[f"{score} even_ceil none"]
    stats = policy.stats(case.logits_KNMC[0], 1, case.key, case.prior_C)
    score_NM = policy.score(stats, Moment(1, 3, case.key))
    reveal_NM = policy.select(stats, case.masked_NM, 1, 3, case.key, case.codebooks)
    for values, masked, reveal in zip(score_NM.tolist(), case.masked_NM.tolist(), reveal_NM.tolist(), strict=True):
        order = sorted((i for i, m in enumerate(masked) if m), key=lambda i: (-values[i], i))
        assert sorted(order[: sum(reveal)]) == [i for i, r in enumerate(reveal) if r]


def test_teacher_and_decoder_see_the_same_allotment() -> None:
    """``select`` is ``allocate`` and a filter, and nothing else."""
    policy = preset("even")
    stats, masked_NM = policy.stats(torch.randn(3, 16, CLASSES)), torch.rand(3, 16) < 0.7
    view, allotted = policy.allocate(stats, masked_NM, 2, 5)
    assert torch.equal(policy.filter(view, allotted, 1), policy.select(stats, masked_NM, 2, 5))


def test_scores_are_float32_whatever_the_model_computes_in() -> None:
    for name, score in SCORES.items():
        policy = Policy(score=score)
        key = Key(0, torch.tensor([1, 2]))
        stats = policy.stats(torch.randn(2, 3, CLASSES, dtype=torch.bfloat16), 1, key, torch.zeros(CLASSES))
        assert score(stats, Moment(1, 2, key)).dtype == torch.float32, name


def test_scores_say_what_their_names_say() -> None:
    probs = torch.tensor([[[0.7, 0.2, 0.1], [0.5, 0.5, 0.0], [0.1, 0.1, 0.8]]])
    prior = torch.tensor([0.7, 0.2, 0.1]).log()
    stats = Policy().stats(probs.log(), prior=prior)
    expected: dict[str, list[float]] = {
        "max_prob": [0.7, 0.5, 0.8],
        "margin": [0.5, 0.0, 0.7],
        "neg_entropy": [(p * p.log())[p > 0].sum().item() for p in probs[0]],
        "pmi": [1.0, 0.5 / 0.7, 8.0],
        "sampled": [0.7, 0.5, 0.8],
        "left_to_right": [0.0, -1.0, -2.0],
    }
    for name, values in expected.items():
        found = SCORES[name](stats, Moment(1, 4))
        found = found.exp() if name in ("max_prob", "pmi", "sampled") else found
        assert torch.allclose(found, torch.tensor([values]), atol=1e-6), name


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nothing_waits_for_the_device(temperature: float) -> None:
    case = Case(torch.randn((2, 2, 6, CLASSES)), torch.rand(2, 6) < 0.8, 2, torch.tensor([5, 6]))
    parts = [
        *(build(score=s) for s in SCORES),
        *(build(budget=b) for b in BUDGETS),
        *(build(filter=f) for f in FILTERS),
    ]
    for name, policy in {**dict(enumerate(parts)), **PRESETS}.items():
        assert waits(lambda p=policy: case.run(replace(p, temperature=temperature, top_p=0.8))) == [], name


def test_waiting_would_be_seen() -> None:
    x = torch.tensor([1.0, 2.0])
    actions: list[Callable[[], Any]] = [
        lambda: bool(x.sum() > 0), lambda: x[x > 1], lambda: x.tolist(), lambda: x.sum().item(), lambda: x.nonzero(),
        lambda: int(x.sum()), lambda: torch.where(x > 1), lambda: x.masked_select(x > 1), lambda: torch.equal(x, x),
    ]  # fmt: skip
    assert all(waits(action) for action in actions)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nothing_waits_for_a_gpu_and_it_chooses_as_a_cpu_does() -> None:
    logits = torch.randn((4, 2, 12, CLASSES)).round()
    case = Case(logits, torch.rand(2, 12) < 0.8, 2, torch.tensor([5, 6]))
    there = Case(logits.cuda(), case.masked_NM.cuda(), 2, torch.tensor([5, 6]).cuda())
    there.key, there.prior_C = Key(7, there.key.utterance_N, torch.arange(2, device="cuda")), case.prior_C.cuda()
    for name in ("left_to_right", "random", "threshold", "dilated", "gap", "even", "pmi", "quantile", "entropy"):
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = there.run(PRESETS[name])
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(found.cpu(), case.run(PRESETS[name])), name


def test_what_is_not_registered_is_refused_with_what_is() -> None:
    with pytest.raises(ValueError, match=r"no policy 'evne'; there are cosine, .* even, "):
        preset("evne")
    with pytest.raises(ValueError, match="no budget 'some'; there are all, "):
        build(budget="some")
    with pytest.raises(ValueError, match="no score 'luck'"):
        build(score="luck")
    with pytest.raises(ValueError, match="no filter 'coffee'"):
        build(filter="coffee")


def test_a_policy_without_what_it_needs_is_refused() -> None:
    logits, masked_NM = torch.zeros(1, 4, CLASSES), torch.ones(1, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="prior"):
        preset("pmi").select(preset("pmi").stats(logits), masked_NM, 1, 2)
    with pytest.raises(ValueError, match="key"):
        preset("random").select(preset("random").stats(logits), masked_NM, 1, 2)
    with pytest.raises(ValueError, match="count from 1"):
        preset("even").select(preset("even").stats(logits), masked_NM, 0, 2)


def test_options_reach_the_parts() -> None:
    policy = build(
        "margin", "threshold", "min_gap", {"budget": {"tau": 0.6}, "filter": {"reach": 8.0}}, temperature=0.5
    )
    assert policy == replace(
        Policy(SCORES["margin"], filter=MinGap(8.0), temperature=0.5), budget=BUDGETS["threshold"](tau=0.6)
    )
    assert preset("even", filter=Dilated()) == Policy(budget=Schedule(), filter=Dilated())
