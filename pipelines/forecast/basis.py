"""What is known of the work before anything is measured: what the corpus lists, and the plan, where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from manifests.storage import Store
from pipelines.data import DataRun
from pipelines.engine.contract import Unit
from pipelines.forecast.amount import Amount, Cutting
from pipelines.manifesting import Manifests
from pipelines.stages.s20_ingest import Cuts, read_cuts
from pipelines.stages.segments import recordings_of


@dataclass(frozen=True)
class Dealt:
    """A plan: its folder in an output root, where the files of its units lie, and these."""

    folder: str
    store: Store
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class Basis:
    """What there is to do.

    recordings   what is cut up first; None where the utterances are those that the corpus lists
    plan         of the utterances, with their manifests; None where recordings are not cut up yet
    """

    ingested: Cuts
    recordings: Dealt | None
    plan: tuple[Manifests, Dealt] | None

    @classmethod
    def of(cls, run: DataRun, root: str) -> Basis:
        """List the corpus at ``root`` and deal it, but cut up nothing: long recordings are heard for that."""
        cuts, out = run.manifests.ingested(root), run.space.store
        if run.recipe.segment is None:
            manifests = Manifests(cuts, cuts, run.space.cuts)
            return cls(cuts, None, _planned(run, manifests))
        folder, units = run.manifests.recordings(cuts)
        recordings = Dealt(folder, recordings_of(out.sub(folder)), units)
        if read_cuts(out.sub(folder)) is None:
            return cls(cuts, recordings, None)
        return cls(cuts, recordings, _planned(run, run.manifests.folded(cuts, folder, units)))

    @property
    def done(self) -> tuple[str, ...]:
        """The stages that are done in an output where all this was listed and dealt."""
        return ("ingest", "segments", "plan") if self.plan is not None else ("ingest",)

    @property
    def listed(self) -> Dealt:
        """The plan of what the corpus lists."""
        found = self.recordings or (self.plan[1] if self.plan else None)
        assert found is not None, "what is not cut up is planned"
        return found

    def amount(self, cutting: Cutting | None, unit_seconds: float) -> Amount:
        """How much there is; ``cutting`` says what becomes of recordings that are not cut up yet."""
        recordings = None if self.recordings is None else Amount.of_units(self.recordings.units)
        if self.plan is not None:
            return Amount.of_units(self.plan[1].units, recordings)
        assert recordings is not None, "what is not cut up is planned"
        assert cutting is not None, "it was measured"
        return recordings.cut_up(cutting, unit_seconds)


def _planned(run: DataRun, manifests: Manifests) -> tuple[Manifests, Dealt]:
    folder, units = run.dealt(manifests, {})
    return manifests, Dealt(folder, run.space.store.sub(folder), units)
