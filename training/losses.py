"""Losses of single positions, the weights of positions, and the one way in which they become a number.

A loss is computed in float32 (float64 stays) for positions that are picked out beforehand, and reduced as weighted sum over
global weight: any split of a batch over steps or ranks then gives the same gradient, and padding cannot enter it.

Legend: P positions, Q codebooks, D width, C classes, N rows. Losses and entropies are in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

TINY = 1e-8  # a weight below which there is nothing to divide by


@dataclass(frozen=True)
class Sum:
    """A weighted sum of losses and the weight it has, both scalars. Sums of parts add up to the sum of the whole.

    Of losses of K kinds, ``total`` is (K,) until :meth:`mixed`. ``true`` is the same sum of the true codes' cross-entropy, to be told beside a
    loss that is more than that; it has no gradient.
    """

    total: Tensor
    weight: Tensor
    true: Tensor | None = None

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.total + other.total, self.weight + other.weight)

    def mixed(self, *shares: float) -> Sum:
        """So much of each kind, the last of which is the cross-entropy of true codes."""
        parts = [share * total for share, total in zip(shares, self.total, strict=True)]
        return Sum(torch.stack(parts).sum(), self.weight, self.total[-1].detach())

    def mean(self, weight: Tensor | None = None) -> Tensor:
        """The loss: over the own weight, or over that of the whole batch of which this is a part.

        Backward of every part's ``mean(weight of all parts)``, gradients added, is the backward of one batch. Frameworks that
        average gradients over ranks need it times the number of ranks. Nothing selected is a loss of 0.
        """
        return self.total / (self.weight if weight is None else weight).clamp_min(TINY)


def reduce(loss_P: Tensor, weight_P: Tensor) -> Sum:
    """Weighted sum. A position of weight 0 adds nothing, even where its loss is not finite. ``loss_KP`` gives a sum of each kind."""
    weight_P = weight_P.to(loss_P.dtype)
    counted_P = torch.where(weight_P > 0, loss_P, 0) * weight_P
    return Sum(counted_P.flatten(-weight_P.dim()).sum(-1), weight_P.sum())


def chunked(
    position_loss: Callable[..., Tensor], weight_P: Tensor, *inputs_P: Tensor, chunk: int, recompute: bool = True
) -> Sum:
    """``reduce(position_loss(*inputs_P), weight_P)`` in pieces of ``chunk`` positions.

    With ``recompute`` a piece keeps its inputs alone for backward and is computed again there, so that logits never exist for
    more than one piece. Gradients reach the inputs and whatever ``position_loss`` holds, such as a head. ``position_loss`` must
    be a pure function: it draws no noise. Raises ValueError where ``chunk`` is not positive.
    """
    if chunk < 1:
        raise ValueError(f"a chunk has at least 1 position, not {chunk}")

    def piece(weight: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        found = reduce(position_loss(*inputs), weight)
        return found.total, found.weight

    result: Sum | None = None
    for start in range(0, max(len(weight_P), 1), chunk):  # nothing at all is one empty piece: loss 0, gradients 0
        part = [x[start : start + chunk] for x in (weight_P, *inputs_P)]
        done = checkpoint(piece, *part, use_reentrant=False, preserve_rng_state=False) if recompute else piece(*part)
        result = Sum(*done) if result is None else result + Sum(*done)
    assert result is not None
    return result


def chunked_cross_entropy(
    hidden_PD: Tensor, head: Callable[[Tensor], Tensor], targets_P: Tensor, weight_P: Tensor, chunk: int
) -> Sum:
    """Masked cross-entropy with the head inside the chunks: value and gradient are those of the unchunked loss."""
    return chunked(
        lambda hidden, targets: cross_entropy(head(hidden), targets), weight_P, hidden_PD, targets_P, chunk=chunk
    )


# Losses of positions


def of_codes(loss: Callable[[Tensor, Tensor], Tensor], logits_PQC: Tensor, codes_PQ: Tensor) -> Tensor:
    """``loss_PQ`` of a loss of single positions, all codebooks alike."""
    return loss(logits_PQC.flatten(0, 1), codes_PQ.flatten()).view_as(codes_PQ)


def cross_entropy(logits_PC: Tensor, targets_P: Tensor) -> Tensor:
    """``-log p(target)``; EOS is a target like any other."""
    return F.cross_entropy(_precise(logits_PC), targets_P.long(), reduction="none")


def forward_kl(
    student_PC: Tensor, teacher_PC: Tensor, *, tau: float, floor: float, tau_squared: bool = False
) -> Tensor:
    """KL(teacher || student) of logits, both at temperature ``tau``: covers all that the teacher finds likely.

    ``floor`` is the least log probability that the teacher counts as having. ``tau_squared`` multiplies by tau^2, which keeps
    the size of gradients over tau (Hinton et al. 2015); VocalNet-MDM does not say that it does.
    """
    return _forward(_log_probs(student_PC, tau), _log_probs(teacher_PC, tau), floor) * _scale(tau, tau_squared)


def reverse_kl(
    student_PC: Tensor, teacher_PC: Tensor, *, tau: float, floor: float, tau_squared: bool = False
) -> Tensor:
    """KL(student || teacher) of logits, likewise: avoids what the teacher finds unlikely (VocalNet-MDM 3.4, tau 2; SDTT).

    The student pays for mass wherever the teacher has none, so ``floor`` says what that costs at most. It is not made up for
    by normalising, so where it binds the value can be below 0. The teacher is constant: no gradient reaches it.
    """
    return _reverse(_log_probs(student_PC, tau), _log_probs(teacher_PC, tau), floor) * _scale(tau, tau_squared)


def top_k(teacher_PC: Tensor, k: int, tau: float) -> tuple[Tensor, Tensor]:
    """``ids_PK`` and ``logp_PK`` of the ``k`` likeliest classes at temperature ``tau``: what a top-k store keeps."""
    found = _log_probs(teacher_PC, tau).topk(k, dim=-1)
    return found.indices, found.values


def forward_kl_top_k(
    student_PC: Tensor, ids_PK: Tensor, logp_PK: Tensor, *, tau: float, floor: float, tau_squared: bool = False
) -> Tensor:
    """:func:`forward_kl` with all classes but the stored ones taken together; never more than the full one.

    ``logp_PK`` must be of the same ``tau``: the mass outside the stored classes cannot be brought to another temperature.
    """
    student_PK, teacher_PK = _coarse(student_PC, ids_PK, logp_PK, tau)
    return _forward(student_PK, teacher_PK, floor) * _scale(tau, tau_squared)


def reverse_kl_top_k(
    student_PC: Tensor, ids_PK: Tensor, logp_PK: Tensor, *, tau: float, floor: float, tau_squared: bool = False
) -> Tensor:
    """:func:`reverse_kl` with all classes but the stored ones taken together; never more than the full one.

    Student mass outside the stored classes is told only that it is outside: a small value can hide a large full one.
    """
    student_PK, teacher_PK = _coarse(student_PC, ids_PK, logp_PK, tau)
    return _reverse(student_PK, teacher_PK, floor) * _scale(tau, tau_squared)


def entropy_when_right(logits_PC: Tensor, targets_P: Tensor, *, tau: float) -> Tensor:
    """Entropy at temperature ``tau`` where the likeliest class is the target, else 0 (dParallel, tau .5): be sure of what you know."""
    logits_PC = _precise(logits_PC)
    logp_PC = (logits_PC / tau).log_softmax(-1)
    entropy_P = -(logp_PC.exp() * logp_PC).sum(-1)
    return torch.where(logits_PC.argmax(-1) == targets_P, entropy_P, 0)


KLS: dict[str, Callable[..., Tensor]] = {"forward": forward_kl, "reverse": reverse_kl}
TOP_K_KLS: dict[str, Callable[..., Tensor]] = {"forward": forward_kl_top_k, "reverse": reverse_kl_top_k}


# Weights of positions


def mean(masked: Tensor, rate: Tensor) -> Tensor:
    """Every masked position alike (VocalNet-MDM)."""
    return masked.float()


def per_row(masked: Tensor, rate: Tensor) -> Tensor:
    """Every row alike, however much of it is masked."""
    count = masked.flatten(1).sum(1).clamp_min(1)
    return masked.float() / count.view(-1, *[1] * (masked.dim() - 1))


def inverse_rate(masked: Tensor, rate: Tensor, clip: float = 0.05) -> Tensor:
    """One over the rate at which the position was masked (MDLM, LLaDA), rates below ``clip`` counted as ``clip``.

    Without a clip, and in the mean over rates that are drawn uniform over [0, 1], its sum over what is guessed together is the
    negative ELBO of that (any-order likelihood). So it is with the share of M cells that is masked for the rate, where counts are drawn uniform over
    1 .. M; where each cell is masked by a draw of its own, be the rate one of the block or of the whole utterance, counts are
    uniform over 0 .. M, and it is M / (M + 1) of that.
    """
    return masked.float() / rate.clamp_min(clip)


WEIGHTINGS: dict[str, Callable[..., Tensor]] = {"mean": mean, "per_row": per_row, "inverse_rate": inverse_rate}


# Inner parts, on log probabilities


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _log_probs(logits_PC: Tensor, tau: float) -> Tensor:
    return (_precise(logits_PC) / tau).log_softmax(-1)


def _scale(tau: float, tau_squared: bool) -> float:
    return tau * tau if tau_squared else 1.0


def _forward(student_PC: Tensor, teacher_PC: Tensor, floor: float) -> Tensor:
    return (teacher_PC.exp() * (teacher_PC.clamp_min(floor) - student_PC)).sum(-1)


def _reverse(student_PC: Tensor, teacher_PC: Tensor, floor: float) -> Tensor:
    # The ratio may count as constant: what it adds to the gradient is sum q dlog q = d sum q = 0. Left out, it cannot add rounding
    # errors either, and a student that equals its teacher stays where it is, exactly.
    ratio_PC = (student_PC - teacher_PC.clamp_min(floor)).detach()
    return (student_PC.exp() * ratio_PC).sum(-1)


def _coarse(student_PC: Tensor, ids_PK: Tensor, logp_PK: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Log probabilities of student and teacher over the stored classes and the rest of them as one class."""
    student_PC, logp_PK, ids_PK = _log_probs(student_PC, tau), _precise(logp_PK), ids_PK.long()
    kept_PK = student_PC.gather(-1, ids_PK)
    if ids_PK.shape[-1] == student_PC.shape[-1]:
        return kept_PK, logp_PK
    rest_P1 = student_PC.scatter(-1, ids_PK, float("-inf")).logsumexp(-1, keepdim=True)
    left_P1 = (1 - logp_PK.exp().sum(-1, keepdim=True)).clamp_min(torch.finfo(logp_PK.dtype).tiny)
    return torch.cat([kept_PK, rest_P1], -1), torch.cat([logp_PK, left_P1.log()], -1)
