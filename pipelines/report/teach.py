"""What the page says of a teacher: one utterance as it fills in, iteration by iteration, how sure it was, and what the shards weigh.

Legend: I iterations; step_VL, sure_VL the first codebook of an utterance (views x positions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifests.dataset import Dataset
from manifests.fingerprint import draw
from manifests.settings.teach import STAGE
from pipelines.report.mask_picture import BLOCKS, HEAD, ROW, BlockSpan, Scale
from training.noise.grid import Grid

HOURS = (6_000, 100_000)  # of the paper's corpus, and of the next one
VIEWS = 6  # shown at most
LOOKED_AT = 40  # utterances of which one is shown
SURE = (0.25, 0.5, 0.75, 1.0)  # upper ends of the shades of certainty
SECONDS = 1.2  # that an iteration stands, and twice that at the end


@dataclass(frozen=True)
class Shade:
    """Cells of like certainty: an outline and how dark it is drawn."""

    opacity: float
    outline: str


@dataclass(frozen=True)
class Frame:
    """What one iteration uncovers, and from which part of the film on it is seen."""

    iteration: int
    begins: float
    shades: tuple[Shade, ...]


@dataclass(frozen=True)
class Film:
    """An utterance under its first views: what was given, what was masked, and the iterations one after the other."""

    id: str
    text: str | None
    height: float
    bottom: float
    seconds: float
    given: str
    masked: str
    frames: tuple[Frame, ...]
    blocks: tuple[BlockSpan, ...]


@dataclass(frozen=True)
class Decided:
    """One iteration over all utterances: share of the cells it decided, and the mean log probability of what it wrote, in nats."""

    iteration: int
    share: float
    sure: float


@dataclass(frozen=True)
class Storage:
    """Bytes of the shards, of an hour of speech, and of other corpora by their hours."""

    shards: int
    hour: float
    more: tuple[tuple[int, float], ...]


def storage(description: Mapping[str, Any]) -> Storage:
    """What the trajectories of a dataset weigh, and would for :data:`HOURS`."""
    hours = sum(amounts["seconds"] for amounts in description["splits"].values()) / 3600
    shards = sum(int(shard["bytes"]) for shard in description[STAGE]["shards"])
    each = shards / max(hours, 1e-9)
    return Storage(shards, each, tuple((h, each * h) for h in HOURS))


@dataclass(frozen=True)
class TeachView:
    """The section about the teacher."""

    about: Mapping[str, Any]
    storage: Storage
    decided: tuple[Decided, ...]
    film: Film | None


def teach_view(dataset: Dataset, facts: Sequence[Mapping[str, Any]]) -> TeachView | None:
    """The section, of the facts of all receipts; None for a dataset that nobody taught."""
    about = dataset.description.get(STAGE)
    if not about or not facts:
        return None
    cells_I, sure_I = (np.sum([f[name] for f in facts], axis=0)[1:] for name in ("cells", "sure"))
    decided = tuple(
        Decided(i + 1, float(cells_I[i] / max(cells_I.sum(), 1)), float(sure_I[i] / max(cells_I[i], 1)))
        for i in range(len(cells_I))
    )
    return TeachView(about, storage(dataset.description), decided, _shown(dataset, about))


def _shown(dataset: Dataset, about: Mapping[str, Any]) -> Film | None:
    """Of some utterances drawn, the one whose blocks fill the picture best; None where none of them was taught."""
    side, block = dataset.side(STAGE), int(dataset.description["masks"]["block"])
    drawn = list(dict.fromkeys(draw("teacher's film", i) % len(side) for i in range(LOOKED_AT))) if len(side) else []
    taught = [i for i in drawn if side[i].arrays["step"].shape[1]]
    if not taught:
        return None
    best = min(taught, key=lambda i: abs(side[i].arrays["step"].shape[1] // block - (BLOCKS - 2)))
    arrays, meta = side[best].arrays, dataset[best].meta
    step_VL, sure_VL = (arrays[name][:VIEWS, :, 0] for name in ("step", "sure"))
    return film(step_VL, np.exp(sure_VL.astype(np.float64)), block, int(about["iterations"]), meta)


def film(step_VL: np.ndarray, sure_VL: np.ndarray, block: int, iterations: int, meta: Mapping[str, Any]) -> Film:
    """The geometry: outlines of the cells of every iteration, by how probable what was written there was (0 to 1)."""
    scale = Scale.of(Grid(step_VL.shape[1] - 1, 1, block), 0.0)
    spans = tuple(BlockSpan(left, left + scale.cell * block, str(b)) for b, left in enumerate(scale.lefts))
    length = (iterations + 3) * SECONDS
    frames = tuple(
        Frame(i, i * SECONDS / length, _shades(scale, step_VL == i, sure_VL)) for i in range(1, iterations + 1)
    )
    bottom = HEAD + ROW * len(step_VL)
    return Film(
        str(meta["id"]), meta.get("text"), bottom + 20, bottom, length, scale.outline(step_VL == 0), scale.outline(step_VL > 0),
        frames, spans,
    )  # fmt: skip


def _shades(scale: Scale, cells_VL: np.ndarray, sure_VL: np.ndarray) -> tuple[Shade, ...]:
    bins_VL = np.minimum(np.searchsorted(SURE, sure_VL), len(SURE) - 1)
    return tuple(
        Shade(upper, outline) for i, upper in enumerate(SURE) if (outline := scale.outline(cells_VL & (bins_VL == i)))
    )
