"""The ``run`` block of a recipe: how it is executed. Nothing here changes a byte of the dataset."""

from __future__ import annotations

from pydantic import Field

from manifests.settings.base import Settings


class RunSettings(Settings):
    """Workers, retries and deadlines; never part of a fingerprint."""

    workers: int | None = Field(None, ge=0, description="parallel workers; 0: in this process without Ray; empty: one per core")
    address: str | None = Field(None, description="Ray cluster to join (auto, HOST:PORT, ray://...); empty: start one here")
    cpus_per_worker: float = Field(1.0, gt=0)
    gpus_per_worker: float = Field(0.0, ge=0)
    memory_gb_per_worker: float | None = Field(None, gt=0, description="memory that Ray reserves for a worker")
    attempts: int = Field(2, ge=1, le=10, description="times a unit may kill its worker before it is searched for the culprit")
    error_retries: int = Field(3, ge=0, le=20, description="times a unit is tried again after an error such as failing storage")
    stall_seconds: float = Field(120.0, gt=0, description="a worker that finishes no utterance for so long is stopped")
    drain_seconds: float = Field(30.0, ge=0, description="after the first Ctrl-C, time for running units to finish")


class ReportSettings(Settings):
    """What the report shows."""

    examples: int = Field(6, ge=0, le=50, description="utterances to hear and see")
    recognise: int = Field(0, ge=0, description="utterances the recogniser hears, original and resynthesised (demo grammar)")
