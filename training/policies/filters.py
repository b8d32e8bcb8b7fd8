"""Filters: which of the allotted cells may be revealed together. Distance is in frames: all codebooks of a frame are one place.

Legend: N rows, M cells of a block (frames x codebooks, frame-major), Q codebooks. ``_N1`` holds one number for a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.policies.budgets import MOST, Allotment, View, require_within
from training.policies.ranks import rank_first


class Filter(Protocol):
    def __call__(self, view: View, allotted: Allotment, codebooks: int) -> Tensor: ...


def frames(view: View, codebooks: int) -> Tensor:
    """``frame_M``: the frame that each cell belongs to."""
    cell_M = torch.arange(view.masked_NM.shape[1], device=view.masked_NM.device)
    return cell_M if codebooks == 1 else cell_M.div(codebooks, rounding_mode="floor")


@dataclass(frozen=True)
class Unfiltered:
    """All that the budget allows."""

    def __call__(self, view: View, allotted: Allotment, codebooks: int) -> Tensor:
        return allotted.rank_NM < allotted.most_N1


@dataclass(frozen=True)
class Dilated:
    """Far-apart frames first: every B/2-th, then those half way between, and so on, whatever the model says (DUS).

    16 frames are groups of 2, 2, 4, 8. With fewer steps left than groups, neighbouring groups open together. With the budget
    ``all`` this is DUS; other budgets take the best of the open groups.
    """

    def __call__(self, view: View, allotted: Allotment, codebooks: int) -> Tensor:
        group_M, groups = self.groups(view, codebooks)
        first_N1 = torch.where(view.masked_NM, group_M, groups).amin(1, keepdim=True)
        steps = view.steps - view.step + 1
        opened_N1 = (groups - first_N1 + (steps - 1)).div(steps, rounding_mode="floor")
        return _within(view.masked_NM & (group_M < first_N1 + opened_N1), allotted)

    @staticmethod
    def groups(view: View, codebooks: int) -> tuple[Tensor, int]:
        """The group of each cell, from 0, and how many groups there are."""
        frame_M = frames(view, codebooks)
        block = -(-view.masked_NM.shape[1] // codebooks)
        count = max(1, (block - 1).bit_length())
        # A frame belongs to the first stride that meets it; strides are 2^(count - 1), ..., 2, 1.
        met = sum((frame_M.remainder(2**k) != 0).long() for k in range(1, count))
        return torch.zeros_like(frame_M) + met, count


@dataclass(frozen=True)
class MinGap:
    """Frames revealed in one step are at least max(2, reach x masked share) apart (the gap filter of DUS).

    Goes down the ranking and skips what is too near to a frame taken in this step. Where too few are left for what the budget
    must have, the best of the skipped make up for it.
    """

    reach: float = 4.0

    def __post_init__(self) -> None:
        require_within("reach", self.reach, MOST)

    def gap_N1(self, view: View) -> Tensor:
        """Least distance between two frames of a step."""
        return (view.left_N1 * self.reach / view.masked_NM.shape[1]).floor().long().clamp_min(2)

    def __call__(self, view: View, allotted: Allotment, codebooks: int) -> Tensor:
        rank_NM, most_N1, least_N1 = allotted
        m = rank_NM.shape[1]
        frame_M, gap_N1 = frames(view, codebooks), self.gap_N1(view)
        open_NM, taken_NM = view.masked_NM, torch.zeros_like(view.masked_NM)
        for i in range((m // codebooks + 1) // 2):  # no more frames can be two apart
            wanted_NM = open_NM & (((rank_NM < most_N1) & (i < most_N1)) | (i < least_N1))
            best_N1, at_N1 = torch.where(wanted_NM, rank_NM, m).min(1, keepdim=True)
            found_N1, at_N1 = best_N1 < m, at_N1.div(codebooks, rounding_mode="floor")
            taken_NM = taken_NM | (wanted_NM & (rank_NM == best_N1))
            open_NM = open_NM & ~(found_N1 & ((frame_M - at_N1).abs() < gap_N1))
        short_N1 = least_N1 - taken_NM.sum(1, keepdim=True)
        return taken_NM | (rank_first(rank_NM, view.masked_NM & ~taken_NM) < short_N1)


@dataclass(frozen=True)
class PrefixContiguous:
    """Masked cells from the left without a gap: as far as the allotted ones reach, or as far as the budget must have."""

    def __call__(self, view: View, allotted: Allotment, codebooks: int) -> Tensor:
        masked_NM = view.masked_NM
        missing_NM = masked_NM & ~(allotted.rank_NM < allotted.most_N1)
        in_run_NM = missing_NM.cumsum(1) == 0
        return masked_NM & (in_run_NM | (masked_NM.cumsum(1) <= allotted.least_N1))


def _within(allowed_NM: Tensor, allotted: Allotment) -> Tensor:
    """The allotted cells that are allowed; the best allowed ones where those are fewer than the budget must have."""
    place_NM = rank_first(allotted.rank_NM, allowed_NM)
    wanted_NM = (allotted.rank_NM < allotted.most_N1) | (place_NM < allotted.least_N1)
    return allowed_NM & wanted_NM & (place_NM < allotted.most_N1)


FILTERS: dict[str, Callable[..., Filter]] = {
    "none": Unfiltered,
    "dilated": Dilated,
    "min_gap": MinGap,
    "prefix_contiguous": PrefixContiguous,
}
