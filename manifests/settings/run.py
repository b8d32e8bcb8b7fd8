"""The ``run`` block of a recipe: how it is executed. Nothing here changes a byte of the dataset."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from manifests.settings.base import Settings
from manifests.settings.prices import PriceSettings

# ``clean`` is part of ``tokens`` unless it is given workers of its own: so many for each worker of ``tokens``.
StageName = Literal[
    "screen",
    "speak",
    "ingest",
    "segments",
    "copies",
    "transcripts",
    "fit",
    "clean",
    "tokens",
    "features",
    "states",
    "masks",
    "teach",
]


class StageSettings(Settings):
    """What the workers of one stage are given, where it is not what ``run`` gives to all."""

    workers: int | None = Field(default=None, ge=1, description="parallel workers of this stage")
    cpus: float | None = Field(default=None, ge=0)
    gpus: float | None = Field(default=None, ge=0)
    memory_gb: float | None = Field(default=None, gt=0, description="memory that Ray reserves for a worker")
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="other resources that a node must carry, as named by `ray start --resources`"
    )


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
    stages: dict[StageName, StageSettings] = Field(
        default={}, description="by stage, where its workers need other things: {tokens: {gpus: 1}, ...}"
    )
    relist: bool = Field(
        default=True,
        description="list the corpus again and compare sizes and times with the manifest that stands; false: go by the manifest "
        "(for corpora of millions of files that do not change)",
    )
    ship: bool = Field(
        default=False, description="send this code along to the nodes, which then need only what it depends on"
    )
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
    prices: PriceSettings | None = Field(default=None, description="what `plan --hours` reckons with; null: no money")

    @property
    def listeners(self) -> int:
        """Workers that hear for each worker of tokens; 0 where a worker hears for itself."""
        clean = self.stages.get("clean")
        return 0 if clean is None else clean.workers or 1

    def of(self, stage: str) -> StageSettings:
        """What a worker of ``stage`` is given: its own settings, the run's where it has none."""
        own = self.stages.get(stage) or StageSettings()  # pyright: ignore[reportArgumentType, reportCallIssue]
        given = {"workers": self.workers, "cpus": self.cpus_per_worker, "gpus": self.gpus_per_worker,
                 "memory_gb": self.memory_gb_per_worker}  # fmt: skip
        return own.model_copy(update={name: value for name, value in given.items() if getattr(own, name) is None})


class ReportSettings(Settings):
    """What the report shows."""

    examples: int = Field(default=6, ge=0, le=50, description="utterances to hear and see")
    recognise: int = Field(
        default=0, ge=0, description="utterances the recogniser hears, original and resynthesised (demo grammar)"
    )
