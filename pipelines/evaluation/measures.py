"""What codes say about themselves: entropy, repeats, lengths.

Legend: F frames, Q codebooks, V codes, N rows, T positions, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint16]


def unigram_entropy(codes: Sequence[Codes]) -> float:
    """Bits a token of the distribution of codes over all utterances, the mean over codebooks."""
    joined_FQ = np.concatenate(codes) if codes else np.zeros((0, 1), np.uint16)
    if not len(joined_FQ):
        return 0.0
    return float(np.mean([_entropy(np.bincount(codes_F)) for codes_F in joined_FQ.T]))


def _entropy(counts_V: npt.NDArray[np.int64]) -> float:
    shares = counts_V[counts_V > 0] / counts_V.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def repeats(codes: Sequence[Codes]) -> tuple[float, int]:
    """(share of frames that equal the one before, longest run of equal frames)."""
    same, pairs, longest = 0, 0, 0
    for codes_FQ in codes:
        equal_F = (codes_FQ[1:] == codes_FQ[:-1]).all(axis=1)
        same, pairs = same + int(equal_F.sum()), pairs + len(equal_F)
        longest = max(longest, longest_run(equal_F) + 1 if len(codes_FQ) else 0)
    return same / pairs if pairs else 0.0, longest


def longest_run(flags_F: npt.NDArray[np.bool_]) -> int:
    """The longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags_F, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def of_codes(codes: Sequence[Codes], references: Sequence[Codes | None]) -> dict[str, Any]:
    """The figures of one system. ``references`` are recordings' codes, where there are some: their lengths are compared."""
    share, longest = repeats(codes)
    pairs = [(len(ours), len(theirs)) for ours, theirs in zip(codes, references, strict=True) if theirs is not None]
    spans = [ours / theirs for ours, theirs in pairs if theirs]
    return {
        "frames": sum(map(len, codes)),
        "entropy_bits": unigram_entropy(codes),
        "repeat_share": share,
        "longest_repeat": longest,
        "length_ratio": sum(a for a, _ in pairs) / sum(b for _, b in pairs) if spans else None,
        "length_spread": float(np.mean(np.abs(np.array(spans) - 1))) if spans else None,
    }
