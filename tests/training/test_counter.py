"""Counter-based numbers: the same everywhere, even, and without a trace of the coordinates they come from."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.counter import _taken, bits, bits_torch, gumbel_torch, hash_key, signed, uniform, uniform_torch

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)


def grid(seed: int, *sizes: int) -> np.ndarray:
    """bits over a grid of coordinates 0 .. size - 1."""
    axes = np.meshgrid(*(np.arange(size) for size in sizes), indexing="ij", sparse=True)
    return bits(seed, *axes)


def chi_square(counts: np.ndarray) -> float:
    """Deviations from even counts, in standard deviations of the chi-square statistic."""
    expected = counts.sum() / counts.size
    statistic, freedom = float(((counts - expected) ** 2 / expected).sum()), counts.size - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


def test_golden_values_never_change() -> None:
    """Masks in shards are made of these: another value is another format."""
    assert hash_key("u1") == 0xD56A4E3F684D9992
    assert [hex(b) for b in bits(0, hash_key("u1"), 3, np.arange(3)).tolist()] == [
        "0x5c1a65bad1b12fa9", "0xa64ee682871ca74c", "0x3f4f25a3b567f7f",
    ]  # fmt: skip
    assert float(uniform(7, 1, 2)) == 0.3412156654178844


def test_it_is_the_published_splitmix64_in_the_last_coordinate() -> None:
    """The sequence of seed 1234567 in the reference implementation; the state before the last coordinate is that seed."""
    state = 1234567
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [_taken(state, i) for i in range(5)] == published


@given(seed=UINT64, key=UINT64, shape=st.tuples(st.integers(1, 3), st.integers(1, 4)), data=st.data())
def test_numpy_and_torch_give_the_same_bits(seed: int, key: int, shape: tuple[int, int], data: st.DataObject) -> None:
    column = np.array(data.draw(st.lists(INT64, min_size=shape[0], max_size=shape[0])), np.int64)[:, None]
    row = np.array(data.draw(st.lists(INT64, min_size=shape[1], max_size=shape[1])), np.int64)
    one = data.draw(INT64)
    drawn = bits(seed, key, column, one, row)
    by_torch = bits_torch(seed, key, torch.from_numpy(column), one, torch.from_numpy(row))
    assert drawn.shape == by_torch.shape == shape
    assert (drawn.view(np.int64) == by_torch.numpy()).all()
    also = uniform_torch(seed, key, torch.from_numpy(column), one, torch.from_numpy(row))
    assert (uniform(seed, key, column, one, row) == also.numpy()).all()


@given(seed=UINT64, key=UINT64, coordinates=st.lists(INT64, max_size=4))
def test_whole_numbers_and_arrays_of_them_are_the_same_coordinates(seed: int, key: int, coordinates: list[int]) -> None:
    alone = bits(seed, key, *coordinates)
    assert alone == bits(seed, np.array([key], np.uint64), *(np.array([c], np.int64) for c in coordinates))
    assert alone.view(np.int64) == bits_torch(seed, torch.tensor(signed(key)), *coordinates).numpy()


def test_torch_needs_to_know_where_the_result_should_be() -> None:
    with pytest.raises(TypeError, match="tensor"):
        bits_torch(0, 1, 2)


def test_a_number_does_not_depend_on_what_else_is_drawn() -> None:
    whole = grid(3, 5, 6, 7)
    assert (whole[2, 3:5] == bits(3, 2, np.arange(3, 5)[:, None], np.arange(7))).all()


def test_it_is_the_same_in_another_process() -> None:
    code = "from training.counter import bits, hash_key; print(int(bits(5, hash_key('ü'), 1)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == bits(5, hash_key("ü"), 1)


def test_the_order_and_the_number_of_coordinates_matter() -> None:
    drawn = {int(b) for b in (bits(0, 1, 2), bits(0, 2, 1), bits(1, 0, 2), bits(0, 1, 2, 0), bits(0, 1), bits(0, 0))}
    assert len(drawn) == 6


@pytest.mark.parametrize("shift", [0, 5, 31, 56])
def test_all_bits_are_even_over_a_grid_of_neighbours(shift: int) -> None:
    byte = (grid(11, 40, 50, 60) >> np.uint64(shift)) & np.uint64(255)
    assert abs(chi_square(np.bincount(byte.astype(np.int64).ravel(), minlength=256))) < 4


def test_uniform_numbers_lie_in_range_and_are_even() -> None:
    drawn = uniform(0, np.arange(300)[:, None], np.arange(400))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(chi_square(np.histogram(drawn, 64, (0, 1))[0])) < 4


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_along_any_coordinate_do_not_know_each_other(axis: int) -> None:
    drawn = uniform(0, *np.meshgrid(*(np.arange(n) for n in (60, 50, 40)), indexing="ij", sparse=True))
    head, tail = np.delete(drawn, -1, axis).ravel(), np.delete(drawn, 0, axis).ravel()
    assert abs(float(np.corrcoef(head, tail)[0, 1])) < 4 / math.sqrt(head.size)
    pairs = np.histogram2d(head, tail, 8, ((0, 1), (0, 1)))[0]
    assert abs(chi_square(pairs)) < 4


def test_flipping_any_bit_of_a_coordinate_flips_half_of_the_bits() -> None:
    base = bits(0, 1, np.arange(2000))
    for bit in range(0, 64, 7):
        changed = bits(0, 1, np.arange(2000).astype(np.uint64) ^ np.uint64(1 << bit))
        flipped = np.unpackbits((base ^ changed).view(np.uint8)).mean()
        assert abs(flipped - 0.5) < 4 * 0.5 / math.sqrt(64 * 2000)


def test_gumbel_noise_samples_the_softmax() -> None:
    """The share with which each of 11 logits wins is its softmax probability."""
    logits_V = torch.linspace(-2, 2, 11)
    noise_NV = gumbel_torch(0, 1, torch.arange(20_000)[:, None], torch.arange(11))
    share_V = (logits_V + noise_NV).argmax(-1).bincount(minlength=11) / 20_000
    wanted_V = logits_V.softmax(-1)
    assert ((share_V - wanted_V).abs() < 4 * (wanted_V / 20_000).sqrt()).all()


def test_gumbel_noise_is_float32_finite_and_its_upper_tail_is_true() -> None:
    noise = gumbel_torch(3, 1, torch.arange(500_000))
    assert noise.dtype == torch.float32
    assert noise.isfinite().all()
    for level in (4.0, 8.0, 11.0):
        wanted = -math.expm1(-math.exp(-level)) * len(noise)
        assert abs(float((noise > level).sum()) - wanted) < 4 * math.sqrt(wanted)


def test_gumbel_noise_agrees_with_float64() -> None:
    place = torch.arange(10_000)
    v = (bits(3, 1, place.numpy()) >> np.uint64(32)).astype(np.float64)
    wanted = -np.log(-np.log1p(-np.clip((v + 0.5) / 2**32, None, 1 - 2.0**-24)))
    assert np.abs(gumbel_torch(3, 1, place).numpy() - wanted).max() < 1e-3


def test_the_extremes_of_a_uniform_number_give_finite_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    extremes = torch.tensor([0, -1, 2**63 - 1, -(2**63)])
    monkeypatch.setattr("training.counter.bits_torch", lambda *_: extremes)
    noise = gumbel_torch(0, 0)
    assert noise.isfinite().all()
    assert float(noise[0]) == pytest.approx(32 * math.log(2) + math.log(2), abs=1e-3)
    assert float(noise[1]) < -2.8
