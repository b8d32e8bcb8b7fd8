"""Mask: for every written utterance all views of every mask set, one unit to one side shard, beside its token shard.

Side shards hold the keys of the token shards in the same order; each receipt names the token shard it lies beside. What an utterance's masks are does not depend on its codes, only on
how many there are: a function of (settings, id, frames, codebooks), which ``verify`` computes again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manifests.fingerprint import canonical
from manifests.keys import key_of
from manifests.receipt import Receipt, read_receipt, receipt_name, shard_stem
from manifests.receipt_index import briefs
from manifests.settings.mask import MaskSettings
from manifests.shards import npy
from manifests.shards.reader import Shard
from manifests.shards.writer import pack
from manifests.storage import Store
from pipelines.engine.contract import Beat, Made, Task, Unit
from training.noise.grid import Counts, Grid, Key
from training.noise.packing import Noise
from training.noise.packing import pack as pack_masks
from training.noise.views import draw_views

VERSION = 1
STAGE = "masks"


class MaskError(RuntimeError):
    """Masks that cannot be drawn: no utterance's fault."""


@dataclass(frozen=True)
class MaskJob:
    """Draw masks for the token shards in ``tokens``."""

    folder: str
    tokens: str
    settings: MaskSettings
    units: tuple[Unit, ...]
    stage: str = STAGE

    def open(self) -> MaskWorker:
        return MaskWorker(self)


@dataclass
class SetTally:
    """What the masks of one set add up to.

    counts_K            blocks by their number of masked cells, over all utterances and views
    visible, replaced   codes left visible, and those of them that other codes stand for
    """

    counts_K: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    visible: int = 0
    replaced: int = 0

    def add(self, counts_K: Counts, visible: int, replaced: int) -> None:
        if len(counts_K) > len(self.counts_K):
            self.counts_K = np.pad(self.counts_K, (0, len(counts_K) - len(self.counts_K)))
        self.counts_K[: len(counts_K)] += counts_K
        self.visible += visible
        self.replaced += replaced

    def take(self, grid: Grid, noise: Noise) -> None:
        """Count the views of one utterance."""
        masked_NC = noise.masked_VLQ.reshape(-1, grid.block_cells)
        counts_K = np.bincount(masked_NC.sum(axis=1), minlength=grid.block_cells + 1)
        visible = int((~noise.masked_VLQ[:, : grid.frames]).sum())
        self.add(counts_K, visible, int(noise.replaced_VLQ.sum()))

    def to_json(self) -> dict[str, Any]:
        return {"counts": self.counts_K.tolist(), "visible": self.visible, "replaced": self.replaced}


@dataclass
class Tally:
    """Deterministic measurements of masks. ``blocks``: utterances by their number of blocks."""

    blocks: Counter[int] = field(default_factory=Counter)
    sets: dict[str, SetTally] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "blocks": [[n, count] for n, count in sorted(self.blocks.items())],
            "sets": {name: tally.to_json() for name, tally in sorted(self.sets.items())},
        }

    def add(self, facts: Mapping[str, Any]) -> None:
        """Add what :meth:`to_json` said of other masks."""
        self.blocks.update({int(n): int(count) for n, count in facts["blocks"]})
        for name, value in facts["sets"].items():
            counts_K = np.array(value["counts"], np.int64)
            self.sets.setdefault(name, SetTally()).add(counts_K, value["visible"], value["replaced"])


def tally_of(made: Iterable[Receipt]) -> Tally:
    """What the masks of all receipts add up to."""
    whole = Tally()
    for receipt in made:
        whole.add(receipt.facts)
    return whole


def draw_masks(
    settings: MaskSettings, utterance_id: str, frames: int, codebooks: int, tally: Tally
) -> dict[str, bytes]:
    """The members of one sample of a side shard; counts them into ``tally``."""
    grid, key = Grid(frames, codebooks, settings.block), Key.of(settings.seed, utterance_id)
    arrays: dict[str, bytes] = {}
    schemes: dict[str, list[str]] = {}
    for name, mask_set in sorted(settings.sets.items()):
        noise, scheme_V = draw_views(mask_set, grid, key)
        tally.sets.setdefault(name, SetTally()).take(grid, noise)
        arrays[f"{name}.npy"] = npy.dump(pack_masks(noise, mask_set.planes))
        schemes[name] = [mask_set.names[i] for i in scheme_V.tolist()]
    tally.blocks[grid.blocks] += 1
    about = {"id": utterance_id, "frames": frames, "codebooks": codebooks, "block": grid.block, "blocks": grid.blocks}
    return {"json": canonical({**about, "schemes": schemes}), **arrays}


def forget_outdated(side: Store, made_of: Store, units: Iterable[Unit], fact: str = "beside") -> int:
    """Remove the receipts of side shards whose source was made anew since, with other contents; returns how many.

    ``fact`` is the name under which they keep the hash of the shard of ``made_of`` they were made of.
    """
    beside = {brief.unit: brief.sources.get(fact) for brief in briefs(side, keep=True)}
    if not beside:
        return 0
    shards = {brief.unit: brief.shard for brief in briefs(made_of, keep=True)}
    forgotten = 0
    for unit in (u.index for u in units if u.index in beside):
        if unit not in shards and (source := read_receipt(made_of, unit)) is not None:  # a listing may lag
            shards[unit] = source.files[0].sha256
        if beside[unit] != shards.get(unit):
            side.remove(receipt_name(unit))
            forgotten += 1
    return forgotten


@dataclass
class MaskWorker:
    job: MaskJob

    def process(self, task: Task, beat: Beat) -> Made:
        """The side shard of a unit.

        Its outcomes are those of the token stage: what was not written there has no masks here. Raises :class:`MaskError`
        where an utterance would have to be left out, for a side shard without it would lie beside other samples.
        """
        tokens, unit = Store(self.job.tokens), task.unit.index
        receipt = read_receipt(tokens, unit)
        if receipt is None:
            raise MaskError(f"unit {unit} has no tokens")
        for position, (reason, error) in task.skip.items():
            raise MaskError(f"drawing masks for {receipt.outcomes[position].id!r} fails ({reason}: {error})")
        first, end = task.only or (0, len(receipt.outcomes))
        shard, tally, samples = Shard(tokens, shard_stem(unit)), Tally(), []
        for outcome in receipt.outcomes[first:end]:
            if outcome.status == "written":
                samples.append(self._sample(shard, outcome.id, tally))
            beat(1)
        packed, stem = pack(samples), shard_stem(unit)
        files = {f"{stem}.tar": packed.tar, f"{stem}.idx": packed.index}
        return Made(files, receipt.outcomes[first:end], {"beside": receipt.files[0].sha256, **tally.to_json()})

    def _sample(self, shard: Shard, utterance_id: str, tally: Tally) -> tuple[str, dict[str, bytes]]:
        key = key_of(utterance_id)
        position = shard.position(key)
        if position is None:
            raise MaskError(f"{shard.name} has no {key}, which its receipt calls written; run `speechmill verify`")
        frames, codebooks = shard[position].arrays["speech"].shape
        return key, draw_masks(self.job.settings, utterance_id, frames, codebooks, tally)
