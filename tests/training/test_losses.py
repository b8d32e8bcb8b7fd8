"""Losses of positions, their weights, and their reduction."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from training.losses import (
    KLS,
    TOP_K_KLS,
    WEIGHTINGS,
    Sum,
    chunked,
    chunked_cross_entropy,
    cross_entropy,
    entropy_when_right,
    forward_kl,
    inverse_rate,
    reduce,
    reverse_kl,
    top_k,
)

NO_FLOOR = -1e4


def random(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(x), x)
    return found


# Cross-entropy


def test_a_uniform_model_loses_log_of_its_classes_on_masked_positions_and_learns_from_those_alone() -> None:
    head = nn.Linear(4, 11)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    hidden = torch.randn(6, 4, requires_grad=True)
    masked = torch.tensor([1.0, 0, 1, 0, 0, 1])
    targets = torch.tensor([0, 3, 10, 5, 2, 10])  # 10 is EOS
    loss = chunked_cross_entropy(hidden, head, targets, masked, chunk=4)
    assert loss.mean().item() == pytest.approx(math.log(11), abs=1e-6)
    assert loss.weight.item() == 3
    loss.mean().backward()
    assert head.bias.grad is not None
    # A uniform head has gradient 1/11 of each masked position, less the target's: classes of others have no target in it.
    expected = torch.full((11,), 1 / 11) - F.one_hot(targets[masked > 0], 11).float().mean(0)
    assert torch.allclose(head.bias.grad, expected, atol=1e-6)


def test_positions_that_are_not_masked_have_no_gradient() -> None:
    head, hidden = nn.Linear(4, 11), torch.randn(6, 4, requires_grad=True)
    masked = torch.tensor([1.0, 0, 1, 0, 0, 1])
    chunked_cross_entropy(hidden, head, torch.arange(6), masked, chunk=2).mean().backward()
    assert hidden.grad is not None
    assert torch.equal(hidden.grad.abs().sum(1) > 0, masked > 0)


def test_half_precision_logits_lose_in_float32() -> None:
    logits = torch.randn(3, 5).bfloat16()
    for loss in (cross_entropy(logits, torch.arange(3)), reverse_kl(logits, logits, tau=1.0, floor=-20.0)):
        assert loss.dtype == torch.float32


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.integers(1, 12), st.integers(0, 2**16))
def test_in_chunks_it_is_the_same_value_and_gradient(positions: int, chunk: int, seed: int) -> None:
    head = nn.Linear(3, 7).double()
    hidden, targets = random(positions, 3, seed=seed), torch.arange(positions) % 7
    weight = random(positions, seed=seed + 1).clamp_min(0)
    found, whole = copy.deepcopy(head), copy.deepcopy(head)
    x, y = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    part = chunked_cross_entropy(x, found, targets, weight, chunk)
    full = reduce(cross_entropy(whole(y), targets), weight)
    part.mean().backward()
    full.mean().backward()
    assert torch.allclose(part.total, full.total, atol=1e-12)
    assert torch.allclose(part.weight, full.weight, atol=1e-12)
    pairs = zip([x, *found.parameters()], [y, *whole.parameters()], strict=True)
    for a, b in pairs:
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=1e-12)


def test_chunks_keep_no_logits_for_backward() -> None:
    """What autograd stores is as much as the inputs, not the classes."""
    head, hidden = nn.Linear(2, 1000, bias=False), torch.randn(64, 2, requires_grad=True)

    def stored(recompute: bool) -> int:
        sizes: list[int] = []

        def pack(x: Tensor) -> Tensor:
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            chunked(
                lambda h, t: cross_entropy(head(h), t), torch.ones(64), hidden, torch.arange(64), chunk=8, recompute=recompute
            )  # fmt: skip
        return max(sizes, default=0)

    assert stored(False) >= 8 * 1000
    assert stored(True) < 8 * 1000


def test_a_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        chunked_cross_entropy(torch.zeros(2, 2), nn.Linear(2, 3), torch.zeros(2), torch.ones(2), chunk=0)


# Nothing selected


@pytest.mark.parametrize("positions", [0, 4])
def test_nothing_selected_is_a_loss_of_nothing_with_a_finite_gradient(positions: int) -> None:
    head, hidden = nn.Linear(3, 5), torch.randn(positions, 3, requires_grad=True)
    found = chunked_cross_entropy(hidden, head, torch.zeros(positions), torch.zeros(positions), chunk=2)
    assert found.weight.item() == 0
    assert found.mean().item() == 0
    found.mean().backward()
    for x in (hidden, *head.parameters()):
        assert x.grad is not None
        assert (x.grad == 0).all()


def test_a_row_without_masks_counts_for_nothing() -> None:
    masked = torch.tensor([[True, False], [False, False]])
    for name, weigh in WEIGHTINGS.items():
        weight = weigh(masked, torch.full((2, 2), 0.5))
        assert weight.isfinite().all(), name
        assert (weight[~masked] == 0).all(), name
    loss = torch.tensor([[2.0, 7.0], [5.0, 5.0]])
    assert reduce(loss, WEIGHTINGS["per_row"](masked, masked)).mean().item() == 2.0


def test_an_infinite_loss_of_no_weight_is_not_there() -> None:
    loss = torch.tensor([1.0, math.inf, math.nan], requires_grad=True)
    found = reduce(loss, torch.tensor([1.0, 0.0, 0.0])).mean()
    assert found.item() == 1.0
    found.backward()
    assert loss.grad is not None
    assert loss.grad.tolist() == [1.0, 0.0, 0.0]


# One normalisation


def gradient_of(model: nn.Module, parts: list[slice], factor: float, weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of the parts of a batch, each over the weight of the whole, times ``factor``."""
    own = copy.deepcopy(model)
    for part in parts:
        loss = reduce(cross_entropy(own(x[part]).flatten(0, 1), y[part].flatten()), weight[part].flatten())
        (loss.mean(weight.sum()) * factor).backward()
    return torch.cat([p.grad.flatten() for p in own.parameters() if p.grad is not None])


