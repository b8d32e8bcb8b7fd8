"""Checks of features: side shards against their receipts and the tokens beside them, every array against its contract, some made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from manifests.dataset import NAME
from manifests.fingerprint import draw
from manifests.keys import key_of
from manifests.receipt import Receipt, receipt_name, shard_stem
from manifests.settings.features import STAGE
from manifests.shards import npy
from manifests.shards.reader import Sample, Shard
from pipelines.stages.s30_plan import unit_cuts
from pipelines.stages.s90_dataset import shard_entry
from pipelines.subject import Subject, Unreachable
from pipelines.verify.findings import REMAKE, Findings
from pipelines.verify.inputs import RESTORE
from pipelines.verify.samples import LEDGER, UnitChecked, check_keys, check_shard
from tokenization.adapter import TokenizerError
from tokenization.recognisers.base import RecogniserError

AGAIN = 4  # utterances whose features are made again


@dataclass
class FeaturesCheck:
    """The checks of all units, and what they came by."""

    subject: Subject
    found: Findings
    made: list[Receipt] = field(default_factory=list)
    encoded: list[tuple[int, int, str]] = field(
        default_factory=list
    )  # (unit, position in the plan, key) of what has features

    @classmethod
    def of(cls, subject: Subject, found: Findings) -> FeaturesCheck | None:
        """None where the recipe asks for no features, or the description tells of none (which is a fault)."""
        said, asked = subject.description.get(STAGE), subject.recipe.features is not None
        what = "what it says of features is not what its recipe asks for"
        agree = found.require(isinstance(said, dict) == asked, NAME, what, RESTORE)
        return cls(subject, found) if asked and agree else None

    @property
    def folder(self) -> str:
        return self.subject.folder(STAGE)

    def check(self, unit: int, tokens: UnitChecked | None) -> None:
        """All checks of one side shard, beside a token shard that was checked before."""
        checked = check_shard(self.subject, STAGE, unit, self.found)
        if checked is None:
            return
        receipt = checked.receipt
        self.made.append(receipt)
        stem, where = shard_stem(unit), f"{self.folder}/{receipt_name(unit)}"
        if tokens is not None:
            beside = receipt.facts.get("beside") == tokens.receipt.files[0].sha256
            same = beside and receipt.outcomes == tokens.receipt.outcomes
            self.found.require(same, where, "lies beside other tokens", LEDGER)
        with self.found.guard(f"{self.folder}/{stem}.tar", REMAKE):
            self._check_samples(unit, receipt)

    def _check_samples(self, unit: int, receipt: Receipt) -> None:
        where, shard, frames = (
            f"{self.folder}/{shard_stem(unit)}.tar",
            Shard(self.subject.store(STAGE), shard_stem(unit)),
            0,
        )
        written = [(i, o.id) for i, o in enumerate(receipt.outcomes) if o.status == "written"]
        check_keys(shard.keys, [key_of(name) for _, name in written], where, self.found)
        for i, (position, name) in enumerate(written[: len(shard)]):
            with self.found.guard(where, REMAKE, shard.keys[i]):
                sample = shard[i]
                for fault in self._faults(sample, name):
                    self.found.add(where, fault, REMAKE, sample.key)
                frames += int(sample.meta["frames"])
                if "features" in sample.arrays:
                    self.encoded.append((unit, position, sample.key))
        self.found.require(
            frames == receipt.facts.get("frames"), where, "its frames do not add up to what its receipt states", REMAKE
        )

    def _faults(self, sample: Sample, name: str) -> Iterator[str]:
        width, features_FD = self.subject.description[STAGE]["width"], sample.arrays.get("features")
        shape = (sample.meta.get("frames"), width)
        if sample.meta.get("id") != name:
            yield f"its JSON names {sample.meta.get('id')!r}, its place is that of {name!r}"
        if features_FD is None and shape[0] != 0:
            yield "has no features.npy"
        elif features_FD is not None and (features_FD.dtype != np.float16 or features_FD.shape != shape):
            yield f"features.npy is {features_FD.dtype} of shape {features_FD.shape}, not float16 of {shape}"

    def check_part(self) -> None:
        """What ``dataset.json`` says of features is what their receipts give."""
        said = self.subject.description[STAGE]
        one = {receipt.facts.get("encoder") for receipt in self.made} <= {said.get("checksum")}
        same = one and said.get("shards") == [shard_entry(r) for r in self.made]
        self.found.require(same, NAME, "its features are not those of the receipts", RESTORE)

    def encode_again(self, count: int) -> None:
        """Some features are made once more from their sound, byte for byte; a note where that cannot be."""
        picks = sorted(self.encoded, key=lambda pick: draw("verify", STAGE, pick[2]))[: min(count, AGAIN)]
        try:
            worker = self.subject.encoder() if picks else None
            for unit, position, key in picks:
                assert worker is not None
                where, shard = (
                    f"{self.folder}/{shard_stem(unit)}.tar",
                    Shard(self.subject.store(STAGE), shard_stem(unit)),
                )
                with self.found.guard(where, REMAKE, key):
                    made = worker.features(list(unit_cuts(self.subject.dealt, unit))[position])
                    place = shard.position(key)
                    stored = None if place is None else shard.member(place, "features.npy")
                    same = isinstance(made, np.ndarray) and stored is not None and bytes(stored) == npy.dump(made)
                    remedy = f"{REMAKE} (on another kind of processor sums may differ in the last bit)"
                    self.found.require(same, where, "made again from its sound its features differ", remedy, key)
        except (Unreachable, TokenizerError, RecogniserError) as why:
            self.found.notes.append(f"no features were made again: {why}")
