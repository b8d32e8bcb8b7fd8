"""The geometry of an utterance under its masks, in the units of the picture's SVG view box: a row a view, a gap between blocks.

Legend: cells_VL, masked_VL, replaced_VL one codebook of an utterance (views x positions).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from training.noise.grid import Bools, Grid

BLOCKS = 10  # drawn at most
WIDTH, ROW, GAP, GUTTER = 1040.0, 12.0, 2.0, 7.0
NUMBERS, SCHEMES, HEAD, FOOT = 26.0, 84.0, 2.0, 36.0


@dataclass(frozen=True)
class BlockSpan:
    """Where a block stands."""

    left: float
    right: float
    label: str


@dataclass(frozen=True)
class RowLabel:
    """What is written beside a view: its number, and the scheme it was drawn from where there are several."""

    y: float
    view: int
    scheme: str


@dataclass(frozen=True)
class Picture:
    """Outlines of cells by what they are.

    end   left and right end of end-of-speech; None where it is not in the picture
    cut   not all blocks are drawn
    """

    height: float
    bottom: float
    visible: str
    masked: str
    replaced: str
    blocks: tuple[BlockSpan, ...]
    rows: tuple[RowLabel, ...]
    end: tuple[float, float] | None
    cut: bool


@dataclass(frozen=True)
class Scale:
    """Where cells are drawn: the left ends of the blocks, and the width of a cell."""

    block: int
    lefts: tuple[float, ...]
    cell: float

    @classmethod
    def of(cls, grid: Grid, margin: float) -> Scale:
        blocks = min(grid.blocks, BLOCKS)
        cell = (WIDTH - NUMBERS - margin - GUTTER * (blocks - 1)) / (blocks * grid.block)
        lefts = tuple(NUMBERS + b * (cell * grid.block + GUTTER) for b in range(blocks))
        return cls(grid.block, lefts, cell)

    def outline(self, cells_VL: Bools) -> str:
        """Runs of cells as one path."""
        return "".join(
            f"M{left:.1f} {HEAD + v * ROW:g}h{width:.1f}v{ROW - GAP:g}h-{width:.1f}z"
            for v, row_L in enumerate(cells_VL)
            for left, width in self._runs(row_L)
        )

    def _runs(self, row_L: Bools) -> Iterator[tuple[float, float]]:
        """(left end, width) of every run of cells that lies in one block."""
        for b, left in enumerate(self.lefts):
            inside_B = row_L[b * self.block : (b + 1) * self.block].astype(np.int8)
            edges = np.flatnonzero(np.diff(inside_B, prepend=0, append=0)).tolist()
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                yield left + start * self.cell, (end - start) * self.cell


def picture(masked_VL: Bools, replaced_VL: Bools, grid: Grid, schemes: Sequence[str] | None = None) -> Picture:
    """The first :data:`BLOCKS` blocks of an utterance; ``schemes`` are written beside the rows."""
    scale = Scale.of(grid, SCHEMES if schemes else 0.0)
    spans = tuple(BlockSpan(left, left + scale.cell * grid.block, str(b)) for b, left in enumerate(scale.lefts))
    cut = len(spans) < grid.blocks
    end = None if cut else (spans[-1].left + grid.frames % grid.block * scale.cell, spans[-1].right)
    rows = tuple(RowLabel(HEAD + (v + 1) * ROW - 3.5, v, schemes[v] if schemes else "") for v in range(len(masked_VL)))
    bottom = HEAD + ROW * len(masked_VL)
    return Picture(
        bottom + FOOT, bottom, scale.outline(~masked_VL & ~replaced_VL), scale.outline(masked_VL),
        scale.outline(replaced_VL), spans, rows, end, cut,
    )  # fmt: skip
