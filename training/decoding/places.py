"""Keys and values at places of their own, for rows that do not advance in step.

Legend: N rows, T positions of a pass, E places, H heads, Y width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass
class Places:
    """Where a pass puts its keys: ``place_NT`` of each position; it sees the first ``end`` places.

    kv_layers  for each layer (2, N, H, E, Y), zero where nothing was put yet: what is not seen must still be a number
    """

    kv_layers: tuple[Tensor, ...]
    place_NT: Tensor
    end: int

    def extended(self, layer: int, kv_2NHTY: Tensor) -> Tensor:
        """``kv_2NHEY`` of all places up to the end, with the given ones put."""
        kv = self.kv_layers[layer]
        kv.scatter_(3, self.place_NT[None, :, None, :, None].expand_as(kv_2NHTY), kv_2NHTY.to(kv.dtype))
        return kv[:, :, :, : self.end]

    def copy(self) -> Places:
        """Places of their own."""
        return replace(self, kv_layers=tuple(kv.clone() for kv in self.kv_layers))
