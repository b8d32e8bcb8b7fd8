"""What a score is given, and what it gives.

Legend: stored_T mono float32 as stored, full scale 1.0, without DC offset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


class ScoreError(ValueError):
    """A score cannot be computed as the recipe asks: says what, why and what to do, in one line."""


@dataclass(frozen=True)
class Sound:
    """One utterance, or its query.

    stored_T         at the rate of its file, before resampling, trimming and normalising
    rate             of ``stored_T``, in Hz
    speech_seconds   how much of it is no silence
    """

    stored_T: np.ndarray
    rate: int
    text: str | None
    speech_seconds: float


Values = Mapping[str, float | None]
"""By column; None where a sound does not let it be told."""
Score = Callable[[Sound], Values]
