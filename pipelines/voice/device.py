"""Where a talker runs."""

from __future__ import annotations

import torch

from pipelines.voice.errors import SpeakError
from training import distributed


def device_of(asked: str | None) -> torch.device:
    """The device of a name, as in ``cuda:1``; None: a GPU where there is one. Raises :class:`SpeakError` for one that is not there."""
    if asked is None:
        return distributed.device_of(0)
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if asked not in there and not (asked == "cuda" and len(there) > 1):
        raise SpeakError(f"--device {asked}: not on this machine; there are {', '.join(there)}")
    return torch.device(asked)
