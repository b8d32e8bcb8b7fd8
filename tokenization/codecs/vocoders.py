"""Vocoders of others, for codecs that bring none: found by name among the entry points of installed packages.

A recipe names a vocoder and never code. CosyVoice2's flow and HiFT, say, are offered by a package of one's own whose ``pyproject.toml`` has

    [project.entry-points."speechmill.vocoders"]
    cosyvoice2 = "my_package.vocoder:load"

where ``load()`` returns a function of ``codes_F`` (int64) that gives a float32 ``wave_T`` at the tokenizer's sample rate (16 kHz for S3).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import numpy as np
import numpy.typing as npt

from tokenization.adapter import TokenizerError, Wave

GROUP = "speechmill.vocoders"
Vocoder = Callable[[npt.NDArray[np.int64]], Wave]


def vocoder(name: str) -> Vocoder:
    """The vocoder that an installed package offers under ``name``. Raises :class:`TokenizerError` where none does."""
    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in offered:
        there = ", ".join(sorted(offered)) or "none"
        raise TokenizerError(
            f"speech.vocoder: no installed package offers {name!r} (entry points of {GROUP}: {there}): install one, or leave it empty"
        )
    return offered[name].load()()
