"""Texts made comparable: Whisper's own normalisers, errors by words and characters, words that repeat themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.recognisers.base import Transcript, compression
from tokenization.recognisers.normalise import difference, language_code, normaliser, plain, repeats

WRITTEN = [
    "Mr. O'Brien can't pay £20 million, he'd said", "The colour of twenty-first century theatres (laughs)",
    "um, in nineteen ninety nine we were fifty-five", "ROME AS IS WELL KNOWN", "$3.50 for 2nd-hand books…",
]  # fmt: skip
word_lists = st.lists(st.sampled_from("abc"), max_size=24)


def test_english_is_written_one_way() -> None:
    english = normaliser("auto", "en")
    assert english("Twenty-five colours, can't you?") == english("25 colors can not you")
    assert normaliser("basic", "en")("Twenty-five!") == "twenty five "


@pytest.mark.parametrize("text", WRITTEN)
def test_it_is_what_openais_package_makes_of_it(text: str) -> None:
    normalizers = pytest.importorskip("whisper.normalizers")
    assert normaliser("english", None)(text) == normalizers.EnglishTextNormalizer()(text)
    assert normaliser("basic", "de")(text) == normalizers.BasicTextNormalizer()(text)


def test_without_a_language_nothing_english_is_done() -> None:
    assert normaliser("auto", None)("can't") == normaliser("basic", None)("can't")


def test_plain_words_have_no_case_and_no_punctuation_and_keep_their_apostrophes() -> None:
    assert plain("Okay, I’ve set it -- for 7 o'clock!") == "okay i've set it for 7 o'clock"
    assert plain("'twenty-one' …") == "twenty one"


def test_languages_without_spaces_are_compared_sign_by_sign() -> None:
    signs = normaliser("auto", "zh")
    found = difference(signs("今天天气很好。"), signs("今天天氣很好"))
    assert found.wer == pytest.approx(1 / 6, abs=1e-4)


@pytest.mark.parametrize(
    ("language", "said", "heard", "cer"),
    [
        ("zh", "今天天气很好。", "今天天汽很坏", 2 / 6),
        ("ja", "明日は雨が降る。", "明日は雪が振る", 2 / 7),
        ("th", "มากกวา", "มากขวก", 2 / 6),
        ("de", "das ist gut", "das ist rot", 2 / 11),
        ("en", "this is good", "this is wood", 1 / 12),
        ("ko", "비가 온다", "비가 간다", 1 / 5),
    ],
)
def test_spaces_are_characters_only_where_a_language_writes_them(
    language: str, said: str, heard: str, cer: float
) -> None:
    signs = normaliser("auto", language)
    assert difference(signs(said), signs(heard), language).cer == pytest.approx(cer, abs=1e-4)


@pytest.mark.parametrize(
    ("said", "heard", "wer", "cer"),
    [
        ("a b c d", "a b c d", 0, 0),
        ("now with red light", "now with red night", 0.25, 0.0556),
        ("one two", "", 1, 1),
        ("", "one two", 2, 7),
        ("", "", 0, 0),
    ],
)
def test_errors_over_what_was_said(said: str, heard: str, wer: float, cer: float) -> None:
    found = difference(said, heard)
    assert (found.wer, found.cer) == (wer, cer)


@given(word_lists, word_lists)
def test_a_text_differs_from_itself_by_nothing_and_from_others_by_no_less(one: list[str], other: list[str]) -> None:
    assert difference(" ".join(one), " ".join(one)).wer == 0
    found = difference(" ".join(one), " ".join(other))
    assert found.wer >= 0
    assert (found.wer == 0) == (one == other)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", (0, "")),
        ("a b c", (1, "a")),
        ("no no no", (3, "no")),
        ("so thank you thank you thank you all", (3, "thank you")),
        ("la " * 7, (7, "la")),
    ],
)
def test_repeated_words_are_counted(text: str, found: tuple[int, str]) -> None:
    assert repeats(text.split()) == found


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True),
    st.integers(2, 6),
    st.sampled_from(["", "x"]),
)
def test_whatever_stands_in_a_row_is_found(loop: list[str], times: int, rest: str) -> None:
    count, words = repeats([*rest, *(loop * times), *rest])
    assert count == times
    assert sorted(words.split()) == sorted(loop)


@pytest.mark.parametrize(
    ("said", "code"),
    [("en", "en"), ("en-US", "en"), ("zh_CN", "zh"), ("cmn", "zh"), ("English", "en"), ("German ", "de"), (None, None), ("", None),
     ("klingon", None), ("x1", None)],
)  # fmt: skip
def test_languages_go_by_two_letters(said: str | None, code: str | None) -> None:
    assert language_code(said) == code


floats = st.none() | st.floats(-5, 5).map(lambda x: round(x, 4))


@given(st.builds(Transcript, st.text(), st.none() | st.just("en"), floats, floats, floats, floats, floats))
def test_a_transcript_is_kept_as_json(transcript: Transcript) -> None:
    assert Transcript.from_json(transcript.to_json()) == transcript


def test_compression_is_high_where_a_text_repeats_itself() -> None:
    assert compression("") == 0
    assert compression("the quick brown fox") < 1
    assert compression("thank you very much " * 12) > 2.4
