"""Muon (Jordan et al. 2024): each step of a matrix is its momentum, made orthogonal.

``torch.optim.Muon`` works in bf16 throughout, which processors without units for it only emulate: there a step of the optimiser
takes longer than the whole of backward. Here rounds are in float32, or in bf16 where that pays. Matrices of one shape are worked on
together, queries, keys and values, which lie in one matrix, apart from each other, and every rank works on a share of them: at small
batches this is half of a step's work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training.distributed import Ranks

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration: steepest at zero, so that few rounds are enough
ROUNDS = 4  # lifts singular values of a hundredth of the norm to about one
WIDE = 2  # from this many times as wide as high on, the rounds are cheaper among Gram matrices: half the time at 256 x 1024
RMS = 0.2  # size of a step's entries at lr 1: about AdamW's, so that one learning rate serves both (Liu et al. 2025)


def orthogonal(momentum_KIO: Tensor, numbers: torch.dtype | None = None) -> Tensor:
    """``direction_KIO``: K matrices, wider than high, with their singular values brought near 1 (Newton-Schulz iteration).

    Rounds are worked out in ``numbers``, else in the momentum's own. A Gram matrix has the singular values squared, of which bf16 loses the small ones:
    there the rounds are always those of the matrix itself.
    """
    x_KIO = momentum_KIO / momentum_KIO.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    x_KIO = x_KIO.to(numbers)
    if x_KIO.dtype != torch.bfloat16 and x_KIO.shape[2] >= WIDE * x_KIO.shape[1]:
        x_KIO = _whitener(x_KIO @ x_KIO.mT) @ x_KIO
    else:
        for _ in range(ROUNDS):
            x_KIO = _polynomial(x_KIO @ x_KIO.mT) @ x_KIO
    return x_KIO.to(momentum_KIO.dtype)


def _polynomial(gram_KII: Tensor) -> Tensor:
    """One round, as the matrix that is applied from the left."""
    a, b, c = COEFFICIENTS
    found_KII = torch.baddbmm(gram_KII, gram_KII, gram_KII, beta=b, alpha=c)
    found_KII.diagonal(dim1=1, dim2=2).add_(a)
    return found_KII


def _whitener(gram_KII: Tensor) -> Tensor:
    """All rounds as one matrix: every factor is a polynomial of the same Gram matrix, so the wide side is touched only at its ends."""
    whole_KII = _polynomial(gram_KII)
    last_KII = whole_KII
    for _ in range(ROUNDS - 1):
        gram_KII = last_KII @ (gram_KII @ last_KII)
        last_KII = _polynomial(gram_KII)
        whole_KII = last_KII @ whole_KII
    return whole_KII


def lying(matrix: Tensor) -> Tensor:
    """The matrix or its transpose, whichever is not higher than wide; a view."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT


class Muon(torch.optim.Optimizer):
    """For matrices of hidden layers. ``parts`` says of how many matrices one above the other a weight is made, by identity;
    ``numbers`` in which rounds are worked out.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        parts: dict[int, int],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        ranks: Ranks | None = None,
        numbers: torch.dtype | None = None,
    ) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._parts, self._ranks, self._numbers = parts, ranks or Ranks(), numbers

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nothing here is evaluated twice
        """Move every matrix along the orthogonal part of its momentum (Nesterov's form)."""
        for group in self.param_groups:
            alike: defaultdict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                pieces = self._parts.get(id(weight), 1)
                pull = self._pull(weight, group["momentum"])
                for part, pulled in zip(weight.chunk(pieces), pull.chunk(pieces), strict=True):
                    alike[lying(part).shape].append((lying(part), lying(pulled)))
            for shape, pairs in alike.items():
                moves = self._orthogonal(torch.stack([pull for _, pull in pairs]))
                for (part, _), move in zip(pairs, moves, strict=True):
                    part.mul_(1 - group["lr"] * group["weight_decay"])
                    part.add_(move, alpha=-group["lr"] * RMS * max(shape) ** 0.5)

    def _pull(self, weight: Tensor, momentum: float) -> Tensor:
        """Momentum with the gradient's latest word in it."""
        assert weight.grad is not None, "the trainer gives every weight a gradient"
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["momentum"], momentum)

    def _orthogonal(self, pulls_KIO: Tensor) -> Tensor:
        """The directions of all matrices of one shape, each worked out by one rank."""
        mine = slice(self._ranks.rank, None, self._ranks.size)
        moves_KIO = torch.zeros_like(pulls_KIO)
        if len(pulls_KIO[mine]):
            moves_KIO[mine] = orthogonal(pulls_KIO[mine], self._numbers)
        return self._ranks.add(moves_KIO)
