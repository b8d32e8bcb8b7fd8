"""A look at an output root in whatever state it is: which folders it has, what their receipts add up to, what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from manifests.dataset import NAME, DatasetError, read_members
from manifests.receipt_index import Brief, briefs
from manifests.recipe import parse
from manifests.run_file import RUN
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.made import Made
from pipelines.output_lock import NAME as LOCK
from pipelines.stages.order import ORDER
from pipelines.stages.s20_ingest import read_cuts
from pipelines.stages.s30_plan import read_plan

CUTS = "cuts"
BEGUN = frozenset([NAME, RUN, CUTS, LOCK, "events.jsonl", "forecast.json"])  # any of them is there from the beginning
STAGES = ("screen-", "spoken-", *(f"{stage.name}-" for stage in ORDER))


def require_output(root: str) -> None:
    """Raises ``DatasetError`` where there is no output of ours, not even one that was only just begun."""
    names = Store(root).list()
    if any(name in BEGUN or name.startswith(STAGES) for name in names):
        return
    what = "nothing there was made by `speechmill data` or `plan`" if names else "nothing is there"
    raise DatasetError(f"{root}: {what}; is it the right path?")


@dataclass
class Look:
    """One look at an output root: its folders by stage, and what could not be read."""

    out: Store
    faults: list[str]

    @cached_property
    def described(self) -> Mapping[str, Any]:
        """Folders and recipe as ``dataset.json`` tells of them; nothing where there is none that is whole."""
        try:
            found = read_members(self.out, "folders", "recipe")
            return {"recipe": found["recipe"], "folders": dict(found["folders"])}
        except (DatasetError, KeyError, TypeError, ValueError) as error:
            if self.out.exists(NAME):
                self.faults.append(f"{NAME}: {error}")
            return {}

    def folders(self) -> dict[str, str]:
        """The folder of each stage: what ``dataset.json`` names, else the one whose receipts are the newest."""
        named: dict[str, str] = self.described.get("folders", {})
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
        if stage in folders or not self.out.exists(RUN):
            return stage in folders or before
        try:
            return orjson.loads(self.out.read(RUN))["recipe"].get(block) is not None
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.faults.append(f"{RUN}: {error}")
            return False

    def apart(self) -> str | None:
        """How the run that was begun last differs from the one that ended in ``dataset.json``; None where it does not, or that is not known."""
        if not self.described:
            return None
        try:
            begun = parse(orjson.loads(self.out.read(RUN))["recipe"], RUN).deciding()
            ended = parse(self.described["recipe"], NAME).deciding()
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.faults.append(f"{RUN}: {' '.join(str(error).split())}")
            return None
        blocks = [block for block in sorted(begun.keys() | ended.keys()) if begun.get(block) != ended.get(block)]
        if not blocks:
            return None
        return f"a run by another recipe was begun since {NAME} was written, and is not finished: other {', '.join(blocks)}; below is what that tells of"

    def has_cuts(self) -> bool:
        try:
            return read_cuts(self.out.sub(CUTS)) is not None
        except (ValueError, TypeError) as error:
            self.faults.append(f"{CUTS}/cuts.json: {error}")
            return False
