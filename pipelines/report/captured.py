"""How much of the teacher's probability the classes hold that store ``topk`` keeps, in a sample: whether ``teach.k`` is large enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manifests.dataset import Dataset
from manifests.fingerprint import draw
from manifests.settings.teach import STAGE

SHARDS, EACH = 4, 25  # shards that are looked into, and utterances of each
ENOUGH = 0.95


@dataclass(frozen=True)
class Captured:
    """``mean`` over masked cells of the probability that is kept, 0 to 1, of at most ``k`` classes at temperature ``tau``."""

    k: int
    tau: float
    cells: int
    mean: float

    def __str__(self) -> str:
        return f"{self.k} classes hold {self.mean:.1%} of the probability at tau {self.tau:g}"

    @property
    def note(self) -> str | None:
        """What to do where that is little."""
        if self.mean >= ENOUGH:
            return None
        return (
            f"less than {ENOUGH:.0%} of the teacher's probability is in the classes kept, and students learn the rest as one: "
            "teach with a larger teach.k, or with teach.store=hidden"
        )


def captured(dataset: Dataset) -> Captured | None:
    """Of some utterances of some shards, drawn by hash; None for another store, or where no cell of them was masked."""
    about = dataset.description.get(STAGE)
    if not about or about["store"] != "topk":
        return None
    side, held = dataset.side(STAGE), list[np.ndarray]()
    numbers = sorted(range(len(side.shards)), key=lambda n: draw("classes kept", n))[:SHARDS]
    for shard in (side.shard(n) for n in numbers):
        places = sorted(range(len(shard)), key=lambda i: draw("classes kept", shard.keys[i]))[:EACH]
        held += [np.exp(shard[i].arrays["logp"].astype(np.float64)).sum(1) for i in places]
    held_P = np.concatenate(held) if held else np.zeros(0)
    if not len(held_P):
        return None
    return Captured(int(about["k"]), float(about["tau"]), len(held_P), float(np.minimum(held_P, 1).mean()))
