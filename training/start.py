"""Where codes begin: beside those that sound like them.

A network that starts with random embeddings has to find out from examples which of its codes are nearly the same sound. The codec knows
it: it quantized points of a space. Here these points, turned by a random projection, become most of what the embeddings and the
head's rows begin with; training moves both freely from there. On the demo's data it saves a third to a half of the
steps to the same loss (docs/results.md).

Legend: Q codebooks, K codes of each, Z dimensions of the codec's space, D width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from manifests.fingerprint import draw
from training.errors import RowsError
from training.talker import CODES_STD, HEAD_STD, Talker

SHARE = 0.8  # of the variance that comes from the codec; the rest keeps codes apart whose points coincide

Vectors = npt.NDArray[np.float32]


def place_codes(talker: Talker, vectors_QKZ: Vectors, seed: int) -> None:
    """Start the embeddings and the head's rows of all codes (not of EOS, MASK, START) from the codec's points.

    Raises :class:`RowsError` where these are not those of the talker's codes.
    """
    v = talker.vocabulary
    if vectors_QKZ.shape[:2] != (v.codebooks, v.size) or not np.isfinite(vectors_QKZ).all():
        raise RowsError(
            f"the speech tokenizer's vectors, of shape {vectors_QKZ.shape}, are not those of {v.codebooks} x {v.size} codes: "
            "train.codes=random does without them"
        )
    for part, per_book, std in ((talker.codes, v.embeddings, CODES_STD), (talker.head, v.classes, HEAD_STD)):
        for book, points_KZ in enumerate(vectors_QKZ):
            first = book * per_book
            rows_KD = part.weight.data[first : first + v.size]
            placed_KD = projected(spread(points_KZ), rows_KD.shape[1], draw("codes", seed, first, per_book))
            rows_KD.mul_((1 - SHARE) ** 0.5).add_(placed_KD, alpha=std * SHARE**0.5)


def spread(points_KZ: Vectors) -> Vectors:
    """The points about their mean, of unit variance in all, with unequal axes brought halfway to equal ones.

    Axes of little variance tell sounds apart as well; fully equal ones would mostly be noise.
    """
    about_KZ = points_KZ - points_KZ.mean(axis=0)
    width_Z = about_KZ.std(axis=0)
    about_KZ = about_KZ / np.sqrt(np.where(width_Z > 0, width_Z, 1))
    return about_KZ / max(float(about_KZ.std()), 1e-12)


def projected(points_KZ: Vectors, width: int, seed: int) -> Tensor:
    """``points_KD`` by a random projection that keeps distances on average and has entries of about unit variance."""
    generator = torch.Generator().manual_seed(seed >> 1)  # 63 bits
    turn_ZD = torch.randn(points_KZ.shape[1], width, generator=generator) / points_KZ.shape[1] ** 0.5
    return torch.from_numpy(np.ascontiguousarray(points_KZ)) @ turn_ZD
