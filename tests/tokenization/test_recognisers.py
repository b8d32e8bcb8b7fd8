"""The judge: hears what is there, forgets what it heard, and counts words honestly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.demo.grammar import dialogues, jsgf
from manifests.demo.script import Prosody
from tests.small_corpus import tone
from tokenization.recognisers.base import at_rate, heard_words
from tokenization.recognisers.pocketsphinx import PocketsphinxRecogniser, as_int16
from tokenization.recognisers.score import WordErrors, wer
from tokenization.voices import choose_engine

sentences = st.lists(st.sampled_from(["lights", "timer", "blue", "five", "okay"]), max_size=8).map(" ".join)


@pytest.fixture(scope="module")
def judge() -> PocketsphinxRecogniser:
    return PocketsphinxRecogniser(jsgf())


@pytest.fixture(scope="module")
def spoken() -> list[tuple[str, np.ndarray]]:
    """Some queries and responses with their sound, at 16 kHz."""
    engine = choose_engine()
    speaker = engine.speaker()
    texts = [text for one in dialogues(77, 3) for text in (one.query, one.response)]
    said = [(text, *speaker.say(text, engine.candidates[0].name, Prosody())) for text in texts]
    speaker.close()
    return [(text, as_int16(at_rate(wave_T, rate))) for text, wave_T, rate in said]


def test_with_the_grammar_it_hears_queries_and_responses(
    judge: PocketsphinxRecogniser, spoken: list[tuple[str, np.ndarray]]
) -> None:
    assert [heard_words(judge, wave_T, 16_000) for _, wave_T in spoken] == [text for text, _ in spoken]


def test_what_it_hears_does_not_depend_on_what_it_heard_before(
    judge: PocketsphinxRecogniser, spoken: list[tuple[str, np.ndarray]]
) -> None:
    noisy = [_noisy(wave_T) for _, wave_T in spoken]
    forwards = [heard_words(judge, wave_T, 16_000) for wave_T in noisy]
    heard_words(judge, np.full(16_000, 20_000, np.int16), 16_000)
    backwards = [heard_words(judge, wave_T, 16_000) for wave_T in reversed(noisy)][::-1]
    alone = heard_words(PocketsphinxRecogniser(jsgf()), noisy[-1], 16_000)
    assert forwards == backwards
    assert alone == forwards[-1]


def test_openly_too_it_hears_sounds_that_are_no_words_the_same_after_anything() -> None:
    judge, sounds = PocketsphinxRecogniser(), [tone(seed, 0.8 + 0.05 * seed) for seed in (0, 1)]
    forwards = [heard_words(judge, wave_T, 16_000) for wave_T in sounds]
    assert [heard_words(judge, wave_T, 16_000) for wave_T in reversed(sounds)][::-1] == forwards


def test_a_float_wave_and_another_rate_are_heard_the_same(
    judge: PocketsphinxRecogniser, spoken: list[tuple[str, np.ndarray]]
) -> None:
    import soxr

    text, wave_T = spoken[1]
    float_T = wave_T.astype(np.float32) / 32768
    assert heard_words(judge, float_T, 16_000) == text
    assert heard_words(judge, soxr.resample(float_T, 16_000, 22_050), 22_050) == text


def test_a_patient_one_hears_sentences_that_the_usual_one_gives_up(
    judge: PocketsphinxRecogniser, spoken: list[tuple[str, np.ndarray]]
) -> None:
    patient = PocketsphinxRecogniser(jsgf(), patient=True)
    noisy = [(text, _noisy(wave_T, share)) for text, wave_T in spoken for share in (0.2, 0.3, 0.4)]
    usual, found = ([heard_words(ear, wave_T, 16_000) for _, wave_T in noisy] for ear in (judge, patient))
    texts = [text for text, _ in noisy]
    assert "" in usual
    assert all(found)
    assert all(heard == text for text, heard, before in zip(texts, found, usual, strict=True) if before == text)
    assert wer(texts, found).rate < wer(texts, usual).rate


def test_noise_silence_and_speech_backwards_are_not_taken_for_the_sentence(
    judge: PocketsphinxRecogniser, spoken: list[tuple[str, np.ndarray]]
) -> None:
    text, wave_T = spoken[0]
    noise_T = np.random.default_rng(0).normal(0, 3000, 32_000).astype(np.int16)
    assert heard_words(judge, noise_T, 16_000) == ""
    assert heard_words(judge, np.zeros(16_000, np.int16), 16_000) == ""
    assert heard_words(judge, wave_T[::-1].copy(), 16_000) != text


def test_no_samples_are_heard_as_nothing(judge: PocketsphinxRecogniser) -> None:
    assert heard_words(judge, np.zeros(0, np.int16), 16_000) == ""


def test_a_grammar_of_one_side_never_hears_the_other(spoken: list[tuple[str, np.ndarray]]) -> None:
    queries = PocketsphinxRecogniser(jsgf("query"))
    text, wave_T = spoken[1]
    assert heard_words(queries, wave_T, 16_000) != text


def test_without_a_grammar_it_listens_openly(spoken: list[tuple[str, np.ndarray]]) -> None:
    judge = PocketsphinxRecogniser()
    found = wer([text for text, _ in spoken[:2]], [heard_words(judge, wave_T, 16_000) for _, wave_T in spoken[:2]])
    assert 0 <= found.rate < 0.9


def test_it_writes_nothing_to_the_terminal(
    capfd: pytest.CaptureFixture[str], spoken: list[tuple[str, np.ndarray]]
) -> None:
    heard_words(PocketsphinxRecogniser(jsgf("query")), spoken[0][1], 16_000)
    assert capfd.readouterr() == ("", "")


def test_two_channels_are_refused(judge: PocketsphinxRecogniser) -> None:
    with pytest.raises(ValueError, match="one channel is expected"):
        heard_words(judge, np.zeros((2, 100), np.int16), 16_000)


def test_a_grammar_without_a_public_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="no public rule"):
        PocketsphinxRecogniser("#JSGF V1.0;\ngrammar empty;\n<a> = hello;\n")


def test_each_kind_of_error_is_counted() -> None:
    found = wer(["a b c", "d e", "f"], ["a x c", "d", "f g"])
    assert (found.words, found.substitutions, found.deletions, found.insertions) == (6, 1, 1, 1)
    assert found.rate == 0.5


def test_an_empty_hypothesis_deletes_its_sentence_and_is_counted() -> None:
    found = wer(["a b c", "d"], ["", "d"])
    assert (found.deletions, found.empty, found.rate) == (3, 1, 0.75)


def test_a_word_heard_where_none_was_said_is_an_insertion() -> None:
    assert wer(["", "a b"], ["x", "a b"]).insertions == 1
    assert wer([""], ["x"]).rate == float("inf")


def test_nothing_at_all_has_no_errors() -> None:
    assert wer([], []) == WordErrors(0, 0, 0, 0, 0, 0, ())
    assert wer([], []).rate == 0.0
    assert wer([], []).interval() == (0.0, 0.0)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        wer(["a", "b"], ["a"])


@given(st.lists(st.tuples(sentences, sentences), max_size=12))
def test_counts_add_up_and_hearing_everything_right_is_no_error(pairs: list[tuple[str, str]]) -> None:
    said, heard = [one for one, _ in pairs], [one for _, one in pairs]
    found = wer(said, heard)
    assert found.errors == found.substitutions + found.deletions + found.insertions
    assert found.errors == sum(errors for _, errors in found.each)
    assert found.words == sum(len(text.split()) for text in said)
    spoken_words, heard_words = found.words, sum(len(text.split()) for text in heard)
    assert heard_words == spoken_words - found.deletions + found.insertions
    assert wer(said, said).errors == 0


def test_the_interval_holds_the_rate_widens_with_the_level_and_is_repeatable() -> None:
    heard = ["a b c d"] * 90 + ["a x c"] * 10
    found = wer(["a b c d"] * 100, heard)
    low, high = found.interval()
    wide_low, wide_high = found.interval(level=0.99)
    assert low < found.rate < high
    assert wide_low <= low
    assert wide_high >= high
    assert found.interval() == (low, high)


def test_a_level_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="level must lie between"):
        wer(["a"], ["a"]).interval(level=95)


def _noisy(wave_T: np.ndarray, share: float = 0.55) -> np.ndarray:
    """Speech with so much noise, by its own level: at some 5 dB hard enough that any state carried over would show."""
    noise_T = np.random.default_rng(len(wave_T)).normal(0, wave_T.std() * share, len(wave_T))
    return np.clip(wave_T + noise_T, -32768, 32767).astype(np.int16)
