"""The stages of a run in their order, and what each of them leaves: said once, for all that walk through them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Placed:
    """A stage that has a folder of its own.

    asked    the recipe's block that asks for it; None where every run has it
    units    it has the units of the plan, and leaves a receipt for each
    shards   and a shard for each, which ``dataset.json`` lists
    """

    name: str
    asked: str | None = None
    units: bool = False
    shards: bool = False


ORDER = (
    Placed("segments", asked="segment"),
    Placed("plan"),
    Placed("copies", asked="copies", units=True),
    Placed("transcripts", asked="transcribe", units=True, shards=True),
    Placed("fit"),
    Placed("tokens", units=True, shards=True),
    Placed("features", asked="features", units=True, shards=True),
    Placed("states", asked="states", units=True, shards=True),
    Placed("masks", asked="mask", units=True, shards=True),
    Placed("teach", asked="teach", units=True, shards=True),
)
OF_UNITS = tuple(stage.name for stage in ORDER if stage.units)
SHARDS = tuple(stage.name for stage in ORDER if stage.shards)
