"""Policies as people write them: every part can be said, and what cannot be built is refused with what there is."""

from __future__ import annotations

import itertools
from inspect import signature
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.policies import PRESETS, build, policy_of, teaching_policy
from training.policies.budgets import BUDGETS, DecayingThreshold, EntropyBound, Threshold
from training.policies.filters import FILTERS, MinGap
from training.policies.policy import Policy
from training.policies.scores import NEEDS, SCORES, margin, pmi
from training.policies.written import ENDING

SPELLED = {
    "even": "max_prob+even_ceil+none", "cosine": "cosine+max_prob", "margin": "margin+none", "random": "random+none", "pmi": "pmi+even_ceil",
    "threshold": "threshold:0.9", "threshold_even": "threshold_even:0.95", "decaying": "decaying_threshold:0.9:0.3",
    "entropy": "neg_entropy+entropy_bound:0.5", "quantile": "pmi+quantile:0.5", "dilated": "all+dilated", "gap": "min_gap:4",
    "gap_threshold": "threshold:0.9+min_gap", "left_to_right": "left_to_right+none",
    "prefix": "left_to_right+confident_prefix+prefix_contiguous",
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n, p in PRESETS.items() if p == Policy(p.score, p.budget, p.filter)])
def test_every_preset_of_three_parts_can_be_spelled_out(name: str) -> None:
    assert policy_of(name) is PRESETS[name]
    assert policy_of(SPELLED[name]) == PRESETS[name]


def test_the_documentation_lists_every_part_with_its_numbers() -> None:
    told = (Path(__file__).parents[2] / "docs" / "talker.md").read_text(encoding="utf-8")
    for name, maker in {**dict.fromkeys(SCORES, None), **BUDGETS, **FILTERS}.items():
        assert "`" + ":".join([name, *(signature(maker).parameters if maker else ())]) + "`" in told, name


def test_ends_come_last_in_any_policy_that_says_so() -> None:
    assert policy_of("ending") is PRESETS["ending"] == policy_of("ending+max_prob")
    assert policy_of("pmi+ending+threshold:0.8") == Policy(pmi, Threshold(0.8), ends_last=True)


def test_no_part_has_the_name_of_another() -> None:
    names = [*SCORES, *BUDGETS, *FILTERS, *ENDING]
    assert len(set(names)) == len(names)


@given(st.sampled_from(sorted(SCORES)), st.sampled_from(sorted(BUDGETS)), st.sampled_from(sorted(FILTERS)))
def test_every_combination_can_be_written_in_any_order(score: str, budget: str, filter: str) -> None:
    written = {
        policy_of(order.join(parts))
        for parts in itertools.permutations((score, budget, filter))
        for order in ("+", " + ")
    }
    built = build(score, budget, filter)
    if budget == "shifted":  # parameters of a function: what is made is another one each time
        assert {(p.score, p.filter, p.budget.share(2, 5)) for p in written} == {
            (built.score, built.filter, built.budget.share(2, 5))
        }  # type: ignore[attr-defined]
    else:
        assert written == {built}


@given(st.floats(0.01, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 99.0))
def test_numbers_reach_their_parameters_by_place_or_by_name(tau: float, decay: float, reach: float) -> None:
    assert policy_of(f"pmi+threshold:{tau}+min_gap:{reach}") == Policy(pmi, Threshold(tau), MinGap(reach))
    assert policy_of(f"threshold:tau={tau}") == Policy(budget=Threshold(tau))
    both, last = f"decaying_threshold:{tau}:{decay}", f"decaying_threshold:decay={decay}"
    assert policy_of(both) == policy_of(f"decaying_threshold:decay={decay}:tau={tau}")
    assert policy_of(both).budget == DecayingThreshold(tau, decay)
    assert policy_of(f"margin+{last}") == Policy(margin, DecayingThreshold(decay=decay))
    assert policy_of(f"entropy_bound:{reach}").budget == EntropyBound(reach)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("evne", r"no policy 'evne'; there are cosine, .*even, .*; or join parts with \+, of scores: .*pmi.*; budgets: all, .*; filters: dil"),
        ("pmi+evne", r"policy 'pmi\+evne': no part 'evne'; there are scores: .*; budgets: .*even_ceil.*; filters: .*min_gap"),
        ("pmi+", "no part ''; there are"),
        ("", "no policy ''"),
        ("pmi+cosine+margin", r"policy 'pmi\+cosine\+margin': pmi and margin are both its score: leave one out"),
        ("ending+pmi+ending", "ending and ending are both its end: leave one out"),
        ("threshold:a", "threshold:a: 'a' is not a number"),
        ("threshold:nan", "'nan' is not a number"),
        ("threshold:0.5:0.5", r"threshold takes 1 number \(tau\), as in threshold:tau=0.5"),
        ("decaying_threshold:bound=1", r"takes 2 numbers \(tau, decay\)"),
        ("threshold:0.5:tau=0.5", "threshold takes tau once"),
        ("pmi:1", "pmi takes no numbers"),
        ("threshold:1.1", r"policy 'threshold:1.1': tau is a probability above 0, not 1.1"),
        ("confident_prefix:0", "tau is a probability above 0, not 0"),
        ("threshold_even:-1", "tau is a probability above 0, not -1"),
        ("decaying_threshold:0.9:1.5", "decay lies between 0 and 1, not at 1.5"),
        ("entropy_bound:-1", r"bound lies between 0 and 1e\+06, not at -1"),
        ("quantile:-1", "alpha lies between"),
        ("min_gap:1e9", "reach lies between"),
        ("shifted:0", "tau lies above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_in_a_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as found:
        policy_of(text)
    assert "\n" not in str(found.value)


def test_a_teacher_follows_whatever_needs_nothing_beside_the_model() -> None:
    for name, preset in PRESETS.items():
        if preset.score in NEEDS:
            with pytest.raises(
                ValueError, match=r"needs (a prior|random numbers), and a teacher has none: take another"
            ):
                teaching_policy(name)
        else:
            assert teaching_policy(name) == preset
    with pytest.raises(ValueError, match=r"policy 'pmi\+cosine' needs a prior"):
        teaching_policy("pmi+cosine")
    assert teaching_policy("margin+cosine") == policy_of("margin+cosine")
