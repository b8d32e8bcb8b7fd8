"""What a detector of speech is. A detector hears one recording, block by block, and says of every frame how likely it is speech.

Legend: wave_T mono float32 at :data:`RATE`; score_F one number a frame; level_G in dB, one a hundredth of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

RATE = 16_000  # Hz that detectors hear
LEVEL_MS = 10  # a level is of so many milliseconds


class DetectorError(RuntimeError):
    """A detector that cannot be opened: says what to install or to set."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Speech begins where the score reaches ``onset``, and goes on until it is under ``offset``."""

    onset: float
    offset: float


class Hearing(Protocol):
    """A detector at work on one recording."""

    def hear(self, block_T: np.ndarray) -> None:
        """The next block. All but the last have exactly :attr:`Detector.block` samples."""
        ...

    def scores(self, level_G: np.ndarray) -> np.ndarray:
        """``score_F`` of the whole recording, whose levels are ``level_G``."""
        ...


@dataclass(frozen=True)
class Detector:
    """A detector, open for any number of recordings.

    name, version   what decides its scores: where one changes, so do segments
    block           samples that it hears at a time: the same for every recording, so that nothing depends on how sound comes
    frame_ms        milliseconds that a score is of
    begin           makes a :class:`Hearing` for one recording
    """

    name: str
    version: str
    block: int
    frame_ms: int
    threshold: Threshold
    begin: Callable[[], Hearing]
