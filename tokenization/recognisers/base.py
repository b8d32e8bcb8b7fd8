"""What a recogniser is: sound in, words out, whatever it heard before."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Recogniser(Protocol):
    """Understands speech. The words are a function of the samples alone, not of earlier calls."""

    def recognise(self, wave_T: np.ndarray, sample_rate: int) -> str:
        """The words heard in ``wave_T`` (int16, or float in [-1, 1], mono), lower case; empty where none were."""
        ...
