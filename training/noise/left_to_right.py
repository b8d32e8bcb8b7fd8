"""In every block the head visible, the tail masked, all codebooks alike: the state of a decoder that goes left to right."""

from __future__ import annotations

import numpy as np

from manifests.settings.mask import LeftToRightSettings
from training.noise.grid import Bools, Floats, Grid, Key, Purpose


def masked(settings: LeftToRightSettings, grid: Grid, key: Key) -> Bools:
    """masked_VLQ. The first masked position is drawn for each block; the last position is always masked."""
    cut_Vn = (key.uniform(Purpose.CUT, np.arange(grid.blocks)) * grid.block).astype(np.int64)
    masked_VnB = np.arange(grid.block) >= cut_Vn[..., None]
    masked_VL = masked_VnB.reshape(len(key.views_V), grid.positions)
    return np.repeat(masked_VL[..., None], grid.codebooks, axis=2)


def chances(settings: LeftToRightSettings, grid: Grid) -> Floats:
    """chance_K that a block has 0 .. ``grid.block_cells`` masked cells."""
    chance_K = np.zeros(grid.block_cells + 1)
    chance_K[grid.codebooks :: grid.codebooks] = 1 / grid.block
    return chance_K
