"""The network of the S3 tokenizer v2 and v3, written from its published description.

Two convolutions that halve the rate of a log-mel (100 Hz to 25 Hz), transformer layers whose values also pass through a long
depthwise convolution (FSMN), and a scalar quantizer: 8 dimensions of 3 levels, 6561 codes.

Names of modules are those of the checkpoints. Shapes: N utterances, M mel bands, L mel frames, F frames, D width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD = 64
MEMORY = 31  # frames that the depthwise convolution hears
LEVELS, DIMENSIONS = 3, 8
SQUEEZE = 0.9990000128746033  # of the hyperbolic tangent, before rounding


def valid(counts_N: Tensor, length: int) -> Tensor:
    """``mask_NF``: 1 where an utterance has a frame, 0 where it is padded."""
    return (torch.arange(length, device=counts_N.device)[None] < counts_N[:, None]).float()


def halved(count: Tensor) -> Tensor:
    """Frames after a convolution that takes every second one."""
    return (count + 1) // 2


def rotations(frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, ``(F, HEAD)`` each."""
    rates = 1.0 / 10_000 ** (torch.arange(0, HEAD, 2, device=device).float() / HEAD)
    angles = torch.outer(torch.arange(frames, device=device).float(), rates)
    both = torch.cat([angles, angles], dim=-1)
    return both.cos(), both.sin()


def rotated(x_NHFd: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    left, right = x_NHFd.chunk(2, dim=-1)
    return x_NHFd * turn[0] + torch.cat([-right, left], dim=-1) * turn[1]


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.fsmn_block = nn.Conv1d(width, width, MEMORY, padding=MEMORY // 2, groups=width, bias=False)

    def forward(self, x_NFD: Tensor, mask_NF: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        values_NFD = self.value(x_NFD)
        kept_NFD = values_NFD * mask_NF[..., None]
        memory_NFD = (self.fsmn_block(kept_NFD.mT).mT + kept_NFD) * mask_NF[..., None]
        q, k, v = (
            y.unflatten(-1, (-1, HEAD)).transpose(1, 2) for y in (self.query(x_NFD), self.key(x_NFD), values_NFD)
        )
        scale = HEAD**-0.25
        bias_N11F = ((1 - mask_NF) * -1e10)[:, None, None]
        weights = (rotated(q, turn) * scale) @ (rotated(k, turn) * scale).mT + bias_N11F
        heard_NFD = (weights.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
        return self.out(heard_NFD) + memory_NFD


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn, self.attn_ln, self.mlp_ln = Attention(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_NFD: Tensor, mask_NF: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        x_NFD = x_NFD + self.attn(self.attn_ln(x_NFD), mask_NF, turn)
        return x_NFD + self.mlp(self.mlp_ln(x_NFD))


class Encoder(nn.Module):
    def __init__(self, mels: int, width: int, layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(mels, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, mel_NML: Tensor, counts_N: Tensor) -> Tensor:
        x = mel_NML
        for convolution in (self.conv1, self.conv2):
            x = functional.gelu(convolution(x * valid(counts_N, x.shape[-1])[:, None]))
            counts_N = halved(counts_N)
        x_NFD, mask_NF = x.mT, valid(counts_N, x.shape[-1])
        turn = rotations(x_NFD.shape[1], x.device)
        for block in self.blocks:
            x_NFD = block(x_NFD, mask_NF, turn)
        return x_NFD


class Codebook(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.project_down = nn.Linear(width, DIMENSIONS)

    def forward(self, x_NFD: Tensor) -> Tensor:
        digits = (self.project_down(x_NFD).tanh() * SQUEEZE).round() + 1
        return (digits * LEVELS ** torch.arange(DIMENSIONS, device=digits.device)).sum(-1).long()


class Quantizer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self._codebook = Codebook(width)

    def forward(self, x_NFD: Tensor) -> Tensor:
        return self._codebook(x_NFD)


class S3Network(nn.Module):
    """``mel_NML`` and the mel frames of each to ``codes_NF``."""

    def __init__(self, mels: int, width: int, layers: int) -> None:
        super().__init__()
        self.encoder, self.quantizer = Encoder(mels, width, layers), Quantizer(width)

    def forward(self, mel_NML: Tensor, counts_N: Tensor) -> Tensor:
        return self.quantizer(self.encoder(mel_NML, counts_N))
