"""The weighted objective is the likelihood it claims to be, against enumeration of every order.

The denoiser is a table: a distribution for each position and each state of a sequence of 4 positions over 3 values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from manifests.settings.train import StageSettings
from tests.training.chain import chain, left_open, walk
from training.attention import Meta, allow
from training.batches import Batch
from training.counter import uniform_torch
from training.layout import Clock, Noised, layout_of
from training.losses import TINY, cross_entropy, inverse_rate, reduce
from training.objective import block_rates, loss_of, weights
from training.talker import Talker
from training.vocabulary import Vocabulary

torch.set_num_threads(1)  # tiny tensors: threads only get in each other's way

V, L, MASK = 3, 4, 3
Drawn = Callable[[int], list[float]]  # how likely each mask is, from the size of blocks
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


# Through the weights of training


def in_blocks_of(x: Tensor, masked: Tensor, size: int) -> Tensor:
    """``loss_L`` of blocks that are guessed each behind the clean ones before it, those after it not seen."""
    found = torch.zeros(L, dtype=torch.float64)
    for start in range(0, L, size):
        seen = torch.arange(L) < start + size
        here = (torch.arange(L) >= start) & seen
        found[here] = losses(x, (masked & here) | ~seen)[here]
    return found


def likelihood(x: Tensor, size: int) -> float:
    """Negative log likelihood, blocks one after the other, each in any order."""
    blocks = [itertools.permutations(range(start, start + size)) for start in range(0, L, size)]
    orders = [tuple(itertools.chain(*order)) for order in itertools.product(*blocks)]
    return sum(in_order(x, order) for order in orders) / len(orders)


def noised(x: Tensor, copies_NCL: Tensor) -> Noised:
    """The sequence under masks, in rows that are twice as long, as another utterance is."""
    n, copies, _ = copies_NCL.shape
    codes_NLQ = torch.full((n + 1, 2 * L, 1), V)
    codes_NLQ[:n, :L, 0] = x
    valid_NL = torch.ones(n + 1, 2 * L, dtype=torch.bool)
    valid_NL[:n, L:] = False
    masked_NCLQ = torch.zeros(n + 1, copies, 2 * L, 1, dtype=torch.bool)
    masked_NCLQ[:n, :, :L, 0] = copies_NCL
    masked_NCLQ[n, :, 1::2] = True
    ids_NCLQ = codes_NLQ[:, None].masked_fill(masked_NCLQ, V + 1)
    return Noised(codes_NLQ, ids_NCLQ, masked_NCLQ, valid_NL, valid_NL.sum(1))


def counted(x: Tensor, size: int, chances: list[float], layout: str = "two_stream") -> float:
    """The objective of training, in the mean over all masks. Each has a copy beside it under another mask, and padding behind both."""
    all_NL = torch.stack(masks())
    x_N = noised(x, torch.stack([all_NL, all_NL.roll(5, 0)], 1))
    rows = layout_of(layout)(x_N, Clock(L, 1), Vocabulary(V))
    weight_NCL = weights(rows, x_N, "inverse_rate", size).view(len(x_N.codes_NLQ), 2, 2 * L).double()
    assert not weight_NCL[:-1, :, L:].any()
    totals = []
    for copy, masked_NL in enumerate((all_NL, all_NL.roll(5, 0))):
        of_mask = [
            reduce(in_blocks_of(x, masked, size), weight_L[:L]).total.item()
            for masked, weight_L in zip(masked_NL, weight_NCL[:-1, copy], strict=True)
        ]
        chance = chances if copy == 0 else chances[-5:] + chances[:-5]
        totals.append(sum(p * found for p, found in zip(chance, of_mask, strict=True)))
    assert totals[0] == pytest.approx(totals[1], abs=1e-6)
    return totals[0]


def exact(size: int) -> list[float]:
    """How likely each mask is where in every block a number of cells is masked that is uniform over 1 .. size."""
    counts = [[int(part.sum()) for part in m.split(size)] for m in masks()]
    return [math.prod(0 if c == 0 else 1 / size / math.comb(size, c) for c in each) for each in counts]


def uniform_rates(size: int) -> list[float]:
    """The same where each cell is masked by a draw of its own, at a rate that is uniform over [0, 1] for every ``size`` cells."""
    counts = [[int(part.sum()) for part in m.split(size)] for m in masks()]
    return [math.prod(1 / (size + 1) / math.comb(size, c) for c in each) for each in counts]


@pytest.mark.parametrize("x", SEQUENCES)
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("layout", ["two_stream", "single_stream"])
def test_exact_counts_in_every_block_are_the_likelihood_over_orders_within_blocks(
    x: Tensor, size: int, layout: str
) -> None:
    """T12, per block: blocks of 4 are all orders, blocks of 1 the autoregressive order."""
    found = counted(x, size, exact(size), layout)
    assert found == pytest.approx(likelihood(x, size), rel=1e-6)
    if size == L:
        assert found == pytest.approx(any_order(x), rel=1e-6)
    if size == 1:
        assert found == pytest.approx(in_order(x, (0, 1, 2, 3)), rel=1e-6)


@pytest.mark.parametrize("x", SEQUENCES)
@pytest.mark.parametrize(("size", "rates"), [(1, 1), (1, 2), (1, 4), (2, 2), (2, 4), (4, 4)])
def test_it_is_that_likelihood_whether_rates_are_drawn_per_block_or_per_utterance(
    x: Tensor, size: int, rates: int
) -> None:
    """But for one factor, the chance that a block of so many cells is not left clean: a rate for every 1, 2 or 4 cells, blocks as large or smaller."""
    assert counted(x, size, uniform_rates(rates)) == pytest.approx(size / (size + 1) * likelihood(x, size), rel=1e-6)


@pytest.mark.parametrize("drawn", [exact, uniform_rates])
def test_the_masked_share_of_the_utterance_is_no_such_rate_where_blocks_have_their_own(drawn: Drawn) -> None:
    """It weighs a block by what is masked in others: off by a factor that is another for every sequence."""

    def by_row(x: Tensor, chances: list[float]) -> float:
        total = 0.0
        for masked, chance in zip(masks(), chances, strict=True):
            weight = inverse_rate(masked, masked.double().mean().expand(L), clip=TINY)
            total += chance * reduce(in_blocks_of(x, masked, 2), weight).total.item()
        return total / likelihood(x, 2)

    off = [by_row(x, drawn(2)) for x in SEQUENCES]
    assert max(off) - min(off) > 0.002
    assert [by_row(x, uniform_rates(L)) for x in SEQUENCES] == pytest.approx([L / (L + 1)] * 3), "with one rate it is"


def test_a_block_that_breaks_off_is_as_large_as_what_is_there() -> None:
    valid_KR = torch.tensor([[True] * 4 + [True, True, False, False]])
    loss_KRQ = torch.tensor([1, 0, 0, 0, 1, 0, 0, 0]).bool().view(1, 8, 1)
    assert block_rates(loss_KRQ, valid_KR, 4).flatten().tolist() == [0.25] * 4 + [0.5] * 4
    assert block_rates(loss_KRQ, valid_KR & False, 4).isfinite().all()


@pytest.mark.parametrize("layout", ["autoregressive", "anchored"])
def test_where_nothing_is_masked_no_frame_counts_more_than_another(layout: str) -> None:
    x = noised(SEQUENCES[0], torch.zeros(2, 1, L, dtype=torch.bool))
    x = replace(x, frames_N=x.frames_N - 1)
    rows = layout_of(layout)(x, Clock(L, 1), Vocabulary(V))
    assert torch.equal(weights(rows, x, "inverse_rate", 1), weights(rows, x, "mean", 1))


@dataclass(frozen=True)
class Knowing:
    """A denoiser of a Markov chain that says the exact chances given all that its layout lets it see. Its hidden states are they."""

    move_SS: Tensor
    still_S: Tensor
    behind: int
    clock: ClassVar = Clock(4, 1)
    vocabulary: ClassVar = Vocabulary(4)

    def __call__(self, ids_NTQ: Tensor, meta: Meta, text_NS: Tensor, states_N: Tensor, wanted: slice) -> Tensor:
        seen_NTT = allow(meta, meta).expand(len(ids_NTQ), -1, -1)
        positions = range(*wanted.indices(len(meta)))
        rows = [[self.said(ids_T, meta, seen_TT[t], t) for t in positions]
                for ids_T, seen_TT in zip(ids_NTQ[..., 0], seen_NTT, strict=True)]  # fmt: skip
        return torch.stack([torch.stack(row) for row in rows])

    def said(self, ids_T: Tensor, meta: Meta, seen_T: Tensor, t: int) -> Tensor:
        """Log chances of the frame asked at a position. Inputs of a row that is fed ``behind`` are of the frame before."""
        frame_T = meta.pos_NT[0] - self.behind
        known = (seen_T & (ids_T < self.vocabulary.size)).nonzero()[:, 0]
        if not len(known):
            chance_S = self.still_S
        else:
            last = known[frame_T[known].argmax()]
            moves = int(meta.pos_NT[0, t] - frame_T[last])
            chance_S = torch.linalg.matrix_power(self.move_SS, moves)[ids_T[last]]
        return torch.cat([chance_S, torch.zeros(1)]).log()  # nothing ends

    def logits(self, hidden_PD: Tensor) -> Tensor:
        return hidden_PD[:, None]


@pytest.mark.parametrize(("layout", "at_once"), [("autoregressive", 1), *(("two_stream", c) for c in (1, 2, 4))])
def test_frames_said_at_once_cost_what_they_cannot_know_of_each_other(layout: str, at_once: int) -> None:
    """T35: the loss of a perfect denoiser is what is enumerated for blocks that are said ``at_once``, and grows with them."""
    move_SS, still_S, _ = chain()
    random = np.random.default_rng(0)
    paths = [walk(move_SS, still_S, 12, random) for _ in range(40)]
    codes_NLQ = torch.tensor(paths)[:, :, None]
    knowing = Knowing(torch.tensor(move_SS), torch.tensor(still_S), int(layout == "autoregressive"))
    ids_NCLQ = torch.full_like(codes_NLQ, knowing.vocabulary.mask)[:, None]
    valid_NL = torch.ones(codes_NLQ.shape[:2], dtype=torch.bool)
    x = Noised(codes_NLQ, ids_NCLQ, torch.ones_like(ids_NCLQ, dtype=torch.bool), valid_NL, valid_NL.sum(1))
    batch = Batch(("",) * 40, x, codes_NLQ[:, :0, 0], torch.zeros(40, dtype=torch.long))
    masks = None if layout == "autoregressive" else "all"
    of_masks = {} if masks is None else {"masks": masks, "block": at_once}
    stage = StageSettings.model_validate({"layout": layout, "steps": 1, **of_masks})
    talker = cast("Talker", knowing)
    found = loss_of(talker, talker, batch, stage).mean().item()
    assert found == pytest.approx(left_open(move_SS, still_S, paths, at_once), abs=1e-9)
    assert at_once == 1 or found > left_open(move_SS, still_S, paths, at_once // 2) + 0.1


def test_the_weight_of_a_position_is_one_in_the_mean_down_to_the_clip() -> None:
    for rate in (0.05, 0.1, 0.5, 1.0):
        assert rate * inverse_rate(torch.tensor([True]), torch.tensor([rate])).item() == pytest.approx(1.0)
    assert 0.01 * inverse_rate(torch.tensor([True]), torch.tensor([0.01])).item() == pytest.approx(0.2)


@pytest.mark.parametrize("clip", [0.05, 0.2])
def test_weights_of_clipped_rates_integrate_to_one(clip: float) -> None:
    """T13: a position counts once in the mean over rates from the clip to 1; over all rates, half a clip less."""
    nodes, parts = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(8))

    def mean(low: float, high: float) -> float:
        """Of rate x weight over rates between two ends."""
        rate = low + (high - low) * (nodes + 1) / 2
        weight = inverse_rate(torch.ones_like(rate, dtype=torch.bool), rate, clip)
        return float((parts / 2 * rate * weight).sum())

    assert mean(clip, 1.0) == pytest.approx(1.0, abs=1e-12)
    assert clip * mean(0.0, clip) + (1 - clip) * mean(clip, 1.0) == pytest.approx(1 - clip / 2, abs=1e-12)


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
