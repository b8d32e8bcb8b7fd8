"""In which precision layers are computed. Weights, losses, gradients and optimiser are float32 in any case."""

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


def computing(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which layers are computed."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
