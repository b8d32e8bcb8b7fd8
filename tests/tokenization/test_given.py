"""Tokens that came with the corpus: taken when they are what the recipe says, refused otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from manifests.settings.speech import GivenSettings
from tokenization.adapter import TokenizerError
from tokenization.given import GivenTokenizer

GIVEN = GivenTokenizer(GivenSettings())


def test_it_says_what_the_recipe_says() -> None:
    spec = GIVEN.spec
    assert (spec.name, spec.frame_rate, spec.codebooks, spec.vocab_size) == ("given", 25.0, 1, 6561)
    assert spec.to_json()["checksum"] == ""


def test_what_the_codes_stand_for_is_not_known() -> None:
    assert GIVEN.vectors() is None


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16, np.uint8])
def test_vectors_of_any_whole_numbers_become_frames_of_one_code(kind: type) -> None:
    codes = GIVEN.validate(np.array([0, 5, 200], dtype=kind))
    assert codes.tolist() == [[0], [5], [200]]
    assert codes.dtype == np.uint16


def test_lists_are_taken() -> None:
    assert GIVEN.validate([6560]).tolist() == [[6560]]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ([0, 6561], r"0\.\.6560, found 0\.\.6561"),
        ([-1, 3], r"found -1\.\.3"),
        ([0.0, 1.0], "whole numbers"),
        ([[1, 2]], "shape"),
        (["a"], "whole numbers"),
        ([[[1]]], "shape"),
        (np.zeros(0, dtype=np.int64), "empty"),
    ],
)
def test_what_cannot_be_its_tokens_is_refused(bad: list, why: str) -> None:
    with pytest.raises(TokenizerError, match=why):
        GIVEN.validate(bad)


def test_a_code_too_large_for_16_bits_does_not_wrap_around() -> None:
    with pytest.raises(TokenizerError, match="65536"):
        GIVEN.validate(np.array([65_536]))


def test_several_codebooks_keep_their_shape() -> None:
    tokenizer = GivenTokenizer(GivenSettings(codebooks=4, vocab_size=1024, frame_rate=12.5))
    assert tokenizer.validate(np.ones((7, 4), dtype=int)).shape == (7, 4)
    assert tokenizer.frames(16_000) == 13


def test_it_cannot_encode_and_says_what_to_do() -> None:
    assert not GIVEN.can_encode
    with pytest.raises(TokenizerError, match="choose another tokenizer, such as 'patches'"):
        GIVEN.encode([np.zeros(640, dtype=np.float32)])


def test_it_cannot_decode_and_says_why() -> None:
    assert not GIVEN.can_decode
    with pytest.raises(TokenizerError, match="codec is not installed"):
        GIVEN.decode(np.zeros((1, 1), dtype=np.uint16))


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (640, 1), (641, 2), (16_000, 25)])
def test_frames_cover_the_samples(samples: int, frames: int) -> None:
    assert GIVEN.frames(samples) == frames
