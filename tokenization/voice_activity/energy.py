"""The embedded detector: how far the level stands above the noise around it. No weights, no packages; the same scores everywhere.

The noise floor is what the quietest tenth of the seconds around falls below, so it follows a fan that is switched on, and is not lifted by speech
as long as there are pauses in it. In a recording without noise (or with zeros between words) the floor is held up to a distance
below the speech around, lest breath and room count as speech.

Legend: level_G in dB of full scale by 10 ms; cell_C one number a second; score_F dB above the floor.
"""

from __future__ import annotations

import numpy as np

from manifests.settings.segment import EnergySettings
from tokenization.voice_activity.contract import LEVEL_MS, Detector, Hearing, Threshold
from tokenization.voice_activity.levels import BLOCK, smoothed

VERSION = "1"
CELL = 1000 // LEVEL_MS  # levels in a second
SMOOTH = 5  # levels over which a click is spread out
NO_SPEECH = -100.0


class _Energy(Hearing):
    """Levels are collected for every detector; this one needs nothing else of the sound."""

    def __init__(self, settings: EnergySettings) -> None:
        self._settings = settings

    def hear(self, block_T: np.ndarray) -> None:
        """Nothing."""

    def scores(self, level_G: np.ndarray) -> np.ndarray:
        return excess(level_G, self._settings)


def excess(level_G: np.ndarray, settings: EnergySettings) -> np.ndarray:
    """``score_F``: dB above the noise floor; :data:`NO_SPEECH` where nothing is loud enough to be speech at all."""
    if not len(level_G):
        return np.zeros(0)
    smooth_G = smoothed(level_G, SMOOTH)
    low_C, high_C = _around(smooth_G, settings.floor_seconds)
    floor_C = np.maximum(low_C, high_C - settings.range_db)
    center_C = (np.arange(len(floor_C)) + 0.5) * CELL
    score_F = smooth_G - np.interp(np.arange(len(smooth_G)), center_C, floor_C)
    score_F[smooth_G < settings.quietest_db] = NO_SPEECH
    return score_F


def _around(smooth_G: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """(low_C, high_C): what a tenth of the levels within ``seconds`` around each second lies below, and what a twentieth lies above."""
    cells = -(-len(smooth_G) // CELL)
    reach = max(round(seconds / 2), 1)
    low_C, high_C = np.empty(cells), np.empty(cells)
    for c in range(cells):
        near = smooth_G[max(c - reach, 0) * CELL : (c + reach + 1) * CELL]
        kept = np.partition(near, (len(near) // 10, len(near) * 19 // 20))
        low_C[c], high_C[c] = kept[len(near) // 10], kept[len(near) * 19 // 20]
    return low_C, high_C


def open_energy(settings: EnergySettings) -> Detector:
    threshold = Threshold(settings.onset_db, settings.offset_db)
    return Detector("energy", VERSION, BLOCK, LEVEL_MS, threshold, lambda: _Energy(settings))
