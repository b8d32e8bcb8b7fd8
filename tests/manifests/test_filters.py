"""Filter rules: what an expression may say, what it says of an utterance, and that it never does anything else."""

from __future__ import annotations

import contextlib
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.filters.columns import COLUMNS, need_sound, scores_of
from manifests.filters.grammar import FUNCTIONS, MAX_CHARACTERS, Refused, columns, parsed
from manifests.filters.rule import CALLED, Rule


def holds(text: str, /, **values: object) -> bool:
    return Rule("r", text).holds(values)


@pytest.mark.parametrize(
    ("text", "values", "true"),
    [
        ("snr_db < 10", {"snr_db": 7.3}, True),
        ("snr_db < 10", {"snr_db": 10}, False),
        ("characters_per_second > 25 and seconds > 2", {"characters_per_second": 30.0, "seconds": 1.0}, False),
        ('language not in ("en", "de")', {"language": "fr"}, True),
        ('language not in ("en", "de")', {"language": "de"}, False),
        ("0 < seconds <= 2", {"seconds": 2}, True),
        ("0 < seconds <= 2", {"seconds": 3}, False),
        ('"laugh" in lower(text)', {"text": "[LAUGHTER] yes"}, True),
        ("words(text) / seconds < 0.5", {"text": "a b", "seconds": 5.0}, True),
        ("len(text) % 2 == 1", {"text": "abc"}, True),
        ("max(seconds, 3) == 3", {"seconds": 1.5}, True),
        ("channels in (1, 2)", {"channels": 2}, True),
        ("not (clipped > 0.1 or silence > 0.5)", {"clipped": 0.0, "silence": 0.0}, True),
        ("-loudness_db > 40", {"loudness_db": -45.5}, True),
        ("speaker is None", {"speaker": None}, True),
        ("speaker is not None", {}, False),
        ("query_snr_db < 10", {"query_snr_db": 3.0, "snr_db": 50.0}, True),
    ],
)
def test_a_rule_holds_where_its_expression_is_true(text: str, values: dict, true: bool) -> None:
    assert holds(text, **values) is true


@pytest.mark.parametrize(
    "text",
    ["snr_db < 10", "snr_db >= 10", "not snr_db < 10", 'language not in ("en",)', 'language in ("en",)', "snr_db + 1 > 0",
     "seconds / (seconds - seconds) > 1", 'lower(text) == "x"', "extra.rating < 3", "extra.tags == 3"],
)  # fmt: skip
def test_what_is_not_known_of_an_utterance_never_filters_it(text: str) -> None:
    assert not holds(text)
    assert not holds(text, snr_db=None, language=None, text=None, seconds=1.0, **{"extra.tags": ["a"]})


def test_unknown_parts_do_not_stand_in_the_way_of_what_is_known() -> None:
    assert holds("snr_db < 10 or seconds > 5", seconds=6.0)
    assert not holds("snr_db < 10 or seconds > 5", seconds=4.0)
    assert not holds("snr_db < 10 and seconds > 5", seconds=6.0)
    assert holds("not (snr_db < 10 and seconds > 5)", seconds=4.0)


@given(st.sampled_from([True, False, None]), st.sampled_from([True, False, None]))
def test_and_and_or_are_those_of_three_valued_logic(a: bool | None, b: bool | None) -> None:
    values = {"extra.a": a, "extra.b": b}
    assert Rule("r", "extra.a and extra.b").holds(values) == (a is True and b is True)
    assert Rule("r", "extra.a or extra.b").holds(values) == (a is True or b is True)
    assert Rule("r", "not (extra.a and extra.b)").holds(values) == (a is False or b is False)
    assert Rule("r", "not (extra.a or extra.b)").holds(values) == (a is False and b is False)