@pytest.mark.parametrize("weighting", sorted(WEIGHTINGS))
def test_any_split_of_a_batch_gives_the_same_gradient(weighting: str) -> None:
    """One batch of 8, 4 accumulated pairs, and 2 ranks of 4 whose gradients are averaged; rows of unequal numbers of masks."""
    model = nn.Linear(3, 5).double()
    x, y = random(8, 6, 3), torch.arange(48).view(8, 6) % 5
    rate = torch.linspace(0.1, 0.9, 8).view(8, 1).expand(8, 6)
    masked = torch.rand(8, 6, generator=torch.Generator().manual_seed(2)) < rate
    masked[0] = False
    given = WEIGHTINGS[weighting](masked, rate).double(), x, y

    one = gradient_of(model, [slice(0, 8)], 1, *given)
    accumulated = gradient_of(model, [slice(i, i + 2) for i in range(0, 8, 2)], 1, *given)
    ranks = [gradient_of(model, [part], 2, *given) for part in (slice(0, 4), slice(4, 8))]
    assert one.abs().max() > 1e-3
    assert torch.allclose(accumulated, one, atol=1e-14)
    assert torch.allclose((ranks[0] + ranks[1]) / 2, one, atol=1e-14)


def test_a_mean_of_means_would_be_another_loss() -> None:
    """Why the weight of the whole has to be known: parts with unequal weights."""
    loss, weight = torch.tensor([1.0, 1.0, 1.0, 5.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])
    parts = [reduce(loss[:3], weight[:3]), reduce(loss[3:], weight[3:])]
    assert sum(p.mean(weight.sum()).item() for p in parts) == reduce(loss, weight).mean().item() == 2.0
    assert sum(p.mean().item() for p in parts) / 2 == 3.0


def test_padding_changes_nothing() -> None:
    loss, weight = random(5).abs(), torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0]).double()
    padded = torch.cat([loss, torch.full((3,), 1e4).double()]), torch.cat([weight, torch.zeros(3).double()])
    assert torch.equal(reduce(loss, weight).mean(), reduce(*padded).mean())


def test_sums_of_parts_are_the_sum_of_the_whole() -> None:
    loss, weight = random(6), random(6, seed=1).abs()
    parts = reduce(loss[:2], weight[:2]) + reduce(loss[2:], weight[2:])
    assert isinstance(parts, Sum)
    assert torch.allclose(parts.mean(), reduce(loss, weight).mean(), atol=1e-14)


def test_weights_say_what_their_names_say() -> None:
    masked = torch.tensor([[True, True, True, False], [False, False, True, False]])
    rate = torch.tensor([[0.75] * 4, [0.01] * 4])
    assert WEIGHTINGS["mean"](masked, rate).tolist() == [[1, 1, 1, 0], [0, 0, 1, 0]]
    assert WEIGHTINGS["per_row"](masked, rate).sum(1).tolist() == pytest.approx([1, 1])
    assert inverse_rate(masked, rate, clip=0.05).sum(1).tolist() == pytest.approx([4, 20])
    assert inverse_rate(masked, rate, clip=0.01).sum(1).tolist() == pytest.approx([4, 100])


# Divergences


