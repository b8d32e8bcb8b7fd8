"""Every cell masked by a draw of its own, at a rate drawn per view (VocalNet-MDM's global masking)."""

from __future__ import annotations

import numpy as np

from manifests.settings.mask import BernoulliSettings
from training.noise.chances import mixed_binomial, none_of
from training.noise.grid import Bools, Floats, Grid, Key, Purpose, cells_of


def masked(settings: BernoulliSettings, grid: Grid, key: Key) -> Bools:
    """masked_VLQ. A view that no draw masked gets the cell that was nearest to it: no view is without loss."""
    rate_V = key.between(Purpose.ROW_RATE, settings.tokens)
    drawn_VLQ = key.uniform(Purpose.CELL, *cells_of(grid.positions, grid.codebooks))
    masked_VLQ = drawn_VLQ < rate_V[:, None, None]
    flat_VC, drawn_VC = masked_VLQ.reshape(len(rate_V), -1), drawn_VLQ.reshape(len(rate_V), -1)
    for v in np.flatnonzero(~flat_VC.any(axis=1)):
        flat_VC[v, drawn_VC[v].argmin()] = True
    return masked_VLQ


def chances(settings: BernoulliSettings, grid: Grid) -> Floats:
    """chance_K that a block has 0 .. ``grid.block_cells`` masked cells."""
    chance_K = mixed_binomial(grid.block_cells, settings.tokens)
    saved = none_of(grid.cells, settings.tokens) / grid.blocks  # views that got their one cell, in any block alike
    chance_K[0] -= saved
    chance_K[1] += saved
    return chance_K
