"""The ``run`` block of a recipe: how it is executed. Nothing here changes a byte of the dataset."""

from __future__ import annotations

from pydantic import Field

from manifests.settings.base import Settings


class RunSettings(Settings):
    """Workers, retries and deadlines; never part of a fingerprint."""

    workers: int | None = Field(
        default=None, ge=0, description="parallel workers; 0: in this process without Ray; empty: one per core"
    )
    address: str | None = Field(
        default=None, description="Ray cluster to join (auto, HOST:PORT, ray://...); empty: start one here"
    )
    cpus_per_worker: float = Field(default=1.0, gt=0)
    gpus_per_worker: float = Field(default=0.0, ge=0)
    memory_gb_per_worker: float | None = Field(default=None, gt=0, description="memory that Ray reserves for a worker")
    attempts: int = Field(
        default=2, ge=1, le=10, description="times a unit may kill its worker before it is searched for the culprit"
    )
    error_retries: int = Field(
        default=3, ge=0, le=20, description="times a unit is tried again after an error such as failing storage"
    )
    stall_seconds: float = Field(
        default=120.0, gt=0, description="a worker that finishes no utterance for so long is stopped"
    )
    slow_seconds: float = Field(
        default=60.0,
        gt=0,
        description="a unit that runs for so long, and far longer than the others, is given to an idle worker as well",
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, description="after the first Ctrl-C, time for running units to finish"
    )


class ReportSettings(Settings):
    """What the report shows."""

    examples: int = Field(default=6, ge=0, le=50, description="utterances to hear and see")
    recognise: int = Field(
        default=0, ge=0, description="utterances the recogniser hears, original and resynthesised (demo grammar)"
    )
