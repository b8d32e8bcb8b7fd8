"""The weighted objective is the likelihood it claims to be, against enumeration of every order.

The denoiser is a table: a distribution for each position and each state of a sequence of 4 positions over 3 values.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from training.counter import uniform_torch
from training.losses import cross_entropy, inverse_rate, reduce

V, L, MASK = 3, 4, 3
TABLE = torch.randn(*[V + 1] * L, L, V, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 1.5
SEQUENCES = [torch.tensor(x) for x in ((0, 1, 2, 0), (2, 2, 1, 0), (1, 1, 1, 1))]


def losses(x: Tensor, masked: Tensor) -> Tensor:
    """Cross-entropies of all positions where ``masked`` is hidden from the table."""
    state = torch.where(masked, MASK, x)
    return cross_entropy(TABLE[tuple(state.tolist())], x)


def masks(length: int = L) -> list[Tensor]:
    return [torch.tensor(m) for m in itertools.product([False, True], repeat=length)]


def in_order(x: Tensor, order: tuple[int, ...]) -> float:
    """Negative log likelihood when positions are revealed one by one."""
    masked, total = torch.ones(L, dtype=torch.bool), 0.0
    for i in order:
        total += losses(x, masked)[i].item()
        masked[i] = False
    return total


def any_order(x: Tensor) -> float:
    orders = list(itertools.permutations(range(L)))
    assert len(orders) == 24
    return sum(in_order(x, order) for order in orders) / len(orders)


def weighted(x: Tensor, masked: Tensor, rate: float) -> float:
    """The objective of one corruption: losses weighted by one over the rate."""
    weight = inverse_rate(masked, torch.full((L,), rate, dtype=torch.float64), clip=0.0)
    return reduce(losses(x, masked), weight).total.item()


def integral(x: Tensor, low: float = 0.0, high: float = 1.0) -> float:
    """The objective over rates from ``low`` to ``high``: a polynomial of degree 3, which this quadrature has exactly."""
    nodes, parts = np.polynomial.legendre.leggauss(6)
    total = 0.0
    for node, part in zip(nodes, parts, strict=True):
        t = low + (high - low) * (float(node) + 1) / 2
        of_rate = sum(
            t ** int(m.sum()) * (1 - t) ** int((~m).sum()) * weighted(x, m, t) for m in masks() if bool(m.any())
        )
        total += float(part) * (high - low) / 2 * of_rate
    return total


@pytest.mark.parametrize("x", SEQUENCES)
def test_weights_of_one_over_the_rate_are_the_likelihood_over_all_orders(x: Tensor) -> None:
    assert integral(x) == pytest.approx(any_order(x), abs=1e-12)


@pytest.mark.parametrize("x", SEQUENCES)
def test_exact_counts_are_the_same_likelihood(x: Tensor) -> None:
    """A number of masks m uniform over 1..L, every subset of it alike, rate m / L."""
    total = 0.0
    for count in range(1, L + 1):
        subsets = [m for m in masks() if int(m.sum()) == count]
        total += sum(weighted(x, m, count / L) for m in subsets) / len(subsets) / L
    assert total == pytest.approx(any_order(x), abs=1e-12)


@pytest.mark.parametrize("x", SEQUENCES)
@pytest.mark.parametrize("cut", [1e-3, 1e-2])
def test_a_least_rate_is_a_bias_of_known_size(x: Tensor, cut: float) -> None:
    """Rates below the cut are those of nearly clean states: what is left out is the cut times the losses with all else known."""
    exact = any_order(x)
    known = sum(losses(x, torch.arange(L) == i)[i].item() for i in range(L))
    left = integral(x, cut, 1.0)
    assert (exact - left) == pytest.approx(cut * known, rel=5 * cut)
    # The mean over rates of [cut, 1] divides by the range as well, and is off by less.
    mean = left / (1 - cut)
    assert (mean - exact) == pytest.approx(cut * (exact - known), rel=0.2, abs=10 * cut * cut)
    assert abs(mean - exact) < abs(left - exact)


@pytest.mark.parametrize("x", SEQUENCES)
def test_a_rate_for_each_block_is_the_likelihood_over_orders_within_blocks(x: Tensor) -> None:
    """Blocks of 2, the earlier one clean, the later one not seen: a sum of two integrals."""
    nodes, parts = np.polynomial.legendre.leggauss(4)
    total, expected = 0.0, 0.0
    for block in (0, 1):
        ahead = torch.arange(L) >= 2 * block + 2
        for node, part in zip(nodes, parts, strict=True):
            t = (float(node) + 1) / 2
            for m in masks(2):
                masked = torch.cat([torch.zeros(2 * block, dtype=torch.bool), m, ahead[2 * block + 2 :]])
                weight = inverse_rate(masked & ~ahead, torch.full((L,), t, dtype=torch.float64), clip=0.0)
                chance = t ** int(m.sum()) * (1 - t) ** int((~m).sum())
                total += float(part) / 2 * chance * reduce(losses(x, masked), weight).total.item()
    for first, second in itertools.product([(0, 1), (1, 0)], [(2, 3), (3, 2)]):
        expected += in_order(x, first + second) / 4
    assert total == pytest.approx(expected, abs=1e-12)
    assert total != pytest.approx(any_order(x), abs=1e-6)


@pytest.mark.parametrize("x", SEQUENCES)
def test_blocks_of_one_are_the_autoregressive_likelihood(x: Tensor) -> None:
    """A block of one position that carries loss is masked, at any rate, and its weight makes up for when it is not."""
    nodes, parts = np.polynomial.legendre.leggauss(3)
    total = 0.0
    for position in range(L):
        masked = torch.arange(L) >= position
        for node, part in zip(nodes, parts, strict=True):
            t = (float(node) + 1) / 2
            weight = inverse_rate(torch.arange(L) == position, torch.full((L,), t, dtype=torch.float64), clip=0.0)
            total += float(part) / 2 * t * reduce(losses(x, masked), weight).total.item()
    assert total == pytest.approx(in_order(x, (0, 1, 2, 3)), abs=1e-12)


def test_the_weight_of_a_position_is_one_in_the_mean_down_to_the_clip() -> None:
    for rate in (0.05, 0.1, 0.5, 1.0):
        assert rate * inverse_rate(torch.tensor([True]), torch.tensor([rate])).item() == pytest.approx(1.0)
    assert 0.01 * inverse_rate(torch.tensor([True]), torch.tensor([0.01])).item() == pytest.approx(0.2)


def test_exact_counts_have_no_variance_where_drawn_masks_have_much() -> None:
    """Losses of 1 at 16 positions: 16 in the mean either way, with a deviation of 9.7 for drawn masks (rates from .001)."""
    rows, length, cut = 40_000, 16, 1e-3
    row = torch.arange(rows)
    rate = cut + (1 - cut) * uniform_torch(1, row, 0)
    masked = uniform_torch(1, row[:, None], 1, torch.arange(length)) < rate[:, None]
    drawn = inverse_rate(masked, rate[:, None], clip=cut).sum(1)
    variance = length * (math.log(1 / cut) / (1 - cut) - 1)
    assert drawn.mean().item() == pytest.approx(length, abs=4 * math.sqrt(variance / rows))
    assert math.sqrt(variance) == pytest.approx(9.7, abs=0.05)
    assert drawn.std().item() == pytest.approx(math.sqrt(variance), rel=0.15)

    count = (rate * length).round().clamp_min(1)
    exact = torch.arange(length) < count[:, None]
    held = inverse_rate(exact, (count / length)[:, None], clip=cut).sum(1)
    assert held.std().item() == pytest.approx(0.0, abs=1e-6)
    assert held.mean().item() == pytest.approx(length)
