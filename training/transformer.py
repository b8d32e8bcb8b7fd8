"""Pre-norm transformer layers with rotary positions, over whole rows or over a cache.

Legend: N rows, T positions, R of them wanted, D width, H heads, Y width of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.cache import Cache


class Rotary(nn.Module):
    """Rotary phases (Su et al. 2021) at absolute positions, as complex numbers."""

    phases_TY: Tensor

    def __init__(self, head_width: int, positions: int) -> None:
        super().__init__()
        frequency = 10_000 ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
        angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
        self.register_buffer("phases_TY", torch.stack([angle.cos(), angle.sin()], -1), persistent=False)

    def at(self, pos_NT: Tensor, dtype: torch.dtype) -> Tensor:
        """``phases_NTY`` (complex) of positions, N rows or one for all."""
        return torch.view_as_complex(self.phases_TY[pos_NT].to(dtype if dtype == torch.float64 else torch.float32))


def rotate(x_NTHY: Tensor, phases_NTY: Tensor) -> Tensor:
    """Turn pairs of channels by their position's phases."""
    pairs = torch.view_as_complex(x_NTHY.to(phases_NTY.real.dtype).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * phases_NTY[:, :, None]).flatten(-2).to(x_NTHY.dtype)


class Attention(nn.Module):
    """Multi-head attention under a boolean mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x_NTD: Tensor, phases_NTY: Tensor, allowed_NTT: Tensor | None, wanted: slice,
        cache: Cache | None = None, layer: int = 0,
    ) -> Tensor:  # fmt: skip
        """What the wanted positions gather, (N, R, D). ``allowed_NTT`` is (1 or N, R, keys), None where all may be seen."""
        q_NTHY, k_NTHY, v_NTHY = self.qkv(x_NTD).unflatten(-1, (3, self.heads, -1)).unbind(2)
        k_NHTY, v_NHTY = rotate(k_NTHY, phases_NTY).transpose(1, 2), v_NTHY.transpose(1, 2)
        q_NHRY = rotate(q_NTHY[:, wanted], phases_NTY[:, wanted]).transpose(1, 2)
        if cache is not None:
            k_NHTY, v_NHTY = cache.extended(layer, torch.stack([k_NHTY, v_NHTY]))
        mask = None if allowed_NTT is None else allowed_NTT[:, None]
        seen_NHRY = F.scaled_dot_product_attention(q_NHRY, k_NHTY, v_NHTY, attn_mask=mask)
        return self.out(seen_NHRY.transpose(1, 2).flatten(-2))


class Layer(nn.Module):
    """Attention, then a feed-forward network, each behind a norm and beside a residual."""

    def __init__(self, width: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, ffn, bias=False), nn.Linear(ffn, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x_NTD: Tensor, phases_NTY: Tensor, allowed_NTT: Tensor | None, wanted: slice,
        cache: Cache | None = None, layer: int = 0,
    ) -> Tensor:  # fmt: skip
        seen = self.attention(self.attention_norm(x_NTD), phases_NTY, allowed_NTT, wanted, cache, layer)
        x_NRD = x_NTD[:, wanted] + self.dropout(seen)
        return x_NRD + self.dropout(self.down(F.relu(self.up(self.ffn_norm(x_NRD))).square()))


class Transformer(nn.Module):
    """A stack of layers. In the last one only the wanted positions are worked out: nobody looks at the others any more."""

    def __init__(self, layers: int, width: int, heads: int, ffn: int, dropout: float, positions: int) -> None:
        super().__init__()
        self.rotary = Rotary(width // heads, positions)
        self.layers = nn.ModuleList(Layer(width, heads, ffn, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self._start(width, ffn, layers)

    def _start(self, width: int, ffn: int, layers: int) -> None:
        """Weights of unit gain, and branches that start small, so that depth does not matter at first (GPT-2's rule)."""
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            for branch in (layer.attention.out, layer.down):
                branch.weight.data.mul_((2 * layers) ** -0.5)

    def forward(
        self,
        x_NTD: Tensor,
        pos_NT: Tensor,
        allowed_NTT: Tensor | None,
        wanted: slice = slice(None),
        cache: Cache | None = None,
    ) -> Tensor:
        """``hidden_NRD`` of the wanted positions. ``allowed_NTT`` is (1 or N, T, settled + T), None where all may be seen."""
        phases = self.rotary.at(pos_NT, x_NTD.dtype)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            narrow = wanted if number == last else slice(None)
            allowed = allowed_NTT if allowed_NTT is None or number != last else allowed_NTT[:, narrow]
            x_NTD = layer(x_NTD, phases, allowed, narrow, cache, number)
        return self.norm(x_NTD)
