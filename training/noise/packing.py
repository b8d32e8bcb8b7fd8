"""Masks as bits: eight cells a byte, cells in order of (position, codebook), the first cell in the highest bit.

Legend: packed_VPb uint8 (views x planes x bytes); planes are masked and, where there is any replacement, replaced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.noise.grid import Bools, Grid


class PackedError(ValueError):
    """Packed masks that do not fit their utterance: says what is wrong."""


@dataclass(frozen=True, eq=False)
class Noise:
    """What is done to an utterance, view by view: cells that are masked, cells that hold another code."""

    masked_VLQ: Bools
    replaced_VLQ: Bools


def pack(noise: Noise, planes: int) -> npt.NDArray[np.uint8]:
    """packed_VPb of the first ``planes`` planes; bits beyond the last cell are 0."""
    stacked_VPLQ = np.stack([noise.masked_VLQ, noise.replaced_VLQ][:planes], axis=1)
    return np.packbits(stacked_VPLQ.reshape(*stacked_VPLQ.shape[:2], -1), axis=-1)


def unpack(packed_VPb: npt.NDArray[np.uint8], grid: Grid) -> Noise:
    """The inverse of :func:`pack`; without a second plane nothing is replaced.

    Raises :class:`PackedError` for an array that cannot be the masks of such a grid.
    """
    size = -(-grid.cells // 8)
    if packed_VPb.dtype != np.uint8 or packed_VPb.ndim != 3 or packed_VPb.shape[1] not in (1, 2):
        raise PackedError(f"{packed_VPb.dtype} of shape {packed_VPb.shape}, not uint8 of (views, 1 or 2, bytes)")
    if packed_VPb.shape[2] != size:
        raise PackedError(f"{packed_VPb.shape[2]} bytes a plane, {grid.cells} cells need {size}")
    bits_VPC = np.unpackbits(packed_VPb, axis=-1)
    if bits_VPC[..., grid.cells :].any():
        raise PackedError(f"bits are set beyond the last of {grid.cells} cells")
    bools_VPC = bits_VPC[..., : grid.cells].view(np.bool_)
    planes_VPLQ = bools_VPC.reshape(*packed_VPb.shape[:2], grid.positions, grid.codebooks)
    replaced = planes_VPLQ[:, 1] if packed_VPb.shape[1] == 2 else np.zeros_like(planes_VPLQ[:, 0])
    return Noise(planes_VPLQ[:, 0], replaced)
