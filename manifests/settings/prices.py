"""The ``run.prices`` block of a recipe: what machines and storage cost. Read by ``speechmill plan`` alone; it decides no byte."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from manifests.settings.base import Settings

Price = Annotated[FiniteFloat, Field(ge=0)]


class PriceSettings(Settings):
    """Prices in one currency. A node that ``nodes`` names is paid whole while it is up; on all others, what workers hold is paid by the hour."""

    currency: str = Field(default="USD", min_length=1, max_length=12)
    cpu_hour: Price | None = Field(default=None, description="of one CPU that a worker holds")
    gpu_hour: Price | None = Field(default=None, description="of one GPU that a worker holds")
    gb_month: Price | None = Field(default=None, description="of 1,000,000,000 bytes kept for a month")
    nodes: dict[str, Price] = Field(
        default={}, description="of an hour of one node, by the name of its type in the cluster's description"
    )
