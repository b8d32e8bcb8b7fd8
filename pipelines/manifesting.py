"""From a corpus to the manifest that is planned: it is ingested, and cut up where the recipe asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manifests.settings.segment import SegmentSettings
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.engine.mapping import Mapper
from pipelines.engine.progress import timed
from pipelines.engine.run import Engine
from pipelines.folders import segments_folder
from pipelines.stages import s20_ingest, s25_segment, segments
from pipelines.workspace import Workspace
from tokenization.voice_activity.registry import open_detector


@dataclass(frozen=True)
class Manifests:
    """The corpus as it was ingested, and as it is planned: the same, where nothing is cut up.

    planned    what is known of the manifest that the plan is made of
    store      where that lies
    segments   what ``dataset.json`` says of its segments, where it is made of any
    """

    ingested: s20_ingest.Cuts
    planned: s20_ingest.Cuts
    store: Store
    segments: dict[str, Any] | None = None


@dataclass(frozen=True)
class Manifesting:
    """The steps to the manifest of one output root, in their order; called, all of them."""

    space: Workspace
    engine: Engine
    mapper: Mapper

    def __call__(self, root: str, did: dict[str, int]) -> Manifests:
        """The manifests of the corpus that lies at ``root``."""
        return self.cut(self.ingested(root), root, did)

    def cut(self, cuts: s20_ingest.Cuts, root: str, did: dict[str, int]) -> Manifests:
        """The manifests of the corpus that was listed, cut up where the recipe asks for it."""
        if self.space.recipe.segment is None:
            return Manifests(cuts, cuts, self.space.cuts)
        folder, units = self.recordings(cuts)
        did["segments"] = self.cut_up(root, folder, units)
        return self.folded(cuts, folder, units)

    def ingested(self, root: str) -> s20_ingest.Cuts:
        """The corpus as it is listed."""
        recipe, events = self.space.recipe, self.engine.events
        with timed(events, "ingest"):
            return s20_ingest.ingest(recipe.corpus, root, self.space.cuts, self.mapper, events, recipe.run.relist)

    @property
    def settings(self) -> SegmentSettings:
        assert self.space.recipe.segment is not None, "nothing is cut up without its block"
        return self.space.recipe.segment

    def recordings(self, cuts: s20_ingest.Cuts) -> tuple[str, tuple[Unit, ...]]:
        """What is to be cut up: (the folder of the segments, units of recordings)."""
        folder = segments_folder(self.space, cuts.sha256)
        with timed(self.engine.events, s25_segment.STAGE):
            store = self.space.store.sub(folder)
            return folder, segments.deal(self.space.cuts, self.settings, self.space.recipe.plan, store)

    def cut_up(self, root: str, folder: str, units: tuple[Unit, ...]) -> int:
        """Cut up units of recordings; how many were done now."""
        recipe, settings, store = self.space.recipe, self.settings, self.space.store.sub(folder)
        version = open_detector(settings.detector).version
        job = s25_segment.SegmentJob(store.root, root, self.space.placed.corpus, settings, recipe.clean, units, version)
        return self.engine.run(job)

    def folded(self, cuts: s20_ingest.Cuts, folder: str, units: tuple[Unit, ...]) -> Manifests:
        """The manifest of all segments of units that are cut up."""
        settings, store = self.settings, self.space.store.sub(folder)
        with timed(self.engine.events, s25_segment.STAGE):
            made = segments.fold(store, units, cuts.sha256)
            about = segments.describe(folder, made, settings, segments.segment_receipts(store, units))
        return Manifests(cuts, made, store, about)
