"""Cutting up recordings, measured: by a probe, or by what an output says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from manifests.recipe import Recipe
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.forecast import driver
from pipelines.forecast.amount import Cutting
from pipelines.forecast.basis import Dealt
from pipelines.forecast.left import Left
from pipelines.forecast.measured import Linear, Measurement, pieces_of
from pipelines.forecast.probe import Probe
from pipelines.forecast.units import cpus_of, made_in, of_units
from pipelines.stages.s20_ingest import Cuts
from pipelines.stages.s25_segment import STAGE
from pipelines.stages.segments import RECORDINGS, dealing, packed

SOME = 20  # units whose segments are folded once more


def of_probe(probe: Probe) -> Measurement:
    """Units of recordings are cut up, and what they give is planned, so that the stages after have something to do.

    Where all of them are cut up already, their receipts say how long it took.
    """
    recordings = probe.basis.recordings
    assert recordings is not None, "only asked of recipes that cut up"
    if probe.basis.plan is not None:
        return of_output(recordings, probe.real.space.store, probe.recipe, driver.START, probe.store.sub("cut"))
    some = recordings.units[: probe.sampling.most(len(recordings.units), probe.engine.local(STAGE))]
    probe.bring(some, recordings.store, f"{recordings.folder}/{RECORDINGS}")
    probe.run.manifests.cut_up(probe.root, recordings.folder, some)
    probe.folders[STAGE] = recordings.folder
    done = probe.engine.timings[STAGE].units
    cuts = probe.run.manifests.folded(probe.basis.ingested, recordings.folder, done)
    probe.planned(cuts, *probe.run.dealt(cuts, {}))
    folding = Folding.of(probe.store.sub(recordings.folder), done)
    probe.cutting = folding.cutting
    found = of_units(probe, STAGE)
    return _with(found, folding, _dealing(recordings, probe.recipe, probe.store.sub("cut")))


def of_output(recordings: Dealt, out: Store, recipe: Recipe, start: float, scratch: Store) -> Measurement:
    """By the receipts of an output; none of them: a measurement without pieces."""
    store, units = out.sub(recordings.folder), recordings.units
    pieces = pieces_of(made_in(store, len(units)), units, cpus_of(recipe.run, STAGE))
    before = Linear(unit=driver.looking(store))
    found = Measurement(STAGE, "receipts", tuple(pieces.values()), before=before, start=start)
    if not pieces:
        return found
    done = [units[unit] for unit in sorted(pieces)]
    return _with(found, Folding.of(store, done[:SOME]), _dealing(recordings, recipe, scratch))


@dataclass(frozen=True)
class Folding:
    """Putting the segments of some units together: recordings and seconds of them, what came of them, bytes, and how long it took."""

    recordings: int
    heard: float
    made: Cuts
    bytes: int
    seconds: float

    @classmethod
    def of(cls, store: Store, units: Sequence[Unit]) -> Folding:
        (made, data), took = driver.timed(lambda: packed(store, tuple(units), ""))
        return cls(sum(u.count for u in units), sum(u.seconds for u in units), made, len(data), took)

    @property
    def cutting(self) -> Cutting:
        return Cutting(self.made.seconds / self.heard, self.made.utterances / self.heard)


def _with(found: Measurement, folding: Folding, dealt: Measurement) -> Measurement:
    """With what the driver does before and after: dealing recordings, folding their segments."""
    fold = Linear(utterance=folding.seconds / folding.recordings)
    manifest = Linear(utterance=folding.bytes / folding.recordings)
    return replace(
        found,
        before=found.before + dealt.before + fold,
        kept=dealt.kept + manifest,
        left=Left(folding.cutting.kept),
        listed=True,
    )


def _dealing(recordings: Dealt, recipe: Recipe, scratch: Store) -> Measurement:
    assert recipe.segment is not None, "only asked of recipes that cut up"
    lines = driver.lines_of(recordings.store, recordings.units)
    return driver.plan(dealing(recipe.segment, recipe.plan), lines, scratch)