def test_directions_of_a_case_worked_out_by_hand() -> None:
    student, teacher = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.7, 0.2, 0.1]]).log()
    forward = 0.7 * math.log(0.7 / 0.5) + 0.2 * math.log(0.2 / 0.25) + 0.1 * math.log(0.1 / 0.25)
    reverse = 0.5 * math.log(0.5 / 0.7) + 0.25 * math.log(0.25 / 0.2) + 0.25 * math.log(0.25 / 0.1)
    assert abs(forward - reverse) > 0.01
    assert forward_kl(student, teacher, tau=1.0, floor=NO_FLOOR).item() == pytest.approx(forward, abs=1e-6)
    assert reverse_kl(student, teacher, tau=1.0, floor=NO_FLOOR).item() == pytest.approx(reverse, abs=1e-6)


@pytest.mark.parametrize("tau", [1.0, 2.0])
@pytest.mark.parametrize("squared", [False, True])
def test_gradients_are_the_closed_forms(tau: float, squared: bool) -> None:
    student, teacher = random(4, 6), random(4, 6, seed=1)
    q, p = (student / tau).softmax(-1), (teacher / tau).softmax(-1)
    ratio = q.log() - p.log()
    value = (q * ratio).sum(-1, keepdim=True)
    scale = tau * tau if squared else 1.0
    forward = gradient(lambda s: forward_kl(s, teacher, tau=tau, floor=NO_FLOOR, tau_squared=squared).sum(), student)
    reverse = gradient(lambda s: reverse_kl(s, teacher, tau=tau, floor=NO_FLOOR, tau_squared=squared).sum(), student)
    assert torch.allclose(forward, (q - p) / tau * scale, atol=1e-12)
    assert torch.allclose(reverse, q * (ratio - value) / tau * scale, atol=1e-12)


@pytest.mark.parametrize("direction", sorted(KLS))
def test_gradients_are_those_of_finite_differences(direction: str) -> None:
    teacher = random(3, 5, seed=1)
    student = random(3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: KLS[direction](s, teacher, tau=2.0, floor=-3.0), (student,))


@pytest.mark.parametrize("direction", sorted(KLS))
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_temperature_is_that_of_both_sides_and_squared_when_asked_only(direction: str, tau: float) -> None:
    student, teacher = random(4, 6), random(4, 6, seed=1)
    plain = KLS[direction](student, teacher, tau=tau, floor=NO_FLOOR)
    assert torch.allclose(plain, KLS[direction](student / tau, teacher / tau, tau=1.0, floor=NO_FLOOR), atol=1e-12)
    squared = KLS[direction](student, teacher, tau=tau, floor=NO_FLOOR, tau_squared=True)
    assert torch.allclose(squared, plain * tau * tau, atol=1e-12)


@pytest.mark.parametrize("direction", sorted(KLS))
def test_a_student_that_is_the_teacher_has_neither_loss_nor_gradient(direction: str) -> None:
    logits = random(4, 6).float()
    assert (KLS[direction](logits, logits, tau=2.0, floor=NO_FLOOR) == 0).all()
    moved = gradient(lambda s: KLS[direction](s, logits, tau=2.0, floor=NO_FLOOR).sum(), logits)
    # Reverse has the factor log q - log p = 0. Forward is q sum(p) - p, and a sum of float32 probabilities is 1 to rounding.
    assert moved.abs().max() <= (1e-7 if direction == "forward" else 0.0)


def test_the_floor_is_what_a_class_costs_that_the_teacher_rules_out() -> None:
    student = torch.tensor([[0.9, 0.1]]).log()
    teacher = torch.tensor([[0.0, float("-inf")]])
    found = reverse_kl(student, teacher, tau=1.0, floor=math.log(1e-4)).item()
    assert found == pytest.approx(0.9 * math.log(0.9) + 0.1 * (math.log(0.1) - math.log(1e-4)), abs=1e-6)
    assert forward_kl(student, teacher, tau=1.0, floor=-20.0).item() == pytest.approx(-math.log(0.9), abs=1e-6)


MODES = torch.tensor([[0.6, 0.0], [0.0, 0.4]], dtype=torch.float64)  # of two tokens: 00 and 11
FIRST, THEN = (
    MODES.sum(1),
    MODES / MODES.sum(1, keepdim=True),
)  # what a teacher says of one, and of the other once that is decided


