"""What the page says of masks: one utterance under each view, and how much of a block is masked, against theory.

Legend: share_K shares of blocks by their number of masked cells, from none to all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from manifests.dataset import Dataset
from manifests.fingerprint import draw
from manifests.settings.mask import MaskSet, MaskSettings
from pipelines.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Bar, Tick, nice_step
from pipelines.report.mask_picture import BLOCKS, Picture, picture
from pipelines.stages.s70_mask import SetTally, Tally
from training.noise.grid import Floats, Grid
from training.noise.packing import unpack
from training.noise.views import chances

SETS, VIEWS = 8, 16  # shown at most
LOOKED_AT = 40  # utterances of which one is shown
BARS = 41  # at most, in a chart


@dataclass(frozen=True)
class RateChart:
    """share_K: bars as measured, points in theory."""

    bars: tuple[Bar, ...]
    points: tuple[tuple[float, float], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class SetView:
    """One mask set: what was measured over all utterances and views, and what theory says."""

    name: str
    about: MaskSet
    measured_K: Floats
    theory_K: Floats
    replaced: float
    chart: RateChart

    @property
    def figures(self) -> list[tuple[float, float]]:
        """(measured, theory) of the mask rate, of blocks masked as a whole, of blocks left whole."""
        both = (self.measured_K, self.theory_K)
        rates = (float(share_K @ np.arange(len(share_K))) / (len(share_K) - 1) for share_K in both)
        return [tuple(rates), *((float(both[0][k]), float(both[1][k])) for k in (-1, 0))]  # type: ignore[list-item]


@dataclass(frozen=True)
class Shown:
    """The utterance that is shown, and its picture under each set."""

    id: str
    text: str | None
    grid: Grid
    pictures: Mapping[str, Picture]


@dataclass(frozen=True)
class MaskView:
    """The section about masks.

    seconds       a block's, or None where the frame rate is not known
    blocks        over how many blocks, of all utterances, the shares are
    more          sets that are not shown
    shard_bytes   size of the side shards
    """

    block: int
    seconds: float | None
    blocks: int
    sets: tuple[SetView, ...]
    more: int
    shard_bytes: int
    shown: Shown | None

    @property
    def replaces(self) -> bool:
        return any(view.about.planes > 1 for view in self.sets)


def mask_view(dataset: Dataset, tally: Tally) -> MaskView | None:
    """The section; None for a dataset without masks or without samples."""
    about, recipe = dataset.description.get("masks"), dataset.description.get("recipe") or {}
    if not about or not recipe.get("mask") or not tally.blocks:
        return None
    settings = MaskSettings.model_validate(recipe["mask"])
    rate = (dataset.description.get("speech") or {}).get("frame_rate")
    names = sorted(settings.sets)[:SETS]
    return MaskView(
        settings.block, settings.block / rate if rate else None, sum(n * count for n, count in tally.blocks.items()),
        tuple(_set_view(name, settings, tally.sets[name], tally.blocks) for name in names),
        len(settings.sets) - len(names), sum(int(shard["bytes"]) for shard in about["shards"]),
        _shown(dataset, settings, names),
    )  # fmt: skip


def theory(mask_set: MaskSet, block: int, codebooks: int, blocks: Mapping[int, int]) -> Floats:
    """share_K over all blocks of a dataset in which ``blocks[n]`` utterances have n blocks."""
    weights = {n: n * count for n, count in blocks.items()}
    each = [w * chances(mask_set, Grid((n - 1) * block, codebooks, block)) for n, w in weights.items()]
    return np.sum(each, axis=0) / sum(weights.values())


def _set_view(name: str, settings: MaskSettings, tally: SetTally, blocks: Mapping[int, int]) -> SetView:
    mask_set, counts_K = settings.sets[name], tally.counts_K
    measured_K = counts_K / max(int(counts_K.sum()), 1)
    theory_K = theory(mask_set, settings.block, (len(counts_K) - 1) // settings.block, blocks)
    replaced = tally.replaced / max(tally.visible, 1)
    return SetView(name, mask_set, measured_K, theory_K, replaced, rate_chart(measured_K, theory_K))


def rate_chart(measured_K: Floats, theory_K: Floats) -> RateChart:
    """A bar for every count, or for so many neighbouring ones that there are few enough bars; that of all cells stays alone."""
    cells = len(measured_K) - 1
    starts = np.append(np.arange(0, cells, -(-cells // (BARS - 1))), cells)
    ends = np.append(starts[1:] - 1, cells)
    measured_B, theory_B = (np.add.reduceat(share_K, starts) for share_K in (measured_K, theory_K))
    top = 1.08 * max(float(measured_B.max()), float(theory_B.max()), 1e-9)
    tall, wide = HEIGHT - TOP - BOTTOM, (WIDTH - LEFT - RIGHT) / len(starts)
    floor = TOP + tall
    bars = tuple(
        Bar(
            LEFT + i * wide,
            floor - tall * share / top,
            wide,
            tall * share / top,
            _title(first, last, cells, share, expected),
        )
        for i, (first, last, share, expected) in enumerate(zip(starts, ends, measured_B, theory_B, strict=True))
    )
    points = tuple((LEFT + (i + 0.5) * wide, floor - tall * share / top) for i, share in enumerate(theory_B))
    step = nice_step(top, 4)
    y_ticks = tuple(Tick(floor - tall * i * step / top, f"{100 * i * step:.3g}%") for i in range(int(top / step) + 1))
    return RateChart(bars, points, _rate_ticks(starts, wide), y_ticks)


def _title(first: int, last: int, cells: int, share: float, expected: float) -> str:
    counts = f"{first}" if first == last else f"{first} to {last}"
    return f"{counts} of {cells} masked: {100 * share:.2f}% of blocks, in theory {100 * expected:.2f}%"


def _rate_ticks(starts: np.ndarray, wide: float) -> tuple[Tick, ...]:
    """About five ticks under the middles of bars, the first and the last among them."""
    marked = np.unique(np.linspace(0, len(starts) - 1, min(5, len(starts))).round().astype(int)).tolist()
    return tuple(Tick(LEFT + (i + 0.5) * wide, str(starts[i])) for i in marked)


def _shown(dataset: Dataset, settings: MaskSettings, names: list[str]) -> Shown:
    """Of some utterances drawn, the one whose blocks fill the picture best."""
    masks = dataset.masks
    drawn = list(dict.fromkeys(draw("mask picture", i) % len(masks) for i in range(LOOKED_AT)))
    best = min(drawn, key=lambda i: abs(int(masks[i].meta["blocks"]) - (BLOCKS - 2)))
    sample, meta = masks[best], masks[best].meta
    grid = Grid(int(meta["frames"]), int(meta["codebooks"]), int(meta["block"]))
    pictures = {}
    for name in names:
        noise = unpack(sample.arrays[name], grid)
        schemes = meta["schemes"][name] if len(settings.sets[name].mix) > 1 else None
        pictures[name] = picture(noise.masked_VLQ[:VIEWS, :, 0], noise.replaced_VLQ[:VIEWS, :, 0], grid, schemes)
    return Shown(str(meta["id"]), dataset[best].meta.get("text"), grid, pictures)
