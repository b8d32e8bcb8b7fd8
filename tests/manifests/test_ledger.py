"""The ledger: every utterance ends once, and the sums balance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.ledger import Outcome, fold

REASONS = st.sampled_from(["silent", "too_short", "not_audio"])
OUTCOMES = st.builds(Outcome, st.text(), st.just("written")) | st.builds(
    Outcome, st.text(), st.sampled_from(["filtered", "quarantined"]), REASONS, st.text()
)


@given(st.lists(OUTCOMES), st.integers(0, 9))
def test_what_was_planned_is_written_filtered_quarantined_or_pending(outcomes: list[Outcome], pending: int) -> None:
    ledger = fold(len(outcomes) + pending, outcomes)
    sums = ledger.to_json()
    assert sums["pending"] == ledger.pending == pending
    assert (
        sums["planned"]
        == sums["written"] + sum(sums["filtered"].values()) + sum(sums["quarantined"].values()) + pending
    )
    assert ledger.settled == (pending == 0)


@given(st.lists(OUTCOMES))
def test_each_is_counted_under_its_own_reason(outcomes: list[Outcome]) -> None:
    ledger = fold(len(outcomes), outcomes)
    for reason in ("silent", "too_short", "not_audio"):
        assert ledger.filtered.get(reason, 0) == sum((o.status, o.reason) == ("filtered", reason) for o in outcomes)
        assert ledger.quarantined.get(reason, 0) == sum(
            (o.status, o.reason) == ("quarantined", reason) for o in outcomes
        )


@given(st.lists(OUTCOMES), st.randoms())
def test_the_order_in_which_they_end_does_not_matter(outcomes: list[Outcome], random) -> None:
    turned = list(outcomes)
    random.shuffle(turned)
    assert fold(len(outcomes), outcomes).to_json() == fold(len(outcomes), turned).to_json()


@given(st.lists(OUTCOMES, min_size=1), st.data())
def test_more_ends_than_were_planned_are_refused(outcomes: list[Outcome], data: st.DataObject) -> None:
    with pytest.raises(ValueError, match="more utterances ended"):
        fold(data.draw(st.integers(0, len(outcomes) - 1)), outcomes)


@given(OUTCOMES)
def test_an_outcome_survives_json(outcome: Outcome) -> None:
    assert Outcome.from_json(outcome.to_json()) == outcome
