"""The rules that texts are held to: what is filtered, with which score in its reason, and what two opinions that agree outweigh."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.recipe import Recipe, parse
from manifests.settings.transcribe import VerifyTextSettings
from manifests.utterance import AudioRef, Header, Query, Utterance, from_cut, to_cut
from pipelines.stages.hearing import ended
from pipelines.stages.s40_clean import REASONS
from pipelines.stages.s45_verify_text import Said, judge, said
from tokenization.recognisers.base import Transcript, compression

USUAL = VerifyTextSettings()
CLEAR = {"avg_logprob": -0.2, "no_speech": 0.01}


def heard(text: str, language: str | None = "en", probability: float = 0.99, **figures: Any) -> Transcript:
    return Transcript(text, language, probability, **{**CLEAR, "compression": compression(text), **figures})


def verdict(
    text: str | None, transcript: Transcript, seconds: float = 3.0, language: str | None = "en", **rules: Any
) -> str | None:
    dropped = judge(Said(text, language, transcript, seconds, None, USUAL.model_copy(update=rules)))
    if dropped is None:
        return None
    assert dropped.reason in REASONS
    assert dropped.status == "filtered"
    assert "\n" not in dropped.detail
    return f"{dropped.reason}: {dropped.detail}"


def test_a_text_that_is_heard_passes_whatever_its_spelling() -> None:
    assert verdict("The colour is twenty-five, isn't it?", heard("the color is 25 isn't it")) is None


def test_another_text_is_filtered_with_score_limit_and_what_was_heard() -> None:
    assert (
        verdict("open the door", heard("close that window"))
        == "text_mismatch: WER 1.00 over 0.3: heard 'close that window'"
    )
    assert verdict("open the door", heard("close the door"), max_wer=0.5) is None
    assert (verdict("abcdef", heard("abcxyz"), max_wer=None, max_cer=0.4) or "").startswith(
        "text_mismatch: CER 0.50 over 0.4"
    )


def test_of_chinese_the_signs_alone_are_counted() -> None:
    found = verdict("今天天气很好", heard("今天天汽很坏", "zh"), language="zh", max_wer=None, max_cer=0.2)
    assert (found or "").startswith("text_mismatch: CER 0.33 over 0.2")


def test_a_long_text_is_quoted_short() -> None:
    found = verdict(
        "hello there",
        heard("so they went on and on through the woods until nobody could tell where they had come from"),
    )
    assert found is not None
    assert found.endswith("…'")
    assert len(found) < 120


def test_a_text_of_which_nothing_is_heard_does_not_match_and_nothing_at_all_is_no_text() -> None:
    assert (verdict("hello", heard("")) or "").startswith("text_mismatch: WER 1.00")
    assert (verdict(None, heard("...")) or "").startswith("heard_nothing: no words are heard in 3.00 s")
    assert (verdict(" ", heard("")) or "").startswith("heard_nothing")


@pytest.mark.parametrize("text", [None, "something else entirely"])
@pytest.mark.parametrize(
    ("transcript", "reason"),
    [
        (heard("thank you very much " * 12), "heard_loop: compression ratio 7.7"),
        (heard("no no no no no no no"), "heard_loop: 'no' is heard 7 times in a row, over 5"),
        (
            heard("you", no_speech=0.97, avg_logprob=-1.3),
            "heard_no_speech: no-speech probability 0.97 over 0.6: heard 'you'",
        ),
        (heard("a guess", avg_logprob=-1.8), "heard_unlikely: mean log probability -1.80 under -1"),
        (heard("far more than anybody says in a moment of time"), "heard_too_fast: 74 characters a second over 40"),
    ],
)
def test_what_the_recogniser_invents_has_a_reason_of_its_own(
    text: str | None, transcript: Transcript, reason: str
) -> None:
    assert (verdict(text, transcript, seconds=0.5 if "fast" in reason else 3.0) or "").startswith(reason)


def test_where_corpus_and_recogniser_agree_there_is_nothing_to_doubt() -> None:
    shy = heard("no no no no no no no", avg_logprob=-2.0, no_speech=0.9)
    assert verdict("No, no, no, no, no, no, no!", shy) is None
    assert verdict("No, no, no, no, no, no, no!", shy, max_wer=None) is not None, "not compared, they cannot agree"


def test_no_speech_needs_an_unlikely_text_too() -> None:
    assert verdict(None, heard("yes", no_speech=0.9, avg_logprob=-0.1)) is None


def test_another_language_than_the_corpus_says_is_filtered_where_it_is_heard_for_sure() -> None:
    german = heard("wo ist der bahnhof", "de", 0.93)
    found = verdict("wo ist der bahnhof", german, language="en-GB")
    assert found == "wrong_language: the corpus says en-GB, de is heard (p = 0.93)"
    assert verdict("wo ist der bahnhof", german, language="German") is None
    assert verdict("wo ist der bahnhof", replace(german, probability=0.4), language="en") is None
    assert verdict("wo ist der bahnhof", german, language=None) is None
    assert (
        judge(Said("wo ist der bahnhof", "en", german, 3.0, None, USUAL.model_copy(update={"language": False}))) is None
    )


@given(
    st.sampled_from(
        ["max_wer", "max_compression_ratio", "max_repeats", "min_avg_logprob", "max_no_speech", "max_chars_per_second"]
    )
)
def test_null_switches_a_rule_off(rule: str) -> None:
    cases = {
        "max_wer": ("other", heard("words"), 3.0), "max_compression_ratio": (None, heard("ab cd ef gh ij kl " * 5), 9.0),
        "max_repeats": (None, heard("no no no no no no"), 3.0), "min_avg_logprob": (None, heard("hm", avg_logprob=-3.0), 3.0),
        "max_no_speech": (None, heard("hm", no_speech=0.9, avg_logprob=-3.0), 3.0), "max_chars_per_second": (None, heard("words"), 0.01),
    }  # fmt: skip
    text, transcript, seconds = cases[rule]
    reason = (verdict(text, transcript, seconds) or "").partition(":")[0]
    assert reason
    assert (verdict(text, transcript, seconds, **{rule: None}) or "").partition(":")[0] != reason


# What becomes of a cut


def asked(**rules: Any) -> Recipe:
    blocks: dict[str, Any] = {"verify_text": rules} if rules else {}
    return parse({"corpus": {"layout": "table", "root": "."}, "transcribe": {"use": "both"}, **blocks})


def cut_of(text: str | None, query: str | None = None) -> dict[str, Any]:
    sound = AudioRef("a.wav")
    u = Utterance("u", sound, text=text, language="en", query=Query(query, audio=sound) if query is not None else None)
    return to_cut(u, Header(frames=16_000))


def entry(**sides: str) -> dict[str, Any]:
    return {"id": "u", **{side: {**heard(text).to_json(), "seconds": 2.0} for side, text in sides.items()}}


def test_what_is_heard_becomes_the_text_of_what_has_none() -> None:
    u = from_cut(said(cut_of(None, " "), entry(response="hello", query="who is it"), asked(), "en"))
    assert (u.text, u.query.text if u.query else None, u.ended) == ("hello", "who is it", None)
    assert u.heard["response"]["is_text"] is True


def test_a_text_of_the_corpus_stays_and_its_scores_go_along() -> None:
    u = from_cut(said(cut_of("hello you"), entry(response="hello"), asked(max_wer=0.6), "en"))
    assert u.text == "hello you"
    assert (u.heard["response"]["wer"], u.heard["response"]["text"]) == (0.5, "hello")
    assert "is_text" not in u.heard["response"]


def test_a_querys_reasons_begin_with_its_name() -> None:
    cut = said(cut_of("hello", "open the door"), entry(response="hello", query="sing a song"), asked(max_wer=0.3), "en")
    outcome = ended(cut, from_cut(cut))
    assert outcome is not None
    assert (outcome.status, outcome.reason) == ("filtered", "query_text_mismatch")
    assert (outcome.error or "").startswith("its query: WER 1.00 over 0.3")


def test_what_was_not_heard_is_left_alone() -> None:
    before = cut_of("hello")
    assert said(cut_of("hello"), {"id": "u"}, asked(max_wer=0.0), "en") == before
