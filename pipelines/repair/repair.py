"""``repair``: what is damaged is removed and made anew by the recipe that the output itself records, and nothing else is.

A pass looks, removes, and runs the recipe, which makes what has no receipt. Another one follows where the first could not see everything:
what names a folder was damaged itself. Killed at any point, the same command (or ``data``) goes on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console

from manifests.fingerprint import sha256
from manifests.receipt import ReceiptError, read_receipt
from manifests.recipe import Recipe
from manifests.settings.run import RunSettings
from manifests.storage import Store
from pipelines.data import DataRun, opened
from pipelines.repair.damage import Damage, Part, find_damage
from pipelines.repair.records import Records, RepairError, read_records
from pipelines.stages import s20_ingest, s68_states
from pipelines.stages.order import SHARDS
from pipelines.verify.findings import Progress, Verdict
from pipelines.verify.verify import verify

__all__ = ["RepairError", "Repaired", "repair"]
PASSES = 5  # manifest; plan and fit; units; what only a finished dataset shows; nothing


@dataclass(frozen=True)
class Repaired:
    """What a repair came to.

    parts       what was made anew (or would be), upstream first
    different   files that came out with other bytes than their receipts had promised
    verdict     of the dataset as it is now; None of a dry run
    """

    parts: tuple[Part, ...]
    different: tuple[str, ...] = ()
    verdict: Verdict | None = None

    @property
    def ok(self) -> bool:
        return not self.different and (self.verdict is None or self.verdict.ok)


def planned_repair(out: str, reencode: int = 0, progress: Progress | None = None) -> Repaired:
    """What :func:`repair` would make anew, changing nothing. Raises :class:`RepairError`."""
    return Repaired(find_damage(read_records(out), reencode, progress).parts)


def repair(
    out: str, console: Console, workers: int | None = None, reencode: int = 0, progress: Progress | None = None
) -> Repaired:
    """Make anew what is damaged under ``out``, a path or fsspec URL, and verify the whole.

    ``workers`` replaces the recipe's; ``reencode`` utterances are made again from their sound, as ``verify`` does. Raises :class:`RepairError` where it is not
    known or no longer there what the output was made of, and whatever a run of the recipe raises; what was sound is untouched then.
    """
    parts, promised = dict[tuple[str, int | None], Part](), dict[str, str]()
    with opened(_recipe(read_records(out).space.recipe, workers), out, console) as run:
        for _ in range(PASSES):
            records = read_records(out)
            damage = find_damage(records, reencode, progress)
            if not damage.parts:
                break
            promised = {**_promised(records, damage), **records.promised, **promised}
            parts = {(p.stage, p.unit): p for p in damage.parts} | parts
            _make(run, records, damage)
    different = tuple(sorted(_different(Store(out), promised, parts.values())))
    return Repaired(tuple(sorted(parts.values())), different, verify(out, reencode, progress))


def _recipe(recipe: Recipe, workers: int | None) -> Recipe:
    if workers is None:
        return recipe
    return recipe.model_copy(update={"run": RunSettings(**{**recipe.run.model_dump(), "workers": workers})})


def _make(run: DataRun, records: Records, damage: Damage) -> None:
    """Remove what is damaged and make it anew; what tokens are made of alone, where that is damaged."""
    run.check_teacher()
    _check_corpus(run, records)
    if run.recipe.states is not None and any(part.stage in ("tokens", "states") for part in damage.parts):
        s68_states.require_source(run.recipe.states)
    damage.remove(records.space.store)
    if any(part.stage == "cuts" for part in damage.parts):  # all that follows is held against it
        s20_ingest.ingest(run.recipe.corpus, run.corpus_root({}), run.space.cuts, run.mapper, run.engine.events)
    elif damage.inputs:
        run.inputs({})
    else:
        run()


def _check_corpus(run: DataRun, records: Records) -> None:
    """Raises :class:`RepairError` where the corpus is gone or would give another manifest: another dataset would come of it."""
    if run.space.is_demo:
        return  # spoken from the recipe, wherever it is
    corpus, root = run.recipe.corpus, records.root
    if not Store(root).exists(""):
        raise RepairError(f"the corpus is not at {root}: bring it back there; nothing was removed")
    try:
        cuts = s20_ingest.read_cuts(run.space.cuts)
    except ReceiptError:
        cuts = None
    listing = s20_ingest.listing_digest(corpus, root)
    if cuts is not None and cuts.listing == listing:
        return
    promised = records.described.description["cuts"]["sha256"] if records.described else cuts and cuts.sha256
    if not promised:
        return
    with tempfile.TemporaryFile() as packed:
        found = s20_ingest.read_corpus(corpus, root, listing, run.mapper, packed)
    if found.sha256 != promised:
        raise RepairError(
            f"the corpus at {root} has changed since the dataset was made of it: bring it back as it was, "
            "or run `speechmill data` to make a dataset of what it is now; nothing was removed"
        )


def _promised(records: Records, damage: Damage) -> dict[str, str]:
    """SHA-256 by full name, from the receipts that are about to be removed, as far as they can be read."""
    promised = {}
    for part in damage.parts:
        if part.stage in SHARDS and part.unit is not None:
            try:
                receipt = read_receipt(records.space.store.sub(part.folder), part.unit)
            except ReceiptError:
                continue
            promised |= {f"{part.folder}/{f.name}": f.sha256 for f in receipt.files} if receipt else {}
    return promised


def _different(out: Store, promised: dict[str, str], parts: Iterable[Part]) -> Iterator[str]:
    """The shards and indexes made anew whose bytes are not those that were promised."""
    for part in parts:
        receipt = (
            read_receipt(out.sub(part.folder), part.unit) if part.stage in SHARDS and part.unit is not None else None
        )
        for entry in receipt.files if receipt else ():
            name = f"{part.folder}/{entry.name}"
            if promised.get(name, entry.sha256) != sha256(out.sub(part.folder).read(entry.name)):
                yield name
