"""States: text states of a language model, which somebody made, packed beside the tokens, one unit to one side shard; only where a recipe names their source.

Side shards hold the keys of the token shards in the same order: ``KEY.json``, and ``KEY.states.npy`` (states x width, float16 or float32 as it came) where the
source has a good file ``KEY.npy``; where it has none, the JSON says why. Such files are looked for again whenever the stage is run.

Legend: states_SW text states (states x width).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from manifests.ahead import in_order
from manifests.fingerprint import canonical
from manifests.keys import key_of
from manifests.receipt import read_receipt, receipt_name, receipts, shard_stem
from manifests.receipt_index import briefs
from manifests.recipe_file import RecipeError
from manifests.settings.states import STAGE, StatesSettings
from manifests.shards import npy
from manifests.shards.reader import Shard, ShardError
from manifests.shards.writer import pack
from manifests.storage import Store, in_full
from manifests.text_states import States, StatesError, states_of
from pipelines.engine.contract import Beat, Made, Task, Unit

VERSION = 1


class NoTokens(RuntimeError):
    """A unit without tokens: no utterance's fault."""


@dataclass(frozen=True)
class StatesJob:
    """Pack the text states of what is written in the token shards in ``tokens``."""

    folder: str
    tokens: str
    settings: StatesSettings
    units: tuple[Unit, ...]
    stage: str = STAGE

    def open(self) -> StatesWorker:
        return StatesWorker(self)


def source_of(settings: StatesSettings) -> Store:
    return Store(in_full(settings.source))


def require_source(settings: StatesSettings) -> None:
    """Raise ``RecipeError`` where the source is not there: else every utterance would go without states."""
    if not source_of(settings).exists(""):
        raise RecipeError(f"states.source: nothing is at {settings.source}: name the folder that has the KEY.npy files")


def prepare(side: Store, settings: StatesSettings, units: tuple[Unit, ...]) -> None:
    """Before a run of the stage: forget units with files that are there by now, and see that there is a source where a unit has yet to be done.

    Raises ``RecipeError``.
    """
    if source_of(settings).exists(""):
        forget_completed(side, settings, len(units))
    elif {unit.index for unit in units} - {brief.unit for brief in briefs(side, keep=True)}:
        require_source(settings)


def forget_completed(side: Store, settings: StatesSettings, units: int) -> int:
    """Remove the receipts of units of whose missing or faulty files the source now says otherwise; returns how many."""
    forgotten = 0
    for receipt in receipts(side, units):
        if not receipt.facts.get("missing"):
            continue
        lacking = _lacking(side, receipt.unit)
        now = read(source_of(settings), lacking, settings.width)
        if any(not isinstance(found, str) or found != why for why, found in zip(lacking.values(), now, strict=True)):
            side.remove(receipt_name(receipt.unit))
            forgotten += 1
    return forgotten


def first_fault(side: Store, units: int) -> str:
    """Why the first utterance that has no states has none."""
    return next((why for unit in range(units) for why in _lacking(side, unit).values()), "none could be read")


def _lacking(side: Store, unit: int) -> dict[str, str]:
    """By key, why utterances of a unit have no states, as far as their files say it. What killed a worker is not touched again."""
    try:
        whole = {sample.key: str(sample.meta.get("why", "")) for sample in Shard(side, shard_stem(unit))}
    except (ShardError, FileNotFoundError):  # `verify` finds it, `repair` makes it anew
        return {}
    return {key: why for key, why in whole.items() if why.startswith(f"{key}.npy")}


def read(source: Store, keys: Iterable[str], width: int) -> Iterator[States | str]:
    """``states_SW`` of each key, or a sentence why there are none. Of object storage many are asked for at once."""
    one = partial(read_one, source, width)
    return iter(map(one, keys) if source.is_local else in_order(one, keys))


def read_one(source: Store, width: int, key: str) -> States | str:
    """``states_SW`` of one key, or a sentence why there are none."""
    try:
        return states_of(source.read(f"{key}.npy"), width)
    except FileNotFoundError:
        return f"{key}.npy is missing"
    except StatesError as error:
        return f"{key}.npy: {error}"


@dataclass
class StatesWorker:
    job: StatesJob

    @cached_property
    def source(self) -> Store:
        return source_of(self.job.settings)

    def process(self, task: Task, beat: Beat) -> Made:
        """The side shard of a unit; its outcomes are those of the token stage.

        An utterance without a good file has no states, and its JSON says why: a side shard without it would lie beside other samples.
        """
        unit = task.unit.index
        receipt = read_receipt(Store(self.job.tokens), unit)
        if receipt is None:
            raise NoTokens(f"unit {unit} has no tokens")
        first, end = task.only or (0, len(receipt.outcomes))
        written = {i: o.id for i, o in enumerate(receipt.outcomes[:end]) if i >= first and o.status == "written"}
        samples, states, missing = [], 0, 0
        for utterance_id, found in self._found(written, task.skip):
            about, members = _sample(utterance_id, found)
            samples.append((key_of(utterance_id), {"json": canonical(about), **members}))
            states, missing = states + about["states"], missing + ("why" in about)
            beat(1)
        beat(end - first - len(written))
        packed, stem = pack(samples), shard_stem(unit)
        facts = {"beside": receipt.files[0].sha256, "states": states, "missing": missing}
        return Made({f"{stem}.tar": packed.tar, f"{stem}.idx": packed.index}, receipt.outcomes[first:end], facts)

    def _found(
        self, written: Mapping[int, str], poison: Mapping[int, tuple[str, str]]
    ) -> Iterator[tuple[str, States | str]]:
        """(id, states or why there are none) of each utterance by position, in order."""
        untouched = (key_of(one) for position, one in written.items() if position not in poison)
        found = read(self.source, untouched, self.job.settings.width)
        for position, one in written.items():
            yield one, poison[position][1] if position in poison else next(found)


def _sample(utterance_id: str, found: States | str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What is kept of one utterance: its JSON, its arrays."""
    if isinstance(found, str):
        return {"id": utterance_id, "states": 0, "why": found}, {}
    return {"id": utterance_id, "states": len(found)}, {"states.npy": npy.dump(found)}
