"""The ``plan`` block of a recipe: how utterances are dealt into units."""

from __future__ import annotations

from typing import Any

from pydantic import Field, FiniteFloat

from manifests.settings.base import Settings


class PlanSettings(Settings):
    """One unit is one task and makes one shard in every stage."""

    unit_seconds: float = Field(default=1800.0, gt=0, description="seconds of audio a unit should hold")
    batch_seconds: float = Field(default=120.0, gt=0, description="seconds of audio encoded in one batch inside a unit")
    seed: int = Field(default=0, description="of the global shuffle")
    dedup: bool = Field(default=True, description="of copies of one audio file, keep the first in corpus order")
    near_text: FiniteFloat | None = Field(
        default=None,
        ge=0.5,
        le=1,
        description="of utterances whose texts are so alike (1: but for case and punctuation), keep the first in plan order; null: all",
    )

    def deciding(self) -> dict[str, Any]:
        """What decides the plan, as JSON; what was not asked for is left out, so that its plan keeps its name."""
        return self.model_dump(mode="json", exclude={"near_text"} if self.near_text is None else None)
