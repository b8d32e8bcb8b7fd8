"""What the page says of a teacher: one utterance as it fills in, iteration by iteration, how sure it was, and what the shards weigh.

Legend: I iterations; step_VL, token_VL, sure_VL the first codebook of an utterance (views x positions); F frames, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifests.dataset import Dataset
from manifests.fingerprint import draw
from manifests.settings.teach import STAGE
from pipelines.report.captured import Captured, captured
from pipelines.report.film import Film, Trajectory, blocks_shown, film
from training.vocabulary import Vocabulary

HOURS = (6_000, 100_000)  # of the paper's corpus, and of the next one
VIEWS = 6  # shown at most
LOOKED_AT = 40  # utterances of which one is shown


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
    captured: Captured | None = None


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
    return TeachView(about, storage(dataset.description), decided, _shown(dataset, about), captured(dataset))


def _shown(dataset: Dataset, about: Mapping[str, Any]) -> Film | None:
    """Of some utterances drawn, the one whose blocks fill the picture best; None where none of them was taught."""
    side, block = dataset.side(STAGE), int(dataset.description["masks"]["block"])
    drawn = list(dict.fromkeys(draw("teacher's film", i) % len(side) for i in range(LOOKED_AT))) if len(side) else []
    taught = [i for i in drawn if side[i].arrays["step"].shape[1]]
    if not taught:
        return None
    best = min(taught, key=lambda i: abs(side[i].arrays["step"].shape[1] // block - blocks_shown(block)))
    eos = Vocabulary(dataset.description["speech"]["vocab_size"]).eos
    told = _trajectory(side[best].arrays, dataset[best].arrays["speech"], eos)
    return film(told, block, int(about["iterations"]), dataset[best].meta)


def _trajectory(arrays: Mapping[str, np.ndarray], speech_FQ: np.ndarray, eos: int) -> Trajectory:
    """The first codebook under the first views."""
    step_VL, token_VL, sure_VL = (arrays[name][:VIEWS, :, 0] for name in ("step", "token", "sure"))
    true_L = np.full(step_VL.shape[1], eos, np.int64)
    true_L[: len(speech_FQ)] = speech_FQ[:, 0]
    return Trajectory(step_VL, token_VL, np.exp(sure_VL.astype(np.float64)), true_L, eos)
