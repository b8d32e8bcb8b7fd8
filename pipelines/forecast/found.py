"""A finished or half finished output instead of a probe: its receipts say how long each unit took, and what it weighs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from manifests.recipe import Recipe
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.engine.progress import noted
from pipelines.forecast.compared import EVENTS
from pipelines.forecast.driver import START, looking, timed
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.measured import Linear, Measurement, pieces_of
from pipelines.forecast.stages import LOOKS, STAGES, Stage
from pipelines.status import Look

BLOCKS = ("plan", "clean", "scores", "filters", "speech", "text", "mask", "teach")  # that decide how long units take


@dataclass
class Found:
    """An output root that is read."""

    root: str
    look: Look
    folders: Mapping[str, str]
    units: tuple[Unit, ...]
    events: tuple[Mapping[str, Any], ...] = field(default=())

    @classmethod
    def at(cls, root: str) -> Found:
        """Raises :class:`ForecastError` where nothing is planned there."""
        look = Look(Store(root), [])
        folders = look.folders()
        units = look.plan(folders.get("plan"))
        if not units:
            raise ForecastError(
                f"--from {root}: no run of `speechmill data` has left a plan there; name its output root"
            )
        return cls(root, look, folders, units, tuple(noted(Store(root).local("events.jsonl"), EVENTS)))

    def of_units(self, stage: str, looks: int) -> Measurement:
        """A stage of units. Raises :class:`ForecastError` where it has no receipts."""
        pieces = pieces_of(self.look.units_of(self.folders.get(stage), len(self.units)), self.units)
        if not pieces:
            raise ForecastError(
                f"--from {self.root}: no receipts of {stage} there, which the recipe asks for; let it run for a while, leave "
                f"--from out, or give --rate {stage}=HOURS (of audio, for each hour of one worker)"
            )
        store = self.look.out.sub(self.folders[stage])
        return Measurement(
            stage,
            "receipts",
            tuple(pieces.values()),
            before=Linear(unit=looks * looking(store)),
            start=self.start(stage),
        )

    def start(self, stage: str) -> float:
        """Seconds from a stage's begin to that of its first unit, where both are noted."""
        begun = [float(e["time"]) for e in self.events if (e.get("event"), e.get("stage")) == ("stage_started", stage)]
        if not begun or stage not in self.folders:
            return START
        started = [brief.started for brief in self.look.briefs(self.folders[stage])]
        after = [time - begun[0] for time in started if time >= begun[0]]
        return min(after, default=START)

    def fit(self) -> Measurement:
        made = list(self.look.units_of(self.folders.get("fit"), 1))
        if not made:
            raise ForecastError(
                f"--from {self.root}: nothing is fitted there yet; let the run go on, or leave --from out"
            )
        kept = Linear(fixed=made[0].bytes)
        alone = Linear(fixed=made[0].took)
        return Measurement("fit", "receipts", alone=alone, start=self.start("fit"), kept=kept)

    def teacher(self) -> Measurement:
        took = [
            float(e["took_seconds"])
            for e in self.events
            if (e.get("event"), e.get("stage")) == ("stage_ended", "teacher")
        ]
        if not took:
            raise ForecastError(f"--from {self.root}: no word of how long the teacher was trained; leave --from out")
        return Measurement("teacher", "receipts", alone=Linear(fixed=max(took)))

    def dataset(self) -> Measurement:
        stages = [stage.name for stage in STAGES if stage.units and stage.name in self.folders]
        _, took = timed(lambda: [self.look.units_made(self.folders[stage], self.units) for stage in stages])
        return Measurement("dataset", "receipts", before=Linear(unit=took / len(self.units)))

    def measured(self, stage: Stage) -> Measurement | None:
        """What is found of a stage; None where nothing here can tell, and it is measured afresh."""
        singles: Mapping[str, Callable[[], Measurement]] = {
            "fit": self.fit,
            "teacher": self.teacher,
            "dataset": self.dataset,
        }
        if stage.units:
            return self.of_units(stage.name, LOOKS if stage.reads_units else 1)
        return singles[stage.name]() if stage.name in singles else None

    def differences(self, recipe: Recipe) -> list[str]:
        """Blocks in which the recipe of the run there differs from this one."""
        try:
            theirs = orjson.loads(self.look.out.read("run.json"))["recipe"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []
        ours = recipe.model_dump(mode="json")
        return [block for block in BLOCKS if theirs.get(block) != ours[block]]
