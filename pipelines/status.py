"""``status``: how far an output root is, also while a run is going or after it was killed. Reads receipts, changes nothing.

Receipts of a run that is under way come and go between two looks; what cannot be read is listed, never raised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from manifests.dataset import DatasetError, read_description
from manifests.ledger import Ledger, Outcome, fold
from manifests.receipt import FOLDER, Receipt, ReceiptError
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.stages.s20_ingest import read_cuts
from pipelines.stages.s30_plan import read_plan

if TYPE_CHECKING:
    from rich.console import Console

CUTS, STAGES = "cuts", ("plan", "transcripts", "fit", "tokens", "features", "masks", "teach")


@dataclass(frozen=True)
class StageStatus:
    """How far one stage is.

    folder          its directory, or None where the run has not come so far
    units, done     units it has, and those with a receipt
    seconds         time workers spent on the finished units
    audio_seconds   audio in the finished units
    """

    stage: str
    folder: str | None
    units: int
    done: int
    seconds: float = 0.0
    audio_seconds: float = 0.0

    @property
    def rate(self) -> float | None:
        """Hours of audio for each hour of one worker; None where no audio was timed."""
        return self.audio_seconds / self.seconds if self.seconds and self.audio_seconds else None

    def to_json(self) -> dict[str, Any]:
        rate = self.rate
        return {
            "stage": self.stage, "folder": self.folder, "units": self.units, "done": self.done,
            "seconds": round(self.seconds, 3), "audio_seconds": round(self.audio_seconds, 3),
            "rate": None if rate is None else round(rate, 3),
        }  # fmt: skip


@dataclass(frozen=True)
class Status:
    """What is known of an output root.

    hours       written audio by split, in hours
    faults      files that could not be read, with why
    """

    root: str
    finished: bool
    stages: tuple[StageStatus, ...]
    ledger: Ledger | None
    hours: Mapping[str, float]
    faults: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "root": self.root, "finished": self.finished, "stages": [s.to_json() for s in self.stages],
            "ledger": self.ledger.to_json() if self.ledger else None,
            "hours": {s: round(h, 6) for s, h in sorted(self.hours.items())}, "faults": list(self.faults),
        }  # fmt: skip

    def render(self, console: Console) -> None:
        """Print it for people."""
        from rich.markup import escape
        from rich.table import Table

        console.print(f"{escape(self.root)}: {'finished' if self.finished else 'not finished'}")
        stages = Table("stage", "folder", "units", "audio h", "worker h", "h per worker h")
        for s in self.stages:
            rate = "" if s.rate is None else f"{s.rate:,.0f}"
            hours = (f"{s.audio_seconds / 3600:,.2f}", f"{s.seconds / 3600:,.2f}")
            stages.add_row(s.stage, escape(s.folder or "-"), f"{s.done} of {s.units}", *hours, rate)
        console.print(stages)
        for table in _tables(self):
            console.print(table)
        for fault in self.faults:
            console.print(f"damaged: {escape(fault)}")


def _tables(status: Status) -> Iterator[Any]:
    """The ledger, reason by reason, and hours by split."""
    from rich.markup import escape
    from rich.table import Table

    if status.ledger is not None:
        ledger = Table("utterances", "reason", "count")
        ledger.add_row("written", "", f"{status.ledger.written:,}")
        for name, reasons in (("filtered", status.ledger.filtered), ("quarantined", status.ledger.quarantined)):
            for reason, count in sorted(reasons.items()):
                ledger.add_row(name, escape(reason), f"{count:,}")
        ledger.add_row("pending", "", f"{status.ledger.pending:,}")
        ledger.add_row("planned", "", f"{status.ledger.planned:,}", style="bold")
        yield ledger
    if status.hours:
        hours = Table("split", "hours")
        for split, amount in sorted(status.hours.items()):
            hours.add_row(escape(split), f"{amount:,.3f}")
        yield hours


@dataclass
class _Look:
    """One look at an output root: its folders by stage, and what could not be read."""

    out: Store
    faults: list[str]

    def folders(self) -> dict[str, str]:
        """The folder of each stage: what ``dataset.json`` names, else the one whose receipts are the newest."""
        named: dict[str, str] = {}
        try:
            named = dict(read_description(self.out)["folders"])
        except (DatasetError, KeyError, TypeError, ValueError) as error:
            if self.out.exists("dataset.json"):
                self.faults.append(f"dataset.json: {error}")
        names = self.out.list()
        candidates = {s: [n for n in names if n.startswith(f"{s}-")] for s in STAGES if s not in named}
        return {**{stage: max(found, key=self._newest) for stage, found in candidates.items() if found}, **named}

    def _newest(self, folder: str) -> float:
        started = [float(r.made.get("started", 0.0)) for r in self.receipts(folder)]
        return max(started, default=0.0)

    def plan(self, folder: str | None) -> tuple[Unit, ...] | None:
        if folder is None:
            return None
        try:
            return read_plan(self.out.sub(folder))
        except (ValueError, TypeError, KeyError) as error:
            self.faults.append(f"{folder}/plan.json: {error}")
            return None

    def receipts(self, folder: str) -> Iterator[Receipt]:
        """Every readable receipt of a stage's folder."""
        store = self.out.sub(folder)
        for name in store.list(FOLDER):
            if not name.endswith(".json"):
                continue
            try:
                yield Receipt.from_bytes(store.read(f"{FOLDER}/{name}"), f"{folder}/{FOLDER}/{name}")
            except (ReceiptError, FileNotFoundError) as error:
                if str(error) not in self.faults:
                    self.faults.append(str(error))

    def units_made(self, folder: str | None, units: tuple[Unit, ...]) -> list[Receipt]:
        """The receipts of the plan's units in a stage's folder."""
        return [r for r in self.receipts(folder) if r.unit < len(units)] if folder is not None else []

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


