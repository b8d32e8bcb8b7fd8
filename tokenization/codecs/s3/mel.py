"""Whisper's log-mel of 128 bands, 100 frames a second, over one utterance.

Shapes: T samples, W bins, M mel bands, L mel frames.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from tokenization.patches.spectrum import hertz_of, mel_filters, mel_of

RATE, WINDOW, HOP = 16_000, 400, 160


@cache
def filters(mels: int) -> Tensor:
    """``filters_MW``: Slaney's triangles, each of unit area."""
    corners = hertz_of(np.linspace(0, mel_of(RATE / 2), mels + 2))
    area_M = 2 / (corners[2:] - corners[:-2])
    return torch.from_numpy((mel_filters(RATE, WINDOW // 2 + 1, mels) * area_M).T.astype(np.float32))


def log_mel(wave_T: Tensor, mels: int) -> Tensor:
    """``mel_ML`` of T // 160 frames. What lies more than 80 dB below the loudest point is cut off there."""
    window = torch.hann_window(WINDOW, device=wave_T.device)
    spectrum_WL = torch.stft(wave_T, WINDOW, HOP, window=window, return_complex=True)[..., :-1].abs() ** 2
    level_ML = (filters(mels).to(wave_T.device) @ spectrum_WL).clamp(min=1e-10).log10()
    return (level_ML.maximum(level_ML.max() - 8) + 4) / 4
