"""Keys: any id becomes a name that WebDataset cannot split wrongly, and no two ids become the same one."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from manifests.keys import MAX_KEY, id_of, key_of

IDS = st.text(min_size=1, max_size=200)


@given(IDS)
def test_a_key_is_short_ascii_without_dots_slashes_or_blanks(utterance_id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_%~-]+", key_of(utterance_id))
    assert len(key_of(utterance_id)) <= MAX_KEY


@given(IDS)
def test_a_key_gives_its_id_back_or_says_that_it_is_a_hash(utterance_id: str) -> None:
    key = key_of(utterance_id)
    assert id_of(key) == (None if "~" in key else utterance_id)


@given(st.sets(IDS, min_size=2, max_size=2))
def test_different_ids_have_different_keys(ids: set[str]) -> None:
    one, other = ids
    assert key_of(one) != key_of(other)


def test_letters_digits_underscore_and_hyphen_stand_for_themselves() -> None:
    assert key_of("Spk-1_utt2") == "Spk-1_utt2"


def test_dots_slashes_tildes_and_percents_are_encoded() -> None:
    assert key_of("a.b/c~d%e") == "a%2Eb%2Fc%7Ed%25e"


def test_very_long_ids_differ_even_in_their_last_letter() -> None:
    keys = {key_of("x" * 9_999 + last) for last in "abc"} | {key_of("x" * 10_000)}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {MAX_KEY}


def test_an_id_that_looks_like_a_hashed_key_does_not_meet_it() -> None:
    hashed = key_of("x" * 500)
    assert key_of(hashed) != hashed


def test_case_is_kept() -> None:
    assert key_of("ABC") != key_of("abc")
