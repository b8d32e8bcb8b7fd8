"""Keys and values of what is settled: append-only. Steps of denoising read it and write past its end; only a commit moves the end.

Legend: N rows, H heads, T positions, Y width of a head. Keys are stored rotated, at absolute positions, so nothing is ever rotated again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class Cache:
    """Room for ``capacity`` positions of every layer, of which ``length`` are settled.

    kv_layers  for each layer (2, N, H, capacity, Y)
    """

    kv_layers: tuple[Tensor, ...]
    length: int = 0

    @classmethod
    def empty(
        cls, layers: int, rows: int, heads: int, capacity: int, head_width: int,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> Cache:  # fmt: skip
        shape = (2, rows, heads, capacity, head_width)
        return cls(tuple(torch.empty(shape, dtype=dtype, device=device) for _ in range(layers)))

    @property
    def capacity(self) -> int:
        return self.kv_layers[0].shape[3]

    def extended(self, layer: int, kv_2NHTY: Tensor) -> Tensor:
        """Settled keys and values with the given ones behind them. The given ones are not settled by this.

        Raises ValueError where there is no room: the utterance is longer than the talker's ``max_frames``.
        """
        end = self.length + kv_2NHTY.shape[3]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} positions, {end} are needed: raise talker.max_frames")
        kv = self.kv_layers[layer]
        kv[:, :, :, self.length : end] = kv_2NHTY
        return kv[:, :, :, :end]

    def make_room(self, positions: int) -> None:
        """Room for so many more positions behind what is settled. It grows twofold at least, so that pieces cost no more than the whole."""
        needed = self.length + positions
        if not self.kv_layers or needed <= self.capacity:
            return
        more = max(needed, 2 * self.capacity) - self.length
        settled = (kv[:, :, :, : self.length] for kv in self.kv_layers)
        self.kv_layers = tuple(torch.cat([kv, kv.new_empty(*kv.shape[:3], more, kv.shape[4])], 3) for kv in settled)

    def commit(self, positions: int) -> None:
        """Settle the first ``positions`` of what was written last."""
        self.length += positions

    def copy(self) -> Cache:
        """A cache that goes its own way: what an interrupted stream is resumed from."""
        copies = tuple(torch.empty_like(kv) for kv in self.kv_layers)
        for copy, kv in zip(copies, self.kv_layers, strict=True):
            copy[:, :, :, : self.length] = kv[:, :, :, : self.length]
        return replace(self, kv_layers=copies)
