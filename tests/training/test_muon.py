"""Muon: what a step does to a matrix."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.muon import COEFFICIENTS, ROUNDS, Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (16, 200)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    many = torch.randn(3, *shape) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    values = torch.linalg.svdvals(orthogonal(many))
    assert values.max() < 1.3
    assert values.median() > 0.7  # the very smallest of a square matrix need more rounds


@pytest.mark.parametrize("width", [16, 31, 32, 200])
def test_rounds_among_gram_matrices_are_the_rounds_of_the_matrix_itself(width: int) -> None:
    torch.manual_seed(0)
    many = torch.randn(3, 16, width, dtype=torch.float64)
    a, b, c = COEFFICIENTS
    x = many / many.norm(dim=(1, 2), keepdim=True)
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    torch.testing.assert_close(orthogonal(many), x)


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (16, 200)])
def test_rounds_in_bf16_are_nearly_those_in_float32_for_small_singular_values_too(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left_KII, _ = torch.linalg.qr(torch.randn(3, shape[0], shape[0]))
    right_KOI, _ = torch.linalg.qr(torch.randn(3, shape[1], shape[0]))
    values_I = torch.logspace(0, -3, shape[0])
    many = left_KII * values_I @ right_KOI.mT
    whole, half = orthogonal(many), orthogonal(many, torch.bfloat16)
    assert half.dtype == torch.float32
    assert (half - whole).norm() < 0.1 * whole.norm()
    assert not torch.equal(half, whole)


def test_matrices_that_are_worked_on_together_do_not_meet() -> None:
    torch.manual_seed(0)
    many = torch.randn(4, 8, 12)
    alone = torch.cat([orthogonal(one[None]) for one in many])
    torch.testing.assert_close(orthogonal(many), alone)


def test_a_step_is_that_of_torch_within_its_bf16() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(12, 30)) for _ in range(2))
    mine = Muon([ours], {}, lr=0.01, momentum=0.9, weight_decay=0.1)
    reference = torch.optim.Muon(
        [theirs], lr=0.01, momentum=0.9, weight_decay=0.1, ns_steps=ROUNDS, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(3):
        ours.grad = torch.randn(12, 30)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    moved = (ours - 1).norm()
    assert (ours - theirs).norm() < 0.03 * moved


def test_parts_of_a_stacked_matrix_move_as_matrices_of_their_own() -> None:
    torch.manual_seed(0)
    stacked, apart = nn.Parameter(torch.zeros(12, 4)), [nn.Parameter(torch.zeros(4, 4)) for _ in range(3)]
    pull = torch.randn(12, 4)
    stacked.grad = pull.clone()
    for weight, part in zip(apart, pull.chunk(3), strict=True):
        weight.grad = part.clone()
    Muon([stacked], {id(stacked): 3}, lr=0.1).step()
    Muon(apart, {}, lr=0.1).step()
    torch.testing.assert_close(stacked.data, torch.cat([w.data for w in apart]))
    whole = nn.Parameter(torch.zeros(12, 4))
    whole.grad = pull.clone()
    Muon([whole], {}, lr=0.1).step()
    assert (whole - stacked).norm() > 0.1 * whole.norm()