def learned(loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The distribution of a token that a loss leads to."""
    logits = torch.zeros(2).double().requires_grad_()
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(logits)
        value.backward()
        return value

    optimiser.step(closure)
    return logits.softmax(-1).detach()


@pytest.mark.parametrize(
    ("direction", "expected", "apart"), [("forward", (0.600, 0.400), 0.480), ("reverse", (0.863, 0.137), 0.427)]
)  # fmt: skip
def test_what_each_direction_makes_of_targets_that_disagree(
    direction: str, expected: tuple[float, float], apart: float
) -> None:
    """T27: the later token's target is certain, but of two kinds, as the first one was drawn.

    Forward is content with the marginal; reverse goes for what is less forbidden. Neither makes the tokens agree.
    """

    def loss(logits: Tensor) -> Tensor:
        return reduce(KLS[direction](logits.expand(2, 2), THEN.log(), tau=1.0, floor=math.log(1e-4)), FIRST).mean()

    second = learned(loss)
    assert second.tolist() == pytest.approx(expected, abs=1e-3)
    assert (FIRST * (1 - second)).sum().item() == pytest.approx(apart, abs=1e-3)


def test_codes_of_one_trajectory_agree_and_leave_no_doubt() -> None:
    """T27: a teacher that takes the likeliest token decides for one of the modes; its codes as hard targets are that mode, and nothing else."""
    one = FIRST.argmax()
    trajectory = (one, THEN[one].argmax())
    first, second = (learned(lambda x, code=code: cross_entropy(x[None], code[None]).sum()) for code in trajectory)
    assert (first * (1 - second)).sum().item() < 1e-3, "they do not say 01 or 10"
    assert torch.special.entr(torch.stack([first, second])).sum().item() < 0.01


@pytest.mark.parametrize("direction", sorted(TOP_K_KLS))
@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_stored_classes_and_the_rest_never_show_more_than_all_and_come_to_it(direction: str, tau: float) -> None:
    student, teacher = random(8, 9), random(8, 9, seed=1)
    full = KLS[direction](student, teacher, tau=tau, floor=NO_FLOOR)
    last = torch.zeros_like(full)
    for k in range(1, 10):
        found = TOP_K_KLS[direction](student, *top_k(teacher, k, tau), tau=tau, floor=NO_FLOOR)
        assert (found <= full + 1e-9).all()
        assert (found >= last - 1e-9).all()
        last = found
    assert torch.allclose(last, full, atol=1e-9)
    assert not torch.allclose(TOP_K_KLS[direction](student, *top_k(teacher, 1, tau), tau=tau, floor=NO_FLOOR), full)


@pytest.mark.parametrize("direction", sorted(TOP_K_KLS))
def test_stored_classes_have_finite_gradients_for_any_number_of_them(direction: str) -> None:
    student, teacher = random(3, 5), random(3, 5, seed=1, scale=30)
    for k in range(1, 6):
        ids, logp = top_k(teacher, k, 1.0)
        loss = partial(TOP_K_KLS[direction], ids_PK=ids, logp_PK=logp, tau=1.0, floor=-20.0)
        found = gradient(lambda s, loss=loss: loss(s).sum(), student)
        assert found.isfinite().all()
        assert found.abs().max() > 0


@pytest.mark.parametrize("direction", sorted(KLS))
def test_divergences_in_chunks_are_the_same(direction: str) -> None:
    head, teacher_head = nn.Linear(3, 7).double(), nn.Linear(4, 7).double()
    hidden, teacher, weight = random(10, 3).requires_grad_(), random(10, 4, seed=1), random(10, seed=2).abs()

    def loss(h: Tensor, t: Tensor) -> Tensor:
        return KLS[direction](head(h), teacher_head(t).detach(), tau=2.0, floor=-15.0)

    part, full = chunked(loss, weight, hidden, teacher, chunk=3), reduce(loss(hidden, teacher), weight)
    assert torch.allclose(part.mean(), full.mean(), atol=1e-13)
    for a, b in zip(
        torch.autograd.grad(part.mean(), [hidden, *head.parameters()]),
        torch.autograd.grad(full.mean(), [hidden, *head.parameters()]),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-13)


def test_certainty_is_asked_for_where_the_model_is_right() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]], requires_grad=True)
    found = entropy_when_right(logits, torch.tensor([0, 0]), tau=0.5)
    p = torch.tensor([4.0, 0.0, 0.0]).softmax(-1)
    assert found.tolist() == pytest.approx([-(p * p.log()).sum().item(), 0.0], abs=1e-6)
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0, "the right class is to grow"
    assert (logits.grad[1] == 0).all()


@given(st.floats(0, 1), st.integers(1, 9), st.integers(1, 4))
def test_a_mix_of_two_losses_is_the_loss_of_the_mix_and_tells_the_second(alpha: float, count: int, chunk: int) -> None:
    torch.manual_seed(count)
    apart, true, weight = torch.rand(3, count, 2, dtype=torch.float64)
    apart.requires_grad_()
    both = chunked(lambda a, t: torch.stack([a, t]), weight, apart, true, chunk=chunk, recompute=False).mixed(
        alpha, 1 - alpha
    )
    whole = reduce(alpha * apart.detach() + (1 - alpha) * true, weight)
    assert torch.allclose(both.total, whole.total)
    assert torch.allclose(both.weight, whole.weight)
    assert both.true is not None
    assert torch.allclose(both.true, (true * weight).sum())
    both.total.backward()
    assert apart.grad is not None
    assert torch.allclose(apart.grad, alpha * weight)
