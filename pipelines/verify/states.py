"""Checks of text states: side shards against their receipts and the tokens beside them, every array against its contract, some against their source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from manifests.dataset import NAME
from manifests.fingerprint import draw
from manifests.keys import key_of
from manifests.receipt import Receipt, receipt_name, shard_stem
from manifests.settings.states import STAGE, StatesSettings
from manifests.shards import npy
from manifests.shards.reader import Shard
from manifests.text_states import StatesError, states_of
from pipelines.stages.s68_states import read_one, source_of
from pipelines.stages.s90_dataset import states_sums
from pipelines.subject import Subject
from pipelines.verify.findings import ELSEWHERE, REMAKE, Findings
from pipelines.verify.inputs import RESTORE
from pipelines.verify.samples import LEDGER, UnitChecked, check_keys, check_shard

MEMBER = "states.npy"


@dataclass
class StatesCheck:
    """The checks of all units, and what they came by."""

    subject: Subject
    settings: StatesSettings
    found: Findings
    made: list[Receipt] = field(default_factory=list)
    packed: list[tuple[int, str]] = field(default_factory=list)  # (unit, key) of what has states

    @classmethod
    def of(cls, subject: Subject, found: Findings) -> StatesCheck | None:
        """None where the recipe asks for no states, or the description tells of none (which is a fault)."""
        said, settings = subject.description.get(STAGE), subject.recipe.states
        what = "what it says of text states is not what its recipe asks for"
        agree = found.require(isinstance(said, dict) == (settings is not None), NAME, what, RESTORE)
        return cls(subject, settings, found) if settings is not None and agree else None

    @property
    def folder(self) -> str:
        return self.subject.folder(STAGE)

    def check(self, unit: int, tokens: UnitChecked) -> None:
        """All checks of one side shard, beside a token shard that was checked before."""
        checked = check_shard(self.subject, STAGE, unit, self.found)
        if checked is None:
            return
        receipt = checked.receipt
        self.made.append(receipt)
        beside = receipt.facts.get("beside") == tokens.receipt.files[0].sha256
        same, where = beside and receipt.outcomes == tokens.receipt.outcomes, f"{self.folder}/{receipt_name(unit)}"
        self.found.require(same, where, "lies beside other tokens", LEDGER)
        with self.found.guard(f"{self.folder}/{shard_stem(unit)}.tar", REMAKE):
            self._check_samples(unit, receipt)

    def _check_samples(self, unit: int, receipt: Receipt) -> None:
        where, shard = f"{self.folder}/{shard_stem(unit)}.tar", Shard(self.subject.store(STAGE), shard_stem(unit))
        written, states, missing = [o.id for o in receipt.outcomes if o.status == "written"], 0, 0
        check_keys(shard.keys, [key_of(name) for name in written], where, self.found)
        for i, name in enumerate(written[: len(shard)]):
            with self.found.guard(where, REMAKE, shard.keys[i]):
                for fault in self._faults(shard, i, name):
                    self.found.add(where, fault, REMAKE, shard.keys[i])
                count = int(shard[i].meta["states"])
                states, missing = states + count, missing + (not count)
                if count:
                    self.packed.append((unit, shard.keys[i]))
        summed = (states, missing) == (receipt.facts.get("states"), receipt.facts.get("missing"))
        self.found.require(summed, where, "its states do not add up to what its receipt states", REMAKE)

    def _faults(self, shard: Shard, i: int, name: str) -> Iterator[str]:
        meta = shard[i].meta
        member = shard.member(i, MEMBER) if MEMBER in shard.extensions else None
        if meta.get("id") != name:
            yield f"its JSON names {meta.get('id')!r}, its place is that of {name!r}"
        if (member is None) != ("why" in meta):
            yield "has no states.npy" if member is None else "has states.npy, and its JSON says why not"
        if member is None:
            return
        try:
            states_SW = states_of(member, self.settings.width)
        except StatesError as error:
            yield f"states.npy: {error}"
            return
        if len(states_SW) != meta.get("states"):
            yield f"states.npy holds {len(states_SW)} states, its JSON says {meta.get('states')}"

    def check_part(self) -> None:
        """What ``dataset.json`` says of text states is what their receipts give."""
        part = states_sums(self.folder, self.settings, self.made)
        self.found.require(
            self.subject.description[STAGE] == part, NAME, "its text states are not those of the receipts", RESTORE
        )

    def read_again(self, count: int) -> None:
        """Some states are read from their source once more, byte for byte; a note where it is gone."""
        source = source_of(self.settings)
        picks = sorted(self.packed, key=lambda pick: draw("verify", STAGE, pick[1]))[:count]
        if picks and not source.exists(""):
            self.found.notes.append(f"no text states were read again: nothing is at {self.settings.source}")
            return
        for unit, key in picks:
            where, shard = f"{self.folder}/{shard_stem(unit)}.tar", Shard(self.subject.store(STAGE), shard_stem(unit))
            with self.found.guard(where, REMAKE, key):
                now, place = read_one(source, self.settings.width, key), shard.position(key)
                stored = None if place is None else shard.member(place, MEMBER)
                same = not isinstance(now, str) and stored is not None and bytes(stored) == npy.dump(now)
                what = f"states.source says otherwise by now ({now if isinstance(now, str) else 'other states'})"
                self.found.require(same, where, what, ELSEWHERE, key)
