"""Codes begin beside those that sound like them, and move freely from there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training import tiny
from training.errors import RowsError
from training.start import place_codes, projected, spread
from training.talker import CODES_STD, HEAD_STD, Talker
from training.vocabulary import Vocabulary

SIZE = 200


def points(codebooks: int = 1, size: int = SIZE) -> np.ndarray:
    """Points with axes of very unequal width, the last two in one place."""
    found = np.random.default_rng(0).normal(size=(codebooks, size, 12)).astype(np.float32) * np.logspace(0, 2, 12)
    found[:, -1] = found[:, -2]
    return found.astype(np.float32)


def untrained(codebooks: int, size: int) -> Talker:
    torch.manual_seed(0)
    return Talker(tiny.settings(width=128), Vocabulary(size, codebooks), tiny.WORDS)


def talkers(vectors: np.ndarray, seed: int = 0) -> tuple[Talker, Talker]:
    """(before, after) of one start."""
    before, after = (untrained(*vectors.shape[:2]) for _ in range(2))
    place_codes(after, vectors, seed)
    return before, after


def rows(talker: Talker, part: str, book: int) -> Tensor:
    v = talker.vocabulary
    weight, each = (talker.codes.weight, v.embeddings) if part == "codes" else (talker.head.weight, v.classes)
    return weight.detach()[book * each : book * each + v.size]


def distances(x: Tensor) -> Tensor:
    return torch.pdist(x)


@pytest.mark.parametrize("part", ["codes", "head"])
@pytest.mark.parametrize("codebooks", [1, 3])
def test_distances_between_codes_are_those_of_their_points(part: str, codebooks: int) -> None:
    vectors = points(codebooks)
    before, after = talkers(vectors)
    for book in range(codebooks):
        wanted = distances(torch.from_numpy(spread(vectors[book])))
        for talker, low, high in ((before, -0.1, 0.1), (after, 0.7, 1.0)):
            found = torch.corrcoef(torch.stack([distances(rows(talker, part, book)), wanted]))[0, 1]
            assert low < found < high


def test_codes_whose_points_coincide_are_still_told_apart() -> None:
    _, after = talkers(points())
    last = rows(after, "codes", 0)[-2:]
    assert 0.2 * CODES_STD < (last[0] - last[1]).std() < CODES_STD


@pytest.mark.parametrize(("part", "std"), [("codes", CODES_STD), ("head", HEAD_STD)])
def test_they_begin_as_large_as_at_random(part: str, std: float) -> None:
    _, after = talkers(points())
    assert rows(after, part, 0).std() == pytest.approx(std, rel=0.15)


def test_nothing_else_is_moved() -> None:
    before, after = talkers(points(2))
    v = before.vocabulary
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        if name == "codes.weight":
            old, new = (x.view(2, v.embeddings, -1)[:, v.size :] for x in (old, new))
        elif name == "head.weight":
            old, new = (x.view(2, v.classes, -1)[:, v.size :] for x in (old, new))
        assert torch.equal(old, new), name


def test_a_seed_says_it_all() -> None:
    (_, one), (_, same), (_, other) = talkers(points()), talkers(points()), talkers(points(), seed=1)
    assert torch.equal(one.codes.weight, same.codes.weight)
    assert not torch.equal(one.codes.weight, other.codes.weight)


def test_unequal_axes_come_halfway_to_equal_ones() -> None:
    wide = np.random.default_rng(0).normal(size=(5_000, 2)).astype(np.float32) * [1, 100]
    found = spread(wide.astype(np.float32)).std(axis=0)
    assert found[1] / found[0] == pytest.approx(10, rel=0.05)


def test_an_axis_without_width_is_no_fault() -> None:
    flat = np.zeros((5, 3), np.float32)
    assert np.array_equal(spread(flat), flat)


def test_the_projection_keeps_the_size_of_entries() -> None:
    unit = np.random.default_rng(0).normal(size=(1_000, 64)).astype(np.float32)
    assert projected(unit, 256, 7).std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    "vectors",
    [points(size=SIZE - 1), points(2), np.full((1, SIZE, 3), np.nan, np.float32)],
    ids=["too few codes", "too many codebooks", "not numbers"],
)
def test_points_of_other_codes_are_refused(vectors: np.ndarray) -> None:
    talker = untrained(1, SIZE)
    with pytest.raises(RowsError, match=r"train\.codes=random does without them"):
        place_codes(talker, vectors, 0)