def status(root: str) -> Status:
    """Look at the output root ``root`` (path or fsspec URL). A root that holds nothing has no stage done."""
    look = _Look(Store(root), [])
    folders = look.folders()
    units = look.plan(folders.get("plan"))
    made = look.units_made(folders.get("tokens"), units or ())
    ingested = look.has_cuts()
    stages = (
        StageStatus("ingest", CUTS if ingested else None, 1, int(ingested)),
        StageStatus("plan", folders.get("plan"), 1, int(units is not None)),
        *_side(look, "transcripts", "transcribe", folders, units, before=False),
        _fit(look, folders.get("fit")),
        _of_units("tokens", folders.get("tokens"), units or (), made),
        *_side(look, "features", "features", folders, units, before=False),
        *_side(look, "masks", "mask", folders, units, before=True),
        *_side(look, "teach", "teach", folders, units, before=False),
    )
    finished = not look.faults and look.out.exists("dataset.json")
    return Status(root, finished, stages, _ledger(look, units, made), _hours(made), tuple(look.faults))


def _side(
    look: _Look, stage: str, block: str, folders: Mapping[str, str], units: tuple[Unit, ...] | None, before: bool
) -> list[StageStatus]:
    """A stage that the recipe may ask for."""
    if not look.wants(stage, block, folders, before):
        return []
    folder = folders.get(stage)
    return [_of_units(stage, folder, units or (), look.units_made(folder, units or ()))]


def _ledger(look: _Look, units: tuple[Unit, ...] | None, made: list[Receipt]) -> Ledger | None:
    """What has ended so far, against the plan; None before there is a plan."""
    if units is None:
        return None
    try:
        return fold(sum(unit.count for unit in units), (o for receipt in made for o in receipt.outcomes))
    except ValueError as error:
        look.faults.append(f"ledger: {error}")
        return None


def _fit(look: _Look, folder: str | None) -> StageStatus:
    made = list(look.receipts(folder)) if folder else []
    return StageStatus("fit", folder, 1, len(made), sum(float(r.made.get("seconds", 0.0)) for r in made))


def _of_units(stage: str, folder: str | None, units: tuple[Unit, ...], made: list[Receipt]) -> StageStatus:
    took = sum(float(r.made.get("seconds", 0.0)) for r in made)
    return StageStatus(stage, folder, len(units), len(made), took, sum(units[r.unit].seconds for r in made))


def _hours(made: list[Receipt]) -> dict[str, float]:
    seconds: Counter[str] = Counter()
    for receipt in made:
        for split, amounts in receipt.facts.get("splits", {}).items():
            seconds[split] += amounts.get("seconds", 0.0)  # type: ignore[assignment]  # seconds are floats
    return {split: amount / 3600 for split, amount in seconds.items()}


def quarantine(root: str) -> Iterator[Outcome]:
    """Every utterance that was filtered or quarantined so far, unit by unit in plan order: a fold over receipts."""
    look = _Look(Store(root), [])
    folder = look.folders().get("tokens")
    for receipt in look.receipts(folder) if folder else ():
        yield from (outcome for outcome in receipt.outcomes if outcome.status != "written")
