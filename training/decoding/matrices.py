"""Weight matrices as decoding multiplies by them: as they are, or repacked once so that few rows cost less.

A matrix product of a few rows is mostly the reading of the weights. Libraries rearrange them on every call, which for wide
talkers on a processor costs as much again; oneDNN can be given them rearranged.

Legend: R rows, F rows filled up, D width of what goes in, O width of what comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from training.precision import has_bf16_units

SMALL = 2**19  # numbers of a matrix that stays in a core's cache from pass to pass
TILE = 16  # rows of AMX


class Matrix(Protocol):
    """A linear map."""

    def __call__(self, x_RD: Tensor, bias_O: Tensor | None = None) -> Tensor:
        """``x W``, and a bias where there is one, (R, O)."""
        ...

    def added(self, base_RO: Tensor, x_RD: Tensor) -> Tensor:
        """``base + x W``."""
        ...

    def rectified(self, x_RD: Tensor) -> Tensor:
        """``max(x W, 0)``."""
        ...


class Plain:
    """A view of the parameter: follows it when it is trained on."""

    def __init__(self, weight_OD: Tensor) -> None:
        self.weight_DO = weight_OD.t()

    def __call__(self, x_RD: Tensor, bias_O: Tensor | None = None) -> Tensor:
        return torch.mm(x_RD, self.weight_DO) if bias_O is None else torch.addmm(bias_O, x_RD, self.weight_DO)

    def added(self, base_RO: Tensor, x_RD: Tensor) -> Tensor:
        return torch.addmm(base_RO, x_RD, self.weight_DO)

    def rectified(self, x_RD: Tensor) -> Tensor:
        return torch.mm(x_RD, self.weight_DO).relu_()


class Packed:
    """A copy in oneDNN's own order, on a processor only. One row of float32 gains by it where the matrix is not small.

    With AMX, oneDNN takes up to half as long again for 17 to 32 rows of bfloat16 (a second tile) as for 33: there rows are filled up.
    """

    def __init__(self, weight_OD: Tensor) -> None:
        self.plain = Plain(weight_OD)
        small = weight_OD.dtype == torch.float32 and weight_OD.numel() < SMALL
        self.fewest = 2 if small else 1  # rows
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight_OD.detach().contiguous().clone(), None)
        tiled = weight_OD.dtype == torch.bfloat16 and has_bf16_units(weight_OD.device)
        self.slow = range(TILE + 1, 2 * TILE + 1) if tiled else range(0)

    def _filled(self, x_RD: Tensor) -> Tensor:
        return F.pad(x_RD, (0, 0, 0, 2 * TILE + 1 - len(x_RD))) if len(x_RD) in self.slow else x_RD

    def __call__(self, x_RD: Tensor, bias_O: Tensor | None = None) -> Tensor:
        if len(x_RD) < self.fewest:
            return self.plain(x_RD, bias_O)
        return torch.ops.mkldnn._linear_pointwise(self._filled(x_RD), self.weight, bias_O, "none", [], "")[: len(x_RD)]

    def added(self, base_RO: Tensor, x_RD: Tensor) -> Tensor:
        if len(x_RD) < self.fewest:
            return self.plain.added(base_RO, x_RD)
        x_FD, base_FO = self._filled(x_RD), self._filled(base_RO)
        return torch.ops.mkldnn._linear_pointwise.binary(x_FD, base_FO, self.weight, None, "add")[: len(x_RD)]

    def rectified(self, x_RD: Tensor) -> Tensor:
        if len(x_RD) < self.fewest:
            return self.plain.rectified(x_RD)
        return torch.ops.mkldnn._linear_pointwise(self._filled(x_RD), self.weight, None, "relu", [], "")[: len(x_RD)]


def can_pack(weight_OD: Tensor) -> bool:
    """This torch and this matrix allow for packing."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    if not there or weight_OD.device.type != "cpu":
        return False
    return weight_OD.dtype == torch.float32 or (
        weight_OD.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def matrices(packed: bool) -> Callable[[Tensor], Matrix]:
    """How weights are held. Where packing is not possible they stay as they are."""
    return lambda weight_OD: Packed(weight_OD) if packed and can_pack(weight_OD) else Plain(weight_OD)
