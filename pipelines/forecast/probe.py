"""The probe: a run like any other over the head of the plan, in a folder of its own that is gone afterwards.

The head of the plan is a random sample of the corpus. The stages are those of ``speechmill data``, called in the same way; only the engine is
another (``timing.py``), which does some units of each stage and times them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from manifests.receipt import read_receipt, write_receipt
from manifests.receipt_index import Brief
from manifests.recipe import Recipe
from manifests.settings.codecs import CodecSettings
from manifests.settings.run import RunSettings
from manifests.settings.speech import PatchesSettings
from manifests.storage import Store
from pipelines.data import DataRun
from pipelines.engine.contract import Unit
from pipelines.engine.mapping import Mapper
from pipelines.engine.progress import Events
from pipelines.folders import fit_folder
from pipelines.forecast.amount import Cutting
from pipelines.forecast.basis import Basis
from pipelines.forecast.measured import Piece
from pipelines.forecast.timing import Sampling, TimingEngine
from pipelines.manifesting import Manifests
from pipelines.stages.s30_plan import unit_name
from pipelines.stages.s50_fit import SPARE

FIT_MOST = 3_600  # seconds of speech that a codebook is fitted on here; the time grows with them


@dataclass
class Probe:
    """What stages are measured with, and what they have left for those after them.

    real            the run that lists and deals; ``run``: the one that is timed
    settings        of the run that is foretold
    plan, source    the plan that stages go by: its folder's name, and where the files of its units lie
    units           of it, those that every stage so far has done
    cutting         what recordings become, where that is measured
    folders         made by the probe, by stage, as ``dataset.json`` names them
    done            units that have tokens
    """

    real: DataRun
    run: DataRun
    settings: RunSettings
    engine: TimingEngine
    root: str
    basis: Basis
    sampling: Sampling
    cuts: Manifests | None = None
    plan: str = ""
    source: Store = field(default_factory=lambda: Store("."))
    units: tuple[Unit, ...] = ()
    cutting: Cutting | None = None
    folders: dict[str, str] = field(default_factory=dict)
    done: tuple[Unit, ...] = ()
    description: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def over(
        cls, real: DataRun, settings: RunSettings, store: Store, root: str, basis: Basis, sampling: Sampling, gpus: int, stages: int
    ) -> Probe:  # fmt: skip
        """A probe that keeps what it makes in ``store``, with workers as ``settings`` have them."""
        old, seconds = real.engine, sampling.seconds(stages)
        engine = TimingEngine(
            settings, old.console, Events(None), old.stopping, lambda: None, gpus=gpus, seconds=seconds
        )
        space = replace(real.space, root=store.root, recipe=_here(real.recipe, gpus))
        inline = Mapper(partial(int, 0), lambda: None, old.stopping)
        probe = cls(real, DataRun(space, engine, inline), settings, engine, root, basis, sampling)
        if basis.plan is not None:
            cuts, dealt = basis.plan
            probe.planned(cuts, dealt.folder, dealt.units)
            probe.source = dealt.store
        return probe

    @property
    def recipe(self) -> Recipe:
        return self.run.recipe

    @property
    def store(self) -> Store:
        return self.run.space.store

    def planned(self, cuts: Manifests, plan: str, units: tuple[Unit, ...]) -> None:
        """Stages go by this plan, whose files lie in the probe's own folder."""
        self.cuts = cuts
        self.folders["plan"] = plan
        self.goes_by(plan, units)

    def goes_by(self, plan: str, units: tuple[Unit, ...]) -> None:
        """Later stages go by these units of a plan that lies in the probe's own folder."""
        self.plan, self.source, self.units = plan, self.store.sub(plan), units

    def sample(self, stage: str) -> tuple[Unit, ...]:
        """Units of a stage that may be looked at."""
        return self.units[: self.sampling.most(len(self.units), self.engine.local(stage))]

    def bring(self, units: tuple[Unit, ...], source: Store | None = None, folder: str | None = None) -> None:
        """Copy the plan's files of these units (or those in ``source``) to where the probe's jobs look for them."""
        there, here = source or self.source, self.store.sub(folder or self.plan)
        for unit in units if there.root != here.root else ():
            if not here.exists(unit_name(unit.index)):
                here.publish(unit_name(unit.index), there.read(unit_name(unit.index)))

    def fitted_before(self) -> float | None:
        """Seconds that fitting took in the output itself, whose files are brought here; None where it is not fitted yet."""
        space = self.real.space
        there, here = (
            space.store.sub(fit_folder(space, self.plan)),
            self.store.sub(fit_folder(self.run.space, self.plan)),
        )
        receipt = read_receipt(there, 0)
        if receipt is None:
            return None
        for file in receipt.files:
            here.publish(file.name, there.read(file.name))
        write_receipt(here, receipt)
        return Piece.of(Brief.of(0, receipt), 0.0, 1.0).seconds

    def fit_sample(self) -> float:
        """Seconds of audio that a run's fit listens to at the most; 0 where nothing is fitted on sound."""
        speech = self.real.recipe.speech
        return speech.fit_seconds * SPARE if isinstance(speech, PatchesSettings) else 0.0

    def taught_by(self, bootstrap: str) -> None:
        """From here on a teacher is trained by this recipe."""
        teach = self.recipe.teach
        assert teach is not None, "only asked of recipes with one"
        recipe = self.recipe.model_copy(update={"teach": teach.model_copy(update={"bootstrap": bootstrap})})
        self.run = replace(self.run, space=replace(self.run.space, recipe=recipe))


def _here(recipe: Recipe, gpus: int) -> Recipe:
    """As the recipe has it, but for where workers stand: here they hear for themselves. A codebook is fitted on no more than :data:`FIT_MOST`,
    unless a teacher is named, who knows one codebook only; a codec that wants a GPU makes do without where there is none, to make what others read.
    """
    run = recipe.run.model_copy(update={"stages": {}, "address": None})
    speech, named = recipe.speech, recipe.teach is not None and recipe.teach.teacher is not None
    if isinstance(speech, PatchesSettings) and not named:
        speech = speech.model_copy(update={"fit_seconds": min(speech.fit_seconds, FIT_MOST)})
    if isinstance(speech, CodecSettings) and not gpus:
        speech = speech.model_copy(update={"device": "cpu"})
    return recipe.model_copy(update={"run": run, "speech": speech})
