"""The talker made ready for decoding: the weights of training/transformer.py in fewer, larger operations, over a cache.

A forward of a small talker is mostly the cost of starting operations. Here queries, keys and values are turned by one
multiplication and enter the cache by one copy, residuals are added by the matrix products themselves, and phases are slices
of a table. What comes out is what :class:`training.transformer.Transformer` computes, up to the rounding of sums.

Legend: N rows, T positions, R of them wanted, E positions that are seen, D width, H heads, Y width of a head, C classes,
Q codebooks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from training.decoding.matrices import Matrix, matrices
from training.ending import only_first_ends
from training.precision import has_bf16_units
from training.talker import Talker
from training.transformer import Layer

EVERY, NONE = slice(None), slice(0, 0)  # positions that are wanted; of a commit, none are


class Keys(Protocol):
    """Where keys and values are kept."""

    def extended(self, layer: int, kv_2NHTY: Tensor) -> Tensor:
        """``kv_2NHEY``: the settled ones, and with them the given ones."""
        ...


@dataclass(frozen=True)
class Weights:
    """Of a layer."""

    attention_norm: Tensor
    qkv: Matrix
    out: Matrix
    ffn_norm: Tensor
    up: Matrix
    down: Matrix

    @classmethod
    def of(cls, layer: Layer, held: Callable[[Tensor], Matrix]) -> Weights:
        a = layer.attention
        qkv, out, up, down = (held(linear.weight) for linear in (a.qkv, a.out, layer.up, layer.down))
        return cls(layer.attention_norm.weight, qkv, out, layer.ffn_norm.weight, up, down)


def bias_of(allowed_NTE: Tensor, dtype: torch.dtype) -> Tensor:
    """``bias_N1TE``: what is added to scores so that only allowed positions are seen.

    Finite: a position that may see nothing (padding) sees something meaningless, not NaN, which would spread.
    """
    bias_NTE = torch.zeros(allowed_NTE.shape, dtype=dtype, device=allowed_NTE.device)
    return bias_NTE.masked_fill_(~allowed_NTE, torch.finfo(dtype).min / 2)[:, None]


def pick(x_NHTY: Tensor, wanted: slice | Tensor) -> Tensor:
    """The wanted positions: a slice of them, or ``wanted_NR``, which rows need not have in common."""
    if isinstance(wanted, slice):
        return x_NHTY[:, :, wanted]
    return x_NHTY.gather(2, wanted[:, None, :, None].expand(-1, x_NHTY.shape[1], -1, x_NHTY.shape[3]))


class Body:
    """A talker's layers and head. ``packed`` holds a copy of the weights in an order that is faster on a processor if the talker
    is wide; then weights that change are not followed. Decoders of the same talker may share one.

    ``phases_T31Y`` are the rotary phases of all positions, as complex numbers: queries' and keys', and 1 for values. Queries, keys
    and values are numbers of type ``seen``: on a processor without AMX those they are turned in, since it attends with a few rows
    of bfloat16 more slowly than with as many of float32.
    """

    def __init__(self, talker: Talker, packed: bool = False) -> None:
        held, layers = matrices(packed), talker.body
        self.weights = tuple(Weights.of(layer, held) for layer in layers.layers if isinstance(layer, Layer))
        self.norm, self.head, self.head_bias = layers.norm.weight, held(talker.head.weight), talker.head.bias
        self.vocabulary, self.heads = talker.vocabulary, talker.settings.heads
        self.width, self.dtype, self.device = len(self.norm), self.norm.dtype, self.norm.device
        table = layers.rotary.phases_TY
        phases_TY = layers.rotary.at(torch.arange(len(table), device=table.device), self.dtype)
        self.phases_T31Y = torch.stack([phases_TY, phases_TY, torch.ones_like(phases_TY)], 1)[:, :, None]
        self.real = phases_TY.real.dtype
        emulated = self.device.type == "cpu" and not has_bf16_units(self.device)
        self.seen = self.real if emulated else self.dtype

    def __call__(
        self, x_NTD: Tensor, phases: Tensor, keys: Keys, bias_N1TE: Tensor | None = None, wanted: slice | Tensor = EVERY
    ) -> Tensor:
        """``hidden_RD`` of the wanted positions, rows one after another. In the last layer nothing else is worked out.

        ``phases`` are of the positions, (T, 3, 1, Y/2) or (N, T, 3, 1, Y/2). ``bias_N1TE`` says who sees whom, None: everything.
        """
        n, last = len(x_NTD), len(self.weights) - 1
        x_RD = x_NTD.reshape(-1, self.width)
        for number, w in enumerate(self.weights):
            qkv_3NHTY = self._projected(x_RD, n, w, phases)
            kv_2NHEY = keys.extended(number, qkv_3NHTY[1:])
            q_NHRY = qkv_3NHTY[0]
            if number == last and wanted is not EVERY:
                q_NHRY = pick(q_NHRY, wanted)
                x_RD = pick(x_RD.view(n, 1, -1, self.width), wanted).reshape(-1, self.width)
                bias_N1TE = None if bias_N1TE is None else pick(bias_N1TE, wanted)
            seen = F.scaled_dot_product_attention(q_NHRY.to(self.seen), kv_2NHEY[0], kv_2NHEY[1], attn_mask=bias_N1TE)
            x_RD = self._after(x_RD, seen.to(self.dtype).transpose(1, 2).reshape(-1, self.width), w)
        return F.layer_norm(x_RD, (self.width,), self.norm)

    def _projected(self, x_RD: Tensor, n: int, w: Weights, phases: Tensor) -> Tensor:
        """``qkv_3NHTY`` with queries and keys turned."""
        qkv_RD = w.qkv(F.layer_norm(x_RD, (self.width,), w.attention_norm)).to(self.real)
        pairs = torch.view_as_complex(qkv_RD.view(n, -1, 3, self.heads, self.width // self.heads // 2, 2))
        return torch.view_as_real(pairs.mul_(phases)).flatten(-2).permute(2, 0, 3, 1, 4)

    def _after(self, x_RD: Tensor, seen_RD: Tensor, w: Weights) -> Tensor:
        """The rest of a layer, behind attention."""
        x_RD = w.out.added(x_RD, seen_RD)
        up = w.up.rectified(F.layer_norm(x_RD, (self.width,), w.ffn_norm))
        return w.down.added(x_RD, up.mul_(up))

    def logits(self, hidden_RD: Tensor, rows: int) -> Tensor:
        """``logits_NTQC`` of the rows' wanted positions. Of EOS, codebook 0 decides: the others cannot say it."""
        v = self.vocabulary
        logits_NTQC = self.head(hidden_RD, self.head_bias).view(rows, -1, v.codebooks, v.classes)
        return only_first_ends(logits_NTQC, v) if v.codebooks > 1 else logits_NTQC
