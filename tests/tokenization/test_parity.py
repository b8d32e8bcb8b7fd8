"""The parity gate: it counts what padding does to codes, and stops where that is too much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenization.test_patches import SPEECH, TOKENIZER
from tokenization.adapter import Codes, TokenizerError, TokenizerSpec, Wave, frames_by_hop
from tokenization.parity import Parity, ParityExceeded, compare, parity


class Padded:
    """A codec of the leaking kind: the last frame of an utterance hears the padding after it."""

    spec = TokenizerSpec("padded", "1", 25.0, 1, 8, 16_000, "")
    can_encode = True
    can_decode = False

    def frames(self, samples: int) -> int:
        return frames_by_hop(samples, 640)

    def encode(self, waves: Sequence[Wave]) -> list[Codes]:
        longest = max(len(w) for w in waves)
        return [self._one(w, len(w) < longest) for w in waves]

    def _one(self, wave_T: Wave, padded: bool) -> Codes:
        codes = np.ones((self.frames(len(wave_T)), 1), dtype=np.uint16)
        codes[-1:] += padded
        return codes

    def decode(self, codes_FQ: Codes) -> Wave:
        raise TokenizerError("makes no sound")

    def vectors(self) -> None:
        return None


WAVES = [np.zeros(640 * n, dtype=np.float32) for n in (1, 2, 3, 4)]


def test_the_embedded_tokenizer_has_no_mismatch() -> None:
    waves = [SPEECH[i : i + 997 * (i % 7 + 1)] for i in range(0, 40_000, 4_001)]
    found = parity(TOKENIZER, waves)
    assert found.utterances == len(waves)
    assert found.frames == sum(TOKENIZER.frames(len(w)) for w in waves)
    assert found.mismatched == 0


def test_a_leaking_codec_is_found_out() -> None:
    assert parity(Padded(), WAVES) == Parity(4, 10, 3)


def test_batches_are_made_as_the_stage_makes_them() -> None:
    assert parity(Padded(), WAVES, batch=2) == Parity(4, 10, 2)
    assert parity(Padded(), WAVES, batch=1) == Parity(4, 10, 0)


def test_nothing_to_compare_is_no_mismatch() -> None:
    assert parity(Padded(), []).rate == 0.0


def test_missing_frames_count_as_mismatches() -> None:
    assert compare(np.zeros((5, 2), np.uint16), np.zeros((3, 2), np.uint16)) == Parity(1, 5, 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_a_frame_differs_when_any_of_its_codebooks_does(pairs: list[tuple[int, int]]) -> None:
    codes = np.array(pairs, dtype=np.uint16).reshape(-1, 2)
    other = codes.copy()
    other[::3, 1] += 1
    assert compare(codes, other).mismatched == len(range(0, len(codes), 3))


def test_too_much_stops_with_the_numbers_and_what_to_do() -> None:
    found = parity(Padded(), WAVES)
    found.require(0.3, "padded")
    with pytest.raises(ParityExceeded, match=r"padded: 3 of 10 frames \(30.000%\) .* allows 10.000%: encode one"):
        found.require(0.1, "padded")


def test_it_is_written_with_its_rate() -> None:
    assert Parity(2, 8, 1).to_json() == {"utterances": 2, "frames": 8, "mismatched": 1, "rate": 0.125}
    assert Parity(2, 8, 1) + Parity(1, 2, 1) == Parity(3, 10, 2)
