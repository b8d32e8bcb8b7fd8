"""Splits: a function of the speaker, so that no one is heard in two."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.splits import SplitSettings, split_of
from manifests.utterance import Utterance

SHARES = st.floats(0, 0.5, allow_nan=False)


@given(st.text(min_size=1), st.lists(st.text(), min_size=2, max_size=6), SHARES, SHARES, st.integers(0, 9))
def test_no_speaker_stands_in_two_splits(speaker: str, ids: list[str], dev: float, test: float, seed: int) -> None:
    settings = SplitSettings(by="speaker", dev=dev, test=test, seed=seed)
    splits = {split_of(Utterance(i, speaker=speaker, recording=f"rec {i}", split="dev"), settings) for i in ids}
    assert len(splits) == 1
    assert splits <= {"train", "dev", "test"}


@pytest.mark.parametrize("by", ["recording", "corpus", "speaker"])
def test_without_a_speaker_the_recording_decides(by: Literal["recording", "corpus", "speaker"]) -> None:
    settings = SplitSettings(by=by, dev=0.3, test=0.3)
    parts = {r: {split_of(Utterance(f"{r}-{n}", recording=f"r{r}"), settings) for n in range(5)} for r in range(50)}
    assert all(len(splits) == 1 for splits in parts.values())
    assert len(set.union(*parts.values())) == 3


def test_the_shares_are_about_those_asked_for() -> None:
    settings = SplitSettings(by="speaker", dev=0.1, test=0.2)
    count = Counter(split_of(Utterance("u", speaker=f"sp{n}"), settings) for n in range(10_000))
    assert count["dev"] == pytest.approx(1000, abs=120)
    assert count["test"] == pytest.approx(2000, abs=160)


def test_the_corpus_decides_where_it_states_a_split_and_is_asked() -> None:
    said = Utterance("u", speaker="a", split="validation")
    assert split_of(said, SplitSettings(by="corpus")) == "validation"
    assert split_of(said, SplitSettings(by="speaker")) != "validation"


def test_another_seed_draws_other_speakers() -> None:
    drawn = [
        {n for n in range(500) if split_of(Utterance("u", speaker=f"{n}"), SplitSettings(seed=s)) != "train"}
        for s in (0, 1)
    ]
    assert drawn[0] != drawn[1]


def test_a_speaker_and_a_recording_of_one_name_are_drawn_apart() -> None:
    settings = SplitSettings(by="speaker", dev=0.5, test=0.5)
    names = [str(n) for n in range(100)]
    assert [split_of(Utterance("u", speaker=n), settings) for n in names] != [
        split_of(Utterance(n), settings) for n in names
    ]


def test_larger_shares_only_add_to_test() -> None:
    def tested(share: float) -> set[int]:
        settings = SplitSettings(by="speaker", dev=0.0, test=share)
        return {n for n in range(300) if split_of(Utterance("u", speaker=f"{n}"), settings) == "test"}

    assert tested(0.0) == set()
    assert tested(0.1) < tested(0.3)
