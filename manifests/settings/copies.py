"""The ``copies`` block of a recipe: finding recordings that are there twice, in another encoding, at another level, or cut otherwise."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from manifests.settings.base import Settings


class CopiesSettings(Settings):
    """Two sounds are one recording where their fingerprints, laid over each other, agree. Of several the first in plan order stays."""

    bit_errors: FiniteFloat = Field(
        default=0.25, gt=0, le=0.35, description="share of bits that may differ; 0.5 is what strangers have"
    )
    overlap: FiniteFloat = Field(
        default=0.6, gt=0, le=1, description="share of the shorter sound that must lie in the longer one"
    )
