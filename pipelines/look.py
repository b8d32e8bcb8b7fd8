"""A look at an output root in whatever state it is: which folders it has, what their receipts add up to, what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from manifests.dataset import DatasetError, read_members
from manifests.receipt_index import Brief, briefs
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.made import Made
from pipelines.stages.order import ORDER
from pipelines.stages.s20_ingest import read_cuts
from pipelines.stages.s30_plan import read_plan

CUTS = "cuts"


@dataclass
class Look:
    """One look at an output root: its folders by stage, and what could not be read."""

    out: Store
    faults: list[str]

    def folders(self) -> dict[str, str]:
        """The folder of each stage: what ``dataset.json`` names, else the one whose receipts are the newest."""
        named: dict[str, str] = {}
        try:
            named = dict(read_members(self.out, "folders")["folders"])
        except (DatasetError, KeyError, TypeError, ValueError) as error:
            if self.out.exists("dataset.json"):
                self.faults.append(f"dataset.json: {error}")
        names = self.out.list()
        candidates = {
            s: [n for n in names if n.startswith(f"{s}-")] for s in (stage.name for stage in ORDER) if s not in named
        }
        newest = {
            s: found[0] if len(found) == 1 else max(found, key=self._newest) for s, found in candidates.items() if found
        }
        return {**newest, **named}

    def _newest(self, folder: str) -> float:
        return max((brief.started for brief in self.briefs(folder)), default=0.0)

    def plan(self, folder: str | None) -> tuple[Unit, ...] | None:
        if folder is None:
            return None
        try:
            return read_plan(self.out.sub(folder))
        except (ValueError, TypeError, KeyError) as error:
            self.faults.append(f"{folder}/plan.json: {error}")
            return None

    def briefs(self, folder: str) -> Iterator[Brief]:
        """Every readable receipt of a stage's folder, in short."""
        return briefs(self.out.sub(folder), on_fault=self.fault)

    def fault(self, error: Exception) -> None:
        if (said := str(error).removeprefix(f"{self.out.root.rstrip('/')}/")) not in self.faults:
            self.faults.append(said)

    def units_made(self, folder: str | None, units: tuple[Unit, ...]) -> Made:
        """What the receipts of the plan's units in a stage's folder add up to."""
        return Made.of(self.units_of(folder, len(units)), units)

    def units_of(self, folder: str | None, count: int) -> Iterator[Brief]:
        """The receipts of the first ``count`` units in a stage's folder, in short."""
        return (b for b in self.briefs(folder) if b.unit < count) if folder is not None else iter(())

    def wants(self, stage: str, block: str, folders: Mapping[str, str], before: bool) -> bool:
        """Whether a stage is part of it: by what is there, else by a block of the run's recipe; ``before`` any run."""
        if stage in folders or not self.out.exists("run.json"):
            return stage in folders or before
        try:
            return orjson.loads(self.out.read("run.json"))["recipe"].get(block) is not None
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.faults.append(f"run.json: {error}")
            return False

    def has_cuts(self) -> bool:
        try:
            return read_cuts(self.out.sub(CUTS)) is not None
        except (ValueError, TypeError) as error:
            self.faults.append(f"{CUTS}/cuts.json: {error}")
            return False
