"""A finished or half finished output instead of a probe: its receipts say how long each unit took, and what it weighs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from typing import Any

import orjson

from manifests.receipt import receipts
from manifests.recipe import Recipe
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.engine.progress import noted
from pipelines.forecast.amount import Amount, Cutting
from pipelines.forecast.basis import Dealt
from pipelines.forecast.compared import EVENTS
from pipelines.forecast.cutting import of_output
from pipelines.forecast.driver import START, looking, timed
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.left import LOOK, left_of_tokens
from pipelines.forecast.measured import Linear, Measurement, Piece, pieces_of
from pipelines.forecast.optional import SOME, with_marking
from pipelines.forecast.probe import Probe
from pipelines.forecast.stages import Stage
from pipelines.forecast.units import cpus_of
from pipelines.look import Look
from pipelines.stages.order import SHARDS
from pipelines.stages.s35_copies import prints_name
from pipelines.stages.segments import RECORDINGS, recordings_of

BLOCKS = (  # that decide how long units take
    "plan", "segment", "clean", "copies", "scores", "filters", "speech", "text", "transcribe", "verify_text", "features", "states", "mask", "teach",
)  # fmt: skip


@dataclass
class Found:
    """An output root that is read."""

    root: str
    look: Look
    folders: Mapping[str, str]
    units: tuple[Unit, ...]
    recordings: Dealt | None = None
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
        events = tuple(noted(Store(root).local("events.jsonl"), EVENTS))
        return cls(root, look, folders, units, _recordings(look, folders.get("segments")), events)

    @property
    def plan(self) -> Store:
        """Where the files of its units lie."""
        return self.look.out.sub(self.folders["plan"])

    def cutting(self) -> Cutting:
        """What its recordings became. Raises :class:`ForecastError` where it has none."""
        if self.recordings is None:
            raise ForecastError(
                f"--from {self.root}: no receipts of segments there, which the recipe asks for, so nobody knows what recordings become; "
                "leave --from out, or name an output whose recipe cuts up"
            )
        return Cutting.between(Amount.of_units(self.units, Amount.of_units(self.recordings.units)))

    def segments(self, probe: Probe) -> Measurement:
        """Its recordings, cut up. Raises :class:`ForecastError` where none are."""
        if self.recordings is None:
            raise self._none("segments")
        store = probe.store.sub("cut")
        return of_output(self.recordings, self.look.out, probe.recipe, self.start("segments"), store)

    def copies(self, probe: Probe) -> Measurement:
        """Its fingerprints, marked once more. Raises :class:`ForecastError` where it has none."""
        found, settings = self.of_units("copies", 1, probe), probe.recipe.copies
        assert settings is not None, "only asked of recipes with it"
        prints = self.look.out.sub(self.folders["copies"])
        done = list(takewhile(lambda u: prints.exists(prints_name(u.index)), self.units[:SOME]))
        return with_marking(found, self.plan, prints, done, settings) if done else found

    def tokens(self, probe: Probe) -> Measurement:
        found, lengths = self.of_units("tokens", 1, probe), {unit.index: unit.seconds for unit in self.units}
        made = receipts(self.look.out.sub(self.folders["tokens"]), len(self.units))
        return replace(found, left=left_of_tokens(islice(made, LOOK), lengths))

    def _none(self, stage: str) -> ForecastError:
        return ForecastError(
            f"--from {self.root}: no receipts of {stage} there, which the recipe asks for; let it run for a while, leave "
            f"--from out, or give --rate {stage}=HOURS (of audio, for each hour of one worker)"
        )

    def of_units(self, stage: str, looks: int, probe: Probe) -> Measurement:
        """A stage of units. Raises :class:`ForecastError` where it has no receipts."""
        made = self.look.units_of(self.folders.get(stage), len(self.units))
        pieces = pieces_of(made, self.units, cpus_of(probe.settings, stage))
        if not pieces:
            raise self._none(stage)
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
        alone = Linear(fixed=Piece.of(made[0], 0.0, 1.0).seconds)
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
        stages = [stage for stage in SHARDS if stage in self.folders]
        _, took = timed(lambda: [self.look.units_made(self.folders[stage], self.units) for stage in stages])
        return Measurement("dataset", "receipts", before=Linear(unit=took / len(self.units)))

    def measured(self, stage: Stage, probe: Probe) -> Measurement | None:
        """What is found of a stage; None where nothing here can tell, and it is measured afresh."""
        ways: Mapping[str, Callable[[], Measurement]] = {
            "segments": lambda: self.segments(probe),
            "copies": lambda: self.copies(probe),
            "tokens": lambda: self.tokens(probe),
            "fit": self.fit,
            "teacher": self.teacher,
            "dataset": self.dataset,
        }
        if stage.name in ways:
            return ways[stage.name]()
        return self.of_units(stage.name, stage.looks, probe) if stage.units else None

    def differences(self, recipe: Recipe) -> list[str]:
        """Blocks in which the recipe of the run there differs from this one."""
        try:
            theirs = orjson.loads(self.look.out.read("run.json"))["recipe"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []
        ours = recipe.model_dump(mode="json")
        return [block for block in BLOCKS if not _alike(theirs.get(block), ours[block])]


def _alike(theirs: Any, ours: Any) -> bool:
    """Whether two blocks ask for the same: where weights lie says nothing, and a run notes their checksum where a recipe leaves it open."""
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        return bool(theirs == ours)
    if None not in (theirs.get("checksum"), ours.get("checksum")) and theirs.get("checksum") != ours.get("checksum"):
        return False
    names = (theirs.keys() | ours.keys()) - {"weights", "revision", "checksum"}
    return all(name in theirs and name in ours and _alike(theirs[name], ours[name]) for name in names)


def _recordings(look: Look, folder: str | None) -> Dealt | None:
    """The plan of what was cut up; None where nothing was."""
    store = None if folder is None else recordings_of(look.out.sub(folder))
    units = None if folder is None else look.plan(f"{folder}/{RECORDINGS}")
    return Dealt(folder, store, units) if folder is not None and store is not None and units else None
