"""The film of a trajectory: which code appears in which cell at which iteration, and how probable it was.

Legend: V views, L positions (whole blocks); arrays of one codebook of an utterance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.report.mask_picture import BLOCKS, GUTTER, HEAD, NUMBERS, ROW, WIDTH, BlockSpan, Scale
from training.noise.grid import Grid

SURE = (0.25, 0.5, 0.75, 1.0)  # upper ends of the shades of certainty
SECONDS = 1.2  # that an iteration stands, and twice that at the end
DIGIT = 3.8  # width of a written figure
FIGURES = 4  # that a cell has room for, if blocks are short enough
END = "end"  # for the code that ends speech


@dataclass(frozen=True)
class Trajectory:
    """What is shown of an utterance.

    step_VL   the iteration that decided a cell, 0 where it was given
    token_VL  the code that was written there, or shown
    sure_VL   how probable it was, 0 to 1
    true_L    the code that was spoken
    eos       the code that ends speech
    """

    step_VL: np.ndarray
    token_VL: np.ndarray
    sure_VL: np.ndarray
    true_L: np.ndarray
    eos: int

    def named(self, code: int) -> str:
        return END if code == self.eos else str(code)


@dataclass(frozen=True)
class Cell:
    """Where a cell is drawn, what is told of it, and what is written in it: nothing where there is no room.

    right   whether it holds the true code
    """

    x: float
    y: float
    told: str
    written: str
    right: bool


@dataclass(frozen=True)
class Shade:
    """Cells of like certainty, and how dark they are drawn."""

    opacity: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Frame:
    """What one iteration uncovers, and from which part of the film on it is seen."""

    iteration: int
    begins: float
    shades: tuple[Shade, ...]


@dataclass(frozen=True)
class Film:
    """An utterance under its first views: what was given, what was masked, and the iterations one after the other.

    width   of a cell
    cut     blocks that are not shown
    """

    id: str
    text: str | None
    height: float
    bottom: float
    seconds: float
    width: float
    given: tuple[Cell, ...]
    masked: str
    frames: tuple[Frame, ...]
    blocks: tuple[BlockSpan, ...]
    cut: int


def blocks_shown(block: int) -> int:
    """So many blocks that codes can be written in their cells; at least one."""
    return min(max(int((WIDTH - NUMBERS + GUTTER) / (block * DIGIT * FIGURES + GUTTER)), 1), BLOCKS)


def film(told: Trajectory, block: int, iterations: int, meta: Mapping[str, Any]) -> Film:
    """The first blocks of an utterance: the cells of every iteration, by how probable what was written there was."""
    blocks = told.step_VL.shape[1] // block
    shown = min(blocks, blocks_shown(block))
    scale = Scale.of(Grid(shown * block - 1, 1, block), 0.0)
    step_VL, sure_VL = (x[:, : shown * block] for x in (told.step_VL, told.sure_VL))
    bins_VL = np.minimum(np.searchsorted(SURE, sure_VL), len(SURE) - 1)
    length = (iterations + 3) * SECONDS
    frames = []
    for i in range(1, iterations + 1):
        cells = (_cells(told, scale, (step_VL == i) & (bins_VL == n)) for n in range(len(SURE)))
        shades = tuple(Shade(upper, found) for upper, found in zip(SURE, cells, strict=True) if found)
        frames.append(Frame(i, i * SECONDS / length, shades))
    spans = tuple(BlockSpan(left, left + scale.cell * block, str(b)) for b, left in enumerate(scale.lefts))
    bottom = HEAD + ROW * len(step_VL)
    return Film(
        str(meta["id"]), meta.get("text"), bottom + 20, bottom, length, scale.cell, _cells(told, scale, step_VL == 0),
        scale.outline(step_VL > 0), tuple(frames), spans, blocks - shown,
    )  # fmt: skip


def _cells(told: Trajectory, scale: Scale, chosen_VL: np.ndarray) -> tuple[Cell, ...]:
    return tuple(_cell(told, scale, v, i) for v, i in np.argwhere(chosen_VL).tolist())


def _cell(told: Trajectory, scale: Scale, v: int, i: int) -> Cell:
    code, true, step = int(told.token_VL[v, i]), int(told.true_L[i]), int(told.step_VL[v, i])
    name, right = told.named(code), code == true
    how = f"iteration {step}, {told.sure_VL[v, i]:.0%}" if step else "given"
    words = f"{name}: {how}" + ("" if right else f"; true is {told.named(true)}")
    b, place = divmod(i, scale.block)
    written = name if len(name) * DIGIT <= scale.cell else ""
    return Cell(scale.lefts[b] + place * scale.cell, HEAD + v * ROW, words, written, right)
