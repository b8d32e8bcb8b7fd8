"""Learning rate over a run: a factor of the peak for every step. A schedule is chosen by name from :data:`SCHEDULES`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from manifests.settings.train import CosineSettings, WsdSettings


def _risen(step: int, warmup: int) -> float:
    """The way up: the first step is not lost, the peak is reached with step ``warmup``."""
    return min(1.0, (step + 1) / (warmup + 1))


def cosine(settings: CosineSettings, step: int, total: int) -> float:
    """Up in a line, down in a half cosine."""
    done = (step - settings.warmup) / max(total - settings.warmup, 1)
    height = 0.5 + 0.5 * math.cos(math.pi * min(max(done, 0.0), 1.0))
    return _risen(step, settings.warmup) * (settings.floor + (1 - settings.floor) * height)


def wsd(settings: WsdSettings, step: int, total: int) -> float:
    """Up in a line, level, down in a line over the last share of the run."""
    descent = settings.decay * total
    height = min(1.0, (total - step) / descent) if descent else 1.0
    return _risen(step, settings.warmup) * (settings.floor + (1 - settings.floor) * height)


SCHEDULES: dict[str, Callable[[Any, int, int], float]] = {"cosine": cosine, "wsd": wsd}


def factor(settings: CosineSettings | WsdSettings, step: int, total: int) -> float:
    """The factor of step ``step`` (from 0) of ``total``."""
    return SCHEDULES[settings.name](settings, step, total)
