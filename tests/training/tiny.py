"""Talkers small enough for exact tests: two layers, width 32, 11 codes, blocks of 4, float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from manifests.settings.talker import TalkerSettings
from training.talker import Talker
from training.vocabulary import Vocabulary

WORDS = 7
torch.set_num_threads(1)  # tensors this small only wait for a second thread


def settings(**changes: Any) -> TalkerSettings:
    small: dict[str, Any] = {
        "layers": 2,
        "width": 32,
        "heads": 2,
        "ffn": 64,
        "block": 4,
        "anchors": 2,
        "max_frames": 64,
    }
    return TalkerSettings(**(small | changes))


def talker(
    codebooks: int = 1, size: int = 11, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any
) -> Talker:
    """A talker with weights large enough that what it says depends on all that it sees."""
    torch.manual_seed(seed)
    made = Talker(settings(**changes), Vocabulary(size, codebooks), WORDS)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 1 and "norm" not in name:
                parameter.normal_(std=0.3)
        made.head.weight.normal_(std=0.5)
        made.place.weight.normal_(std=0.5)
        for layer in made.body.layers:
            layer.get_parameter("attention.qkv.weight").mul_(2)
            layer.get_parameter("attention.out.weight").mul_(2)
        if made.pace is not None:
            made.pace.frames_K.copy_(torch.arange(1, len(made.pace.frames_K) + 1) / 2)
    return made.to(dtype).eval()


def silence_eos(made: Talker, bias: float = -99.0) -> Talker:
    """The talker never ends of itself: decodes have a known length."""
    v = made.vocabulary
    with torch.no_grad():
        made.head.bias.view(v.codebooks, v.classes)[:, v.eos] = bias
    return made


def words(rows: int, count: int, seed: int = 0) -> Tensor:
    """Random text ids (N, S)."""
    return torch.randint(0, WORDS, (rows, count), generator=torch.Generator().manual_seed(seed))
