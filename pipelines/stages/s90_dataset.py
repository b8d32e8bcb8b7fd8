"""Dataset: when every unit has its receipt, fold them into ``dataset.json``. Nothing in it differs from run to run."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifests.dataset import FORMAT, NAME
from manifests.fingerprint import pretty_parts
from manifests.ledger import Ledger, Outcome, fold
from manifests.receipt import Receipt, receipts
from manifests.settings.mask import MaskSettings
from manifests.settings.states import StatesSettings
from manifests.storage import Store
from pipelines.engine.commit import crash_point

COMPARED = 1 << 20  # bytes of two files that are compared at once


class Unbalanced(RuntimeError):
    """Utterances are missing from the ledger or stand in it twice: a defect, never to be papered over."""


@dataclass
class Facts:
    """Measurements by split and parity counts, summed over the facts of units in order."""

    splits: dict[str, Counter[str]] = field(default_factory=dict)
    parity: Counter[str] = field(default_factory=Counter)

    def add(self, facts: Mapping[str, Any]) -> None:
        for split, amounts in facts["splits"].items():
            self.splits.setdefault(split, Counter()).update(amounts)
        self.parity.update({k: v for k, v in facts["parity"].items() if isinstance(v, int)})

    def summed(self) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
        splits: dict[str, dict[str, float]] = {
            s: {k: round(v, 6) for k, v in sorted(c.items())} for s, c in sorted(self.splits.items())
        }
        return splits, dict(sorted(self.parity.items()))


def sum_facts(made: Iterable[Mapping[str, Any]]) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """(measurements by split, parity counts) of all of them."""
    whole = Facts()
    for facts in made:
        whole.add(facts)
    return whole.summed()


def shard_entry(receipt: Receipt) -> dict[str, Any]:
    tar, index = receipt.files
    written = sum(o.status == "written" for o in receipt.outcomes)
    return {
        "name": tar.name, "samples": written, "bytes": tar.bytes, "sha256": tar.sha256,
        "index": index.name, "index_sha256": index.sha256,
    }  # fmt: skip


def describe(tokens: Store, units: int, planned: int, about: dict[str, Any]) -> dict[str, Any]:
    """The contents of ``dataset.json``. Raises :class:`Unbalanced`."""
    shards: list[dict[str, Any]] = []
    facts = Facts()

    def ends() -> Iterator[Outcome]:
        """The end of every utterance. Of each receipt no more than its entry is kept."""
        for receipt in receipts(tokens, units):
            shards.append(shard_entry(receipt))
            facts.add(receipt.facts)
            yield from receipt.outcomes

    ledger: Ledger = fold(planned, ends())
    if len(shards) != units or not ledger.settled:
        raise Unbalanced(f"{units - len(shards)} receipts and {ledger.pending} utterances are missing")
    splits, parity = facts.summed()
    return {"format": FORMAT, **about, "ledger": ledger.to_json(), "splits": splits, "parity": parity,
            "tokens": {"folder": about["folders"]["tokens"], "shards": shards}}  # fmt: skip


def describe_masks(
    masks: Store, folder: str, settings: MaskSettings, tokens: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The ``masks`` part of ``dataset.json``: what lies in the side shards beside the shards of ``tokens``. Raises :class:`Unbalanced`."""
    return mask_part(folder, settings, side_shards(masks, folder, tokens))


def side_shards(side: Store, folder: str, tokens: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The entries of the shards of ``side``.

    Raises :class:`Unbalanced` where one is missing, or holds more or fewer samples than the one of ``tokens`` it lies beside.
    """
    shards = [shard_entry(r) for r in receipts(side, len(tokens))]
    _require_beside(shards, folder, tokens)
    return shards


def _require_beside(shards: Sequence[Mapping[str, Any]], folder: str, tokens: Sequence[Mapping[str, Any]]) -> None:
    if [s["samples"] for s in shards] != [s["samples"] for s in tokens]:
        raise Unbalanced(
            f"{folder}: its {len(shards)} shards do not hold the samples of the {len(tokens)} token shards"
        )


def states_part(
    side: Store, folder: str, settings: StatesSettings, tokens: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """How ``dataset.json`` tells of text states: their width, how many there are, how many utterances have none. Raises :class:`Unbalanced`."""
    part = states_sums(folder, settings, receipts(side, len(tokens)))
    _require_beside(part["shards"], folder, tokens)
    return part


def states_sums(folder: str, settings: StatesSettings, made: Iterable[Receipt]) -> dict[str, Any]:
    """What receipts of text states add up to."""
    states, missing, shards = 0, 0, list[dict[str, Any]]()
    for receipt in made:
        states, missing = states + receipt.facts["states"], missing + receipt.facts["missing"]
        shards.append(shard_entry(receipt))
    return {"folder": folder, "width": settings.width, "states": states, "missing": missing, "shards": shards}


def mask_part(folder: str, settings: MaskSettings, shards: list[dict[str, Any]]) -> dict[str, Any]:
    """How ``dataset.json`` tells of masks."""
    sets = {
        name: {"views": s.views, "planes": s.planes, "complementary": s.complementary, "schemes": list(s.names)}
        for name, s in settings.sets.items()
    }
    return {"folder": folder, "block": settings.block, "seed": settings.seed, "sets": sets, "shards": shards}


def transcript_part(store: Store, folder: str, units: int) -> dict[str, Any]:
    """How ``dataset.json`` tells of transcripts: who listened, and the side shards, which lie beside the plan. Raises :class:`Unbalanced`."""
    who, shards = None, []
    for receipt in receipts(store, units):
        who = who or receipt.facts["recogniser"]
        shards.append(shard_entry(receipt))
    if len(shards) != units:
        raise Unbalanced(f"{folder}: {units - len(shards)} receipts are missing")
    return {"folder": folder, "recogniser": who, "shards": shards}


def publish(out: Store, description: dict[str, Any]) -> bool:
    """Write ``dataset.json`` unless it stands there already; True when it was written."""
    with tempfile.NamedTemporaryFile(prefix="speechmill-dataset-") as made:
        made.writelines(pretty_parts(description))
        made.flush()
        if _stands(out, Path(made.name)):
            return False
        crash_point("before-dataset")
        out.publish_file(NAME, Path(made.name))
    crash_point("after-dataset")
    return True


def _stands(out: Store, made: Path) -> bool:
    """Whether ``dataset.json`` is there, and the same."""
    if not out.exists(NAME) or out.size(NAME) != made.stat().st_size:
        return False
    with out.open(NAME) as there, made.open("rb") as new:
        return all(there.read(len(part)) == part for part in iter(lambda: new.read(COMPARED), b""))
