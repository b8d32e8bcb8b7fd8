"""Sound while codes still arrive: as long as, and much like, the sound of all codes at once; never revised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.settings.speech import GivenSettings, PatchesSettings
from tests.tokenization.test_codebook import WAVES, wave
from tokenization.adapter import TokenizerError
from tokenization.given import GivenTokenizer
from tokenization.patches import PatchesTokenizer, fit
from tokenization.patches.sound import analyse
from tokenization.streaming import open_stream

SETTINGS = PatchesSettings(codebook_size=64, pca=16, fit_seconds=60, iterations=3, griffin_lim=16)
TOKENIZER = PatchesTokenizer(fit(WAVES, SETTINGS), SETTINGS)
CODES = TOKENIZER.encode([np.concatenate([wave(90 + i, 2) for i in range(2)])])[0]
HOP = 640


def pieces(codes: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """What a stream gives for frames that arrive ``sizes`` at a time, the last ones in one go."""
    stream, cuts = open_stream(TOKENIZER), np.cumsum(sizes)
    return [*(stream.push(part) for part in np.split(codes, cuts[cuts < len(codes)])), stream.finish()]


def distance(one_T: np.ndarray, other_T: np.ndarray) -> float:
    """Log-spectral distance in dB, over windows within 45 dB of the loudest."""
    one_SW, other_SW = (
        20 * np.log10(np.abs(analyse(w.astype(np.float64), TOKENIZER.spectrum)) + 1e-2) for w in (one_T, other_T)
    )
    loud_S = one_SW.max(axis=1) > one_SW.max() - 45
    return float(np.sqrt(((one_SW - other_SW) ** 2).mean(axis=1))[loud_S].mean())


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 40), st.lists(st.integers(1, 20), max_size=8))
def test_the_length_is_one_hop_a_frame_whatever_the_chunks(frames: int, sizes: list[int]) -> None:
    assert sum(map(len, pieces(CODES[:frames], sizes))) == frames * HOP


@settings(max_examples=6, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000))
def test_what_was_given_does_not_depend_on_what_follows(sent: int, other: int) -> None:
    first = open_stream(TOKENIZER).push(CODES[:sent])
    changed = (CODES[sent : sent + 10] + other) % SETTINGS.codebook_size
    again = open_stream(TOKENIZER)
    start = again.push(CODES[:sent])
    again.push(changed.astype(np.uint16))
    assert np.array_equal(first, start)
    assert len(first) == (sent - 1) * HOP - 240


def test_a_stream_of_all_frames_at_once_is_the_sound_of_all_but_its_end() -> None:
    """One frame waits, and comes out with its neighbour known: up to the windows that reach into it all is the same but phases."""
    whole, streamed = TOKENIZER.decode(CODES), np.concatenate(pieces(CODES, [len(CODES)]))
    assert distance(whole, streamed) < 1.0


@pytest.mark.parametrize(("block", "most"), [(16, 2.0), (4, 3.0)])
def test_streamed_sound_is_close_to_the_sound_of_all_codes(block: int, most: float) -> None:
    whole = TOKENIZER.decode(CODES)
    streamed = np.concatenate(pieces(CODES, [block] * (len(CODES) // block)))
    assert distance(whole, streamed) < most
    other = TOKENIZER.decode(CODES[::-1])
    assert distance(whole, other) > 2 * most, "the measure must be able to tell"


def test_blocks_join_without_clicks() -> None:
    """At the joins, the wave moves no faster than it does elsewhere."""
    parts = pieces(CODES, [16] * 6)
    joined_T, joins = np.concatenate(parts), np.cumsum([len(p) for p in parts])[:-1]
    steps_T = np.abs(np.diff(joined_T))
    assert max(steps_T[j - 1] for j in joins if 0 < j < len(joined_T)) <= np.quantile(steps_T, 0.999)


def test_one_frame_waits_for_its_successor_and_comes_at_the_end() -> None:
    stream = open_stream(TOKENIZER)
    assert len(stream.push(CODES[:1])) == 0
    assert len(stream.push(CODES[:0])) == 0
    assert np.array_equal(stream.finish(), TOKENIZER.decode(CODES[:1]))


def test_nothing_in_nothing_out() -> None:
    assert [len(part) for part in pieces(CODES[:0], [])] == [0, 0]


def test_codes_of_others_are_refused_before_anything_is_taken_in() -> None:
    stream = open_stream(TOKENIZER)
    with pytest.raises(TokenizerError, match="must lie in"):
        stream.push(np.full((3, 1), 64, np.uint16))
    assert len(stream.finish()) == 0


def test_a_tokenizer_that_cannot_stream_says_so() -> None:
    with pytest.raises(TokenizerError, match="cannot make sound block by block"):
        open_stream(GivenTokenizer(GivenSettings()))
