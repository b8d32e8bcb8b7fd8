"""A subset of blocks, and in each chosen block a subset of its cells (VocalNet-MDM's hierarchical block-wise masking).

Both subsets have exact sizes: a rate that reaches 1 then gives blocks that are masked as a whole, as they are when decoding
starts, which separate draws hardly ever do. The paper leaves both questions open, and whether rates are per block.
"""

from __future__ import annotations

import numpy as np

from manifests.settings.mask import HierarchicalSettings
from training.noise.chances import rounded
from training.noise.grid import Bools, Floats, Grid, Key, Purpose, cells_of, count_of, least


def masked(settings: HierarchicalSettings, grid: Grid, key: Key) -> Bools:
    """masked_VLQ."""
    block_n = np.arange(grid.blocks)
    chosen_V = count_of(key.between(Purpose.CHOSEN_BLOCKS, settings.blocks), grid.blocks)
    chosen_Vn = least(key.bits(Purpose.BLOCK, block_n), chosen_V)
    cells_VLQ = key.bits(Purpose.BLOCK_CELL, *cells_of(grid.positions, grid.codebooks))
    cells_VnC = cells_VLQ.reshape(len(key.views_V), grid.blocks, grid.block_cells)
    masked_VnC = least(cells_VnC, _counts(settings, grid, key, block_n)) & chosen_Vn[..., None]
    return masked_VnC.reshape(cells_VLQ.shape)


def _counts(settings: HierarchicalSettings, grid: Grid, key: Key, block_n: np.ndarray) -> np.ndarray:
    """counts_Vn: how many cells of each block are masked, should it be chosen."""
    per_block = settings.rate_per == "block"
    rate = key.between(Purpose.CELL_RATE, settings.tokens, block_n if per_block else block_n[:1])
    count_Vn = np.broadcast_to(count_of(rate, grid.block_cells), (len(key.views_V), grid.blocks))
    whole_Vn = key.uniform(Purpose.WHOLE_BLOCK, block_n) < settings.full
    return np.where(whole_Vn, grid.block_cells, count_Vn)


def chances(settings: HierarchicalSettings, grid: Grid) -> Floats:
    """chance_K that a block has 0 .. ``grid.block_cells`` masked cells."""
    chosen = float(rounded(grid.blocks, settings.blocks) @ np.arange(grid.blocks + 1)) / grid.blocks
    chance_K = chosen * (1 - settings.full) * rounded(grid.block_cells, settings.tokens)
    chance_K[0] += 1 - chosen
    chance_K[-1] += chosen * settings.full
    return chance_K
