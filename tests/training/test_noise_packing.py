"""Masks as bits: nothing is lost, nothing that does not fit is taken for masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.noise.grid import Grid
from training.noise.packing import Noise, PackedError, pack, unpack

GRIDS = st.builds(Grid, st.integers(0, 60), st.integers(1, 3), st.sampled_from([1, 4, 16]))


def noise_of(grid: Grid, views: int, seed: int) -> Noise:
    random = np.random.default_rng(seed)
    masked, replaced = random.random((2, views, grid.positions, grid.codebooks)) < 0.4
    return Noise(masked, replaced & ~masked)


@given(grid=GRIDS, views=st.integers(1, 5), seed=st.integers(0, 99))
def test_what_is_packed_comes_out_again(grid: Grid, views: int, seed: int) -> None:
    noise = noise_of(grid, views, seed)
    packed = pack(noise, 2)
    again = unpack(packed, grid)
    assert (packed.dtype, packed.shape) == (np.uint8, (views, 2, -(-grid.cells // 8)))
    assert (again.masked_VLQ == noise.masked_VLQ).all()
    assert (again.replaced_VLQ == noise.replaced_VLQ).all()


@given(grid=GRIDS)
def test_with_one_plane_nothing_is_replaced(grid: Grid) -> None:
    noise = noise_of(grid, 2, 0)
    again = unpack(pack(noise, 1), grid)
    assert (again.masked_VLQ == noise.masked_VLQ).all()
    assert not again.replaced_VLQ.any()


def test_plain_numpy_reads_them() -> None:
    """The recipe in docs/data-format.md."""
    grid, noise = Grid(20, 1, 8), noise_of(Grid(20, 1, 8), 3, 1)
    bits = np.unpackbits(pack(noise, 1), axis=-1)[..., : grid.cells].astype(bool)
    assert (bits[:, 0].reshape(3, grid.positions, 1) == noise.masked_VLQ).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((2, 1, 4), np.uint8), "4 bytes a plane, 24 cells need 3"),
        (np.zeros((2, 1, 2), np.uint8), "2 bytes a plane, 24 cells need 3"),
        (np.zeros((2, 3, 3), np.uint8), "shape"),
        (np.zeros((2, 3), np.uint8), "shape"),
        (np.zeros((2, 1, 3), np.int8), "int8"),
    ],
)
def test_an_array_that_cannot_be_the_masks_is_refused(wrong: np.ndarray, said: str) -> None:
    with pytest.raises(PackedError, match=said):
        unpack(wrong, Grid(20, 1, 8))


def test_bits_beyond_the_last_cell_are_refused() -> None:
    grid = Grid(2, 1, 3)
    packed = pack(noise_of(grid, 1, 0), 1)
    packed[0, 0, 0] |= 1
    with pytest.raises(PackedError, match="beyond the last of 3 cells"):
        unpack(packed, grid)
