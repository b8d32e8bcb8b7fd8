"""The pictures of docs/method.md, drawn by the code that they are of: the masks it draws, the attention it allows, the order it reveals in.

    python docs/pictures.py

Legend: V views, L positions of an utterance, T positions of a row, B of a block, C classes.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np
import torch

from manifests.settings.mask import MaskSettings
from pipelines.evaluation.plot import COLOURS, INK, SOFT, STYLE
from training.attention import CLEAN, allow
from training.layout import LAYOUTS, Clock, Noised
from training.noise.grid import Grid, Key
from training.noise.views import draw_some
from training.policies import preset
from training.vocabulary import Vocabulary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EMPTY, MASKED, SEEN = "#ecebe5", COLOURS[0], COLOURS[1]
SETS = {"bernoulli": "Bernoulli", "hierarchical": "hierarchical", "decoding": "decoding"}
LAYOUT_NAMES = {"single_stream": "single stream", "two_stream": "two streams", "autoregressive": "autoregressive", "anchored": "anchored"}  # fmt: skip


def figure_of(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def runs(row_T: np.ndarray) -> list[tuple[float, float]]:
    """(start, length) of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row_T.astype(np.int8), [0]])))
    return [(float(start), float(end - start)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def bars(axes: Axes, y: float, row_T: np.ndarray, colour: str) -> None:
    axes.broken_barh(runs(row_T), (y + 0.08, 0.84), facecolors=colour, linewidth=0)


def plain(axes: Axes, width: float, height: float) -> None:
    """No frame, rows from the top."""
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def masks() -> Figure:
    """Four views of one utterance by each mask set of the default recipe."""
    grid, settings, views = Grid(90, 1, 16), MaskSettings(), 4
    figure = figure_of(9, 3.6)
    axes = figure.subplots()
    plain(axes, grid.positions, len(SETS) * (views + 0.7))
    for number, (name, title) in enumerate(SETS.items()):
        noise, _ = draw_some(settings.sets[name], grid, Key.of(0, "an utterance", range(views)))
        for view, masked_L in enumerate(noise.masked_VLQ[:, :, 0]):
            y = number * (views + 0.7) + view
            bars(axes, y, np.ones(grid.positions, bool), EMPTY)
            bars(axes, y, masked_L, MASKED)
        axes.text(-1.5, number * (views + 0.7) + views / 2, title, ha="right", va="center", color=INK)
    for block in range(1, grid.blocks):
        axes.axvline(block * grid.block, color="white", linewidth=2.5)
    axes.set_title("blue: masked; white lines: blocks of 16", loc="left", fontsize=9, color=SOFT)
    return figure


def attention() -> Figure:
    """Who looks at whom in every layout, of an utterance of three blocks of four: a row looks, a column is looked at."""
    clock, vocabulary, length = Clock(4, 1), Vocabulary(8), 12
    codes_NLQ = torch.zeros(1, length, 1, dtype=torch.long)
    masked_NCLQ = torch.ones(1, 1, length, 1, dtype=torch.bool)
    noised = Noised(codes_NLQ, codes_NLQ[:, None], masked_NCLQ, torch.ones(1, length, dtype=torch.bool), torch.tensor([length - 1]))  # fmt: skip
    figure = figure_of(9.6, 2.9)
    for axes, (name, title) in zip(figure.subplots(1, len(LAYOUT_NAMES)), LAYOUT_NAMES.items(), strict=True):
        meta = LAYOUTS[name](noised, clock, vocabulary).meta
        seen_TT, clean_T = allow(meta, meta)[0].numpy(), (meta.stream_NT[0] == CLEAN).numpy()
        plain(axes, len(meta), len(meta))
        axes.set_aspect("equal")
        for row, seen_T in enumerate(seen_TT):
            bars(axes, row, np.ones(len(meta), bool), EMPTY)
            bars(axes, row, seen_T & clean_T, SEEN)
            bars(axes, row, seen_T & ~clean_T, MASKED)
        axes.set_title(title, loc="left", fontsize=10)
    figure.supxlabel("green: given (or as noisy as it is, in a single stream); blue: masks of the same block or window", fontsize=9, color=SOFT)  # fmt: skip
    return figure


def revealing() -> Figure:
    """A block of 16 uncovered in four steps, the surest four first, by made-up confidences."""
    size, steps, policy = 16, 4, preset("even")
    logits_NBC = torch.zeros(1, size, 5)
    logits_NBC[0, :, 0] = torch.from_numpy(np.random.default_rng(4).uniform(0, 5, size)).float()
    figure = figure_of(6.4, 1.9)
    axes = figure.subplots()
    plain(axes, size, steps + 1)
    masked_NB = torch.ones(1, size, dtype=torch.bool)
    now_NB = torch.zeros_like(masked_NB)
    for step in range(steps + 1):
        if step:
            now_NB = policy.select(policy.stats(logits_NBC), masked_NB, step, steps)
            masked_NB = masked_NB & ~now_NB
        for cells_NB, colour in ((masked_NB, MASKED), (now_NB, COLOURS[4]), (~masked_NB & ~now_NB, EMPTY)):
            bars(axes, step, cells_NB[0].numpy(), colour)
        axes.text(-0.3, step + 0.5, f"step {step}" if step else "masks", ha="right", va="center", fontsize=9)
    for frame in range(1, size):
        axes.axvline(frame, color="white", linewidth=1.5)
    return figure


PICTURES = {"masks.svg": masks, "attention.svg": attention, "revealing.svg": revealing}


def drawn(name: str) -> str:
    """A picture as SVG: the same bytes each time."""
    import matplotlib as mpl

    with mpl.rc_context({**STYLE, "svg.fonttype": "none"}):
        out = io.StringIO()
        PICTURES[name]().savefig(out, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def main(names: Sequence[str] = tuple(PICTURES)) -> None:
    for name in names:
        (HERE / name).write_text(drawn(name), encoding="utf-8")


if __name__ == "__main__":
    main()