def test_a_field_of_the_corpus_is_a_number_where_it_reads_as_one() -> None:
    assert holds("extra.snr < 10", **{"extra.snr": "7.5"})
    assert holds("extra.snr < 10", **{"extra.snr": 7})
    assert holds('extra.accent == "us"', **{"extra.accent": "us"})
    assert holds('"noisy" in extra.tags', **{"extra.tags": ["noisy", "short"]})
    assert not holds("extra.snr < 10", **{"extra.snr": "low"})
    assert not holds("extra.snr < 10", **{"extra.snr": "nan"})


def test_the_sentence_shows_the_expression_with_its_numbers() -> None:
    rule = Rule("fast", "characters_per_second > 25 and seconds > 2")
    assert rule.sentence({"characters_per_second": 31.25, "seconds": 4.0, "snr_db": 3.0}) == (
        "characters_per_second > 25 and seconds > 2: characters_per_second is 31.25, seconds is 4"
    )
    assert Rule("r", "speaker is None").sentence({}) == "speaker is None: nothing of it is known"
    assert len(Rule("r", "len(text) > 3").sentence({"text": "x" * 10_000})) < 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("snr < 10", "did you mean snr_db?"),
        ("rating < 3", "a field of the corpus is written extra.rating"),
        ("lenn(text) > 3", "did you mean len?"),
        ("seconds <", "not an expression"),
        ("seconds", "a rule says yes or no"),
        ("1 < 2", "names no column"),
        ("text < 10", "text is a text and cannot be compared with 10, a number"),
        ("language == None", "write `is None`"),
        ('language is "en"', "whether a column is there"),
        ("len(seconds) > 1", "where a text is needed"),
        ("len(text, 2) > 1", "len takes 1 value"),
        ('language in ("en", 3)', "texts alone, or numbers alone"),
        ("seconds in (text, 3)", "texts alone, or numbers alone"),
        ('seconds in ("en", "de")', "never holds one"),
        ("seconds < 1e400", "a number is at most"),
        ("(seconds < 1) > (seconds < 2)", "have no order"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_what_to_write_instead(text: str, said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        parsed(text)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9 > seconds", '"a" * 999999999 == text', "seconds << 99 > 1", "__import__('os').system('true') == 0",
        "text.__class__ is None", "extra.__class__ is None", "[x for x in text] is None", "(lambda: seconds)() > 1", "text[0] == 'a'",
        "f'{text}' == 'a'", "seconds if seconds else 1", "(seconds := 3) > 1", "text == b'a'", "seconds < 2j", "exec('1') > seconds",
        "seconds > 1; import os", "...", "min(*text) > 1", "len(text=3) > 1", "-" * 400 + "seconds > 1", "(" * 300, "text @ text",
        "seconds > 1 " + "or seconds > 1 " * 60, "\0", "len > 1", "extra > 1",
    ],
)  # fmt: skip
def test_there_is_nothing_in_it_to_escape_by_or_to_make_large(text: str) -> None:
    with pytest.raises(Refused):
        parsed(text)


NAMES = st.sampled_from([*COLUMNS, "extra.a", "extra.b", "1", "2.5", '"en"', "None", '("a", "b")', "(1, 2)", "True"])
OPERATORS = st.sampled_from(["<", ">=", "==", "!=", "in", "not in", "is", "and", "or", "+", "-", "*", "/", "%"])
EXPRESSIONS = st.recursive(
    NAMES, lambda inner: st.one_of(
        st.tuples(inner, OPERATORS, inner).map(lambda parts: "({} {} {})".format(*parts)),
        inner.map(lambda e: f"(not {e})"), st.tuples(st.sampled_from([*FUNCTIONS]), inner).map(lambda p: f"{p[0]}({p[1]})"),
    ), max_leaves=8,
)  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.text(max_size=2), max_size=2)
)


