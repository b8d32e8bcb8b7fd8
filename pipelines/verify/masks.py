"""Checks of masks: side shards against their receipts, keys against the tokens', every mask against the one that is drawn again.

All masks are drawn again up to :data:`DRAWN_AGAIN` samples; of larger datasets whole units, drawn by a hash, and every damaged one. The
others are held against their hashes, their keys and the shapes that their utterances ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from manifests.dataset import DatasetError
from manifests.fingerprint import draw
from manifests.keys import key_of
from manifests.receipt import Receipt, receipt_name, shard_stem
from manifests.settings.mask import MaskSettings
from manifests.shards import npy
from manifests.shards.reader import Sample, Shard
from pipelines.stages.s70_mask import Tally, draw_masks
from pipelines.subject import Subject
from pipelines.verify.findings import REMAKE, RERUN, Findings
from pipelines.verify.samples import LEDGER, UnitChecked, check_keys, check_shard
from training.noise.grid import Grid
from training.noise.packing import PackedError, unpack

DRAWN_AGAIN = 100_000  # samples


@dataclass
class MaskCheck:
    """The checks of all units, and what they came by.

    share   of the units, whose masks are drawn again
    """

    subject: Subject
    settings: MaskSettings
    found: Findings
    share: float
    made: list[Receipt] = field(default_factory=list)
    samples: int = 0
    again: int = 0

    @classmethod
    def of(cls, subject: Subject, found: Findings) -> MaskCheck | None:
        """None where the recipe asks for no masks, or the description names no folder of them."""
        if subject.recipe.mask is None:
            return None
        try:
            subject.folder("masks")
        except DatasetError:
            return None
        planned, ignored = 0, Findings()  # a plan that cannot be read was reported when it was checked
        with ignored.guard("plan.json", RERUN):
            planned = sum(unit.count for unit in subject.units)
        return cls(subject, subject.recipe.mask, found, min(1.0, DRAWN_AGAIN / max(planned, 1)))

    def check(self, unit: int, tokens: UnitChecked | None) -> None:
        """All checks of one side shard, beside a token shard that was checked before."""
        folder, stem = self.subject.folder("masks"), shard_stem(unit)
        where = f"{folder}/{receipt_name(unit)}"
        checked = check_shard(self.subject, "masks", unit, self.found)
        if checked is None:
            return
        receipt = checked.receipt
        self.made.append(receipt)
        if tokens is not None:
            self._check_beside(receipt, tokens.receipt, where)
        with self.found.guard(f"{folder}/{stem}.tar", REMAKE):
            self._check_samples(unit, receipt, tokens, bool(checked.damaged))

    def _check_beside(self, receipt: Receipt, tokens: Receipt, where: str) -> None:
        """The receipt names the token shard it lies beside, and ends every utterance as that one's does."""
        beside = tokens.files[0].sha256 if tokens.files else None
        self.found.require(receipt.facts.get("beside") == beside, where, "lies beside another token shard", LEDGER)
        self.found.require(
            receipt.outcomes == tokens.outcomes, where, "its outcomes are not those of the tokens", LEDGER
        )

    def _check_samples(self, unit: int, receipt: Receipt, tokens: UnitChecked | None, damaged: bool) -> None:
        where = f"{self.subject.folder('masks')}/{shard_stem(unit)}.tar"
        shard, tally = Shard(self.subject.store("masks"), shard_stem(unit)), Tally()
        beside = Shard(self.subject.store("tokens"), shard_stem(unit)) if tokens and tokens.sound else None
        ids = [o.id for o in receipt.outcomes if o.status == "written"]
        check_keys(shard.keys, [key_of(i) for i in ids], where, self.found)
        again = damaged or draw("masks", unit) < self.share * 2**64
        for i, utterance_id in enumerate(ids[: len(shard)]):
            with self.found.guard(where, REMAKE, shard.keys[i]):
                shape = beside[i].arrays["speech"].shape if beside else _shape_in(shard[i])
                faults = (
                    self._drawn_again(shard, i, utterance_id, shape, tally) if again else self._misfits(shard[i], shape)
                )
                for fault in faults:
                    self.found.add(where, fault, REMAKE, shard.keys[i])
            self.samples, self.again = self.samples + 1, self.again + again
        facts = {"beside": receipt.facts.get("beside"), **tally.to_json()}
        summed = not again or facts == dict(receipt.facts)
        self.found.require(summed, where, "its masks do not add up to what its receipt states", REMAKE)

    def _drawn_again(
        self, shard: Shard, i: int, utterance_id: str, shape: tuple[int, ...], tally: Tally
    ) -> Iterator[str]:
        """What differs from the masks that the settings give, member by member, and in arrays from which view on."""
        frames, codebooks = shape
        wanted = draw_masks(self.settings, utterance_id, frames, codebooks, tally)
        stored = {e: bytes(m) for e in shard.extensions if (m := shard.member(i, e)) is not None}
        for name in sorted(wanted.keys() | stored.keys()):
            if wanted.get(name) != stored.get(name):
                yield f"{name} is not what the recipe's seed draws{_where(wanted.get(name), stored.get(name))}"

    def _misfits(self, sample: Sample, shape: tuple[int, ...]) -> Iterator[str]:
        """What in a sample does not fit its utterance, without drawing anything again."""
        grid = Grid(shape[0], shape[1], self.settings.block)
        if _shape_in(sample) != shape or set(sample.arrays) != set(self.settings.sets):
            yield f"its JSON or its sets are not those of an utterance of {shape[0]} frames"
        for name, mask_set in self.settings.sets.items():
            try:
                views = len(unpack(sample.arrays[name], grid).masked_VLQ) if name in sample.arrays else 0
            except PackedError as error:
                yield f"{name}.npy: {error}"
                continue
            if views != mask_set.views:
                yield f"{name}.npy holds {views} views, not {mask_set.views}"

    def tell(self) -> None:
        """Note how many masks were drawn again, where it was not all of them."""
        if self.again < self.samples:
            self.found.notes.append(f"the masks of {self.again:,} of {self.samples:,} samples were drawn again, whole units by a hash; "
                                    "of the others hashes, keys and shapes were checked")  # fmt: skip


def _shape_in(sample: Sample) -> tuple[int, ...]:
    """Frames and codebooks as a sample of masks states them itself."""
    return int(sample.meta["frames"]), int(sample.meta["codebooks"])


def _where(wanted: bytes | None, stored: bytes | None) -> str:
    """The first view in which two arrays differ; nothing where they are not comparable."""
    if wanted is None or stored is None:
        return ": it is missing" if stored is None else ": the recipe has no such set"
    try:
        one, other = npy.load(wanted), npy.load(stored)
    except npy.NpyError:
        return ""
    if one.shape != other.shape or one.ndim < 2 or not (different := (one != other).any(axis=(1, 2))).any():
        return ""
    return f" (view {int(different.argmax())} of {len(one)})"
