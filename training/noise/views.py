"""All views of a mask set: each drawn from the set's mix, some the complement of another.

Legend: V views; scheme_V which entry of the mix a view is of; chance_K probabilities of 0 .. K masked cells in a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifests.settings.mask import MaskSet
from training.noise import bernoulli, full_block, hierarchical, left_to_right
from training.noise.grid import Bools, Counts, Floats, Grid, Key, Purpose
from training.noise.packing import Noise
from training.noise.replacement import replaced


@dataclass(frozen=True)
class Scheme:
    """One kind of corruption: how it masks, and what that comes to in theory. Both take its own settings first."""

    masked: Callable[[Any, Grid, Key], Bools]
    chances: Callable[[Any, Grid], Floats]


SCHEMES = {
    "bernoulli": Scheme(bernoulli.masked, bernoulli.chances),
    "hierarchical": Scheme(hierarchical.masked, hierarchical.chances),
    "full_block": Scheme(full_block.masked, full_block.chances),
    "left_to_right": Scheme(left_to_right.masked, left_to_right.chances),
}


def draw_views(mask_set: MaskSet, grid: Grid, key: Key) -> tuple[Noise, Counts]:
    """All views of a set for the key's utterance: (noise, scheme_V)."""
    return draw_some(mask_set, grid, key.at(np.arange(mask_set.views)))


def draw_some(mask_set: MaskSet, grid: Grid, key: Key) -> tuple[Noise, Counts]:
    """The key's views of a set, and no others: (noise, scheme_V). They may lie beyond the set's number of views.

    Views are masked at random but for one case: in a complementary set a view may be empty, where its partner masks all.
    """
    views_V = key.views_V
    base_V = views_V - views_V % 2 if mask_set.complementary else views_V
    scheme_V = _schemes(mask_set, key.at(base_V))
    masked_VLQ = np.zeros((len(views_V), grid.positions, grid.codebooks), np.bool_)
    replaced_VLQ = np.zeros_like(masked_VLQ)
    for i in np.unique(scheme_V).tolist():
        settings, mine = mask_set.mix[i], scheme_V == i
        turned_V11 = (base_V != views_V)[mine][:, None, None]
        masked_VLQ[mine] = SCHEMES[settings.noise].masked(settings, grid, key.at(base_V[mine])) ^ turned_V11
        replaced_VLQ[mine] = replaced(settings.replace, grid, key.at(views_V[mine]), masked_VLQ[mine])
    return Noise(masked_VLQ, replaced_VLQ), scheme_V


def _schemes(mask_set: MaskSet, key: Key) -> Counts:
    """scheme_V: which entry of the mix each view is of, by weight."""
    if len(mask_set.mix) == 1:
        return np.zeros(len(key.views_V), np.int64)
    ends = np.cumsum([entry.weight for entry in mask_set.mix])
    drawn_V = key.uniform(Purpose.SCHEME) * ends[-1]
    return np.minimum(np.searchsorted(ends, drawn_V, side="right"), len(ends) - 1)


def chances(mask_set: MaskSet, grid: Grid) -> Floats:
    """chance_K that a block of a view has 0 .. ``grid.block_cells`` masked cells, over blocks and views of an utterance.

    Its mean is the mask rate, its last entry the probability that a block is masked as a whole.
    """
    weights = np.array([entry.weight for entry in mask_set.mix])
    each = np.stack([SCHEMES[entry.noise].chances(entry, grid) for entry in mask_set.mix])
    chance_K = weights @ each / weights.sum()
    return (chance_K + chance_K[::-1]) / 2 if mask_set.complementary else chance_K