@given(EXPRESSIONS, st.data())
def test_whatever_passes_the_check_says_yes_or_no_of_any_utterance(text: str, data: st.DataObject) -> None:
    try:
        tree = parsed(text)
    except Refused:
        return
    values = {
        name: data.draw(VALUES if name.startswith("extra") else NUMBERS if COLUMNS[name].kind == "number" else TEXTS)
        for name in columns(tree)
    }
    rule = Rule("r", text)
    assert rule.holds(values) in (True, False)
    assert text in rule.sentence(values)


NUMBERS, TEXTS = st.one_of(st.none(), st.floats(), st.integers()), st.one_of(st.none(), st.text(max_size=5))


@given(st.text(max_size=MAX_CHARACTERS + 10))
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        assert any(columns(parsed(text)))


@pytest.mark.parametrize(
    ("text", "value", "true"),
    [
        ('extra.v in ("1", "2")', 1, True),
        ('extra.v not in ("1", "2")', 1, False),
        ('extra.v not in ("1", "2")', 3, True),
        ("extra.v in (1, 2)", "2", True),
        ("extra.v not in (1, 2)", "2.0", False),
        ('extra.v not in ("us", "uk")', 1, False),
        ("1 in extra.v", ["1", "2"], True),
        ('"1" in extra.v', [1, 2], True),
        ('"noisy" not in extra.v', [], True),
        ('"noisy" not in extra.v', ["short"], True),
        ('"noisy" not in extra.v', ["short", None], False),
    ],
)
def test_in_brings_numbers_and_texts_together_as_equality_does(text: str, value: object, true: bool) -> None:
    assert holds(text, **{"extra.v": value}) is true


MEMBERS = st.one_of(
    st.tuples(*[st.sampled_from(['"1"', '"2.0"', '"us"', '""', '"nan"'])] * 2),
    st.tuples(*[st.sampled_from(["1", "2.0", "-3"])] * 2),
)
SOUGHT = st.one_of(VALUES, st.sampled_from([1, 2.0, -3, "1", "1.0", "2", "us", "-3", "nan", True]))


@given(MEMBERS, SOUGHT)
def test_to_be_in_a_list_is_to_equal_one_of_it(listed: tuple[str, str], value: object) -> None:
    found, values = f"extra.v in ({', '.join(listed)})", {"extra.v": value}
    equal = " or ".join(f"extra.v == {one}" for one in listed)
    assert holds(found, **values) == holds(equal, **values)
    assert holds(found.replace(" in ", " not in "), **values) == holds(f"not ({equal})", **values)


@given(SOUGHT, SOUGHT, SOUGHT)
def test_so_it_is_for_a_list_that_the_corpus_gives(value: object, one: object, other: object) -> None:
    values = {"extra.v": value, "extra.list": [one, other], "extra.one": one, "extra.other": other}
    assert holds("extra.v in extra.list", **values) == holds("extra.v == extra.one or extra.v == extra.other", **values)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('extra.v in ("1", "2")', 2), ("seconds < 1 or 1 not in extra.v", 2), ('language not in ("en", "de")', 1),
        ("channels in (1, 2)", 1), ('"a" in text and extra.v == 1', 1), ('extra.v in "abc"', 1),
    ],
)  # fmt: skip
def test_a_rule_of_another_version_is_one_that_may_hold_for_others_than_before(text: str, version: int) -> None:
    assert Rule("r", text).version == version


def test_a_rule_travels_to_workers() -> None:
    rule = Rule("noisy", "snr_db < 10 and seconds > 1")
    assert rule.columns == ("snr_db", "seconds")
    assert pickle.loads(pickle.dumps(rule)).holds({"snr_db": 3.0, "seconds": 2.0})


def test_columns_say_what_they_need() -> None:
    assert scores_of(["snr_db", "dnsmos_sig", "query_dnsmos_bak", "seconds", "extra.x"]) == {"snr_db", "dnsmos"}
    assert need_sound(["language", "seconds"])
    assert not need_sound(["language", "text", "split", "extra.rating", "query_text"])
    assert FUNCTIONS.keys() == CALLED.keys()
