"""In which precision layers are computed. Weights, losses, gradients and what optimisers keep are float32 in any case."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def has_bf16_units(device: torch.device) -> bool:
    """Whether bf16 pays: a GPU that has it, or a processor with AMX tiles. Elsewhere it is emulated, and many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_amx_tile_supported())


def chosen(precision: str, device: torch.device) -> str:
    """``fp32`` or ``bf16`` for ``auto``; others stay what they are."""
    if precision != "auto":
        return precision
    return "bf16" if has_bf16_units(device) else "fp32"


def multiplying(precision: str, device: torch.device) -> torch.dtype:
    """In what numbers an optimiser multiplies matrices: bf16 where layers are computed in it and it is not emulated."""
    return torch.bfloat16 if precision == "bf16" and has_bf16_units(device) else torch.float32


def computing(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which layers are computed."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
