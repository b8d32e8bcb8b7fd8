"""The ``plan`` block of a recipe: how utterances are dealt into units."""

from __future__ import annotations

from pydantic import Field

from manifests.settings.base import Settings


class PlanSettings(Settings):
    """One unit is one task and makes one shard in every stage."""

    unit_seconds: float = Field(default=1800.0, gt=0, description="seconds of audio a unit should hold")
    batch_seconds: float = Field(default=120.0, gt=0, description="seconds of audio encoded in one batch inside a unit")
    seed: int = Field(default=0, description="of the global shuffle")
    dedup: bool = Field(default=True, description="of copies of one audio file, keep the first in corpus order")
