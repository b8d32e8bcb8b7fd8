"""One block masked as a whole, everything else visible: the state in which a block decoder starts a block."""

from __future__ import annotations

import numpy as np

from manifests.settings.mask import FullBlockSettings
from training.noise.grid import Bools, Floats, Grid, Key, Purpose


def masked(settings: FullBlockSettings, grid: Grid, key: Key) -> Bools:
    """masked_VLQ. Every block is as likely as any other."""
    one_V = (key.uniform(Purpose.ONE_BLOCK) * grid.blocks).astype(np.int64)
    block_L = np.arange(grid.positions) // grid.block
    masked_VL = block_L == one_V[:, None]
    return np.repeat(masked_VL[..., None], grid.codebooks, axis=2)


def chances(settings: FullBlockSettings, grid: Grid) -> Floats:
    """chance_K that a block has 0 .. ``grid.block_cells`` masked cells."""
    chance_K = np.zeros(grid.block_cells + 1)
    chance_K[0] = 1 - 1 / grid.blocks
    chance_K[-1] += 1 / grid.blocks
    return chance_K
