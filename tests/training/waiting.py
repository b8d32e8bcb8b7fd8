"""What makes the host wait for the device: on a processor that costs nothing, so it is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ASKING = ("tolist", "numpy", "cpu", "item", "__bool__", "__int__", "__float__", "__index__")


class Watch(TorchDispatchMode):
    """Counts operations that make the host wait for the device."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket).removeprefix("aten.")
        by_mask = name.startswith("index") and any(
            isinstance(x, Tensor) and x.dtype == torch.bool for a in args if isinstance(a, list | tuple) for x in a
        )
        if by_mask or name.startswith(self.WAITING):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def waits(action: Callable[[], Any]) -> list[str]:
    """Names of what waits for the device in a call."""
    with pytest.MonkeyPatch.context() as patch, Watch() as watch:
        for name in ASKING:
            genuine = getattr(Tensor, name)

            def counted(self: Tensor, *args: Any, _name: str = name, _genuine: Any = genuine) -> Any:
                watch.found.append(_name)
                return _genuine(self, *args)

            patch.setattr(Tensor, name, counted)
        action()
    return watch.found
