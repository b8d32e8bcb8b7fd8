"""``status``: how far an output root is, also while a run is going or after it was killed. Reads receipts, changes nothing.

Receipts of a run that is under way come and go between two looks; what cannot be read is listed, never raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from manifests.ahead import in_order
from manifests.ledger import Ledger, Outcome, add_up
from manifests.receipt import FOLDER, Receipt, ReceiptError, read_receipt
from manifests.receipt_index import UNIT
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.forecast.compared import NAME, Compared, Stage, compared, kept, table
from pipelines.look import CUTS, Look
from pipelines.made import Made
from pipelines.stages.order import OF_UNITS, ORDER
from pipelines.stages.segments import RECORDINGS

if TYPE_CHECKING:
    from rich.console import Console

ASKED = {stage.name: stage.asked for stage in ORDER if stage.units and stage.asked}


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
    apart       how a run that was begun since differs from the one that finished it
    forecast    what was foretold of it against what it took, where `plan` was asked for that
    """

    root: str
    finished: bool
    stages: tuple[StageStatus, ...]
    ledger: Ledger | None
    hours: Mapping[str, float]
    faults: tuple[str, ...]
    forecast: Compared | None = None
    apart: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "root": self.root, "finished": self.finished, "stages": [s.to_json() for s in self.stages],
            "ledger": self.ledger.to_json() if self.ledger else None,
            "hours": {s: round(h, 6) for s, h in sorted(self.hours.items())}, "faults": list(self.faults),
            "forecast": self.forecast.to_json() if self.forecast else None, "apart": self.apart,
        }  # fmt: skip

    def render(self, console: Console) -> None:
        """Print it for people."""
        from rich.markup import escape
        from rich.table import Table

        console.print(f"{escape(self.root)}: {'finished' if self.finished else 'not finished'}")
        if self.apart:
            console.print(escape(self.apart))
        stages = Table("stage", "folder", "units", "audio h", "worker h", "h per worker h")
        for s in self.stages:
            rate = "" if s.rate is None else f"{s.rate:,.0f}"
            hours = (f"{s.audio_seconds / 3600:,.2f}", f"{s.seconds / 3600:,.2f}")
            stages.add_row(s.stage, escape(s.folder or "-"), f"{s.done} of {s.units}", *hours, rate)
        console.print(stages)
        for shown in _tables(self):
            console.print(shown)
        for note in self.forecast.notes if self.forecast else ():
            console.print(f"forecast: {escape(note)}")
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
    if status.forecast is not None and status.forecast.rows:
        yield table(status.forecast)
    if status.hours:
        hours = Table("split", "hours")
        for split, amount in sorted(status.hours.items()):
            hours.add_row(escape(split), f"{amount:,.3f}")
        yield hours


def status(root: str) -> Status:
    """Look at the output root ``root`` (path or fsspec URL). A root that holds nothing has no stage done."""
    look = Look(Store(root), [])
    folders = look.folders()
    units = look.plan(folders.get("plan"))
    made = {stage: look.units_made(folders.get(stage), units or ()) for stage in OF_UNITS if stage in folders}
    ingested, recordings, fit = look.has_cuts(), _segments(look, folders), _fit(look, folders.get("fit"))
    of_units = _OfUnits(look, folders, units or (), made)
    stages = (
        StageStatus("ingest", CUTS if ingested else None, 1, int(ingested)),
        *([_of_units(*recordings)] if recordings else []),
        StageStatus("plan", folders.get("plan"), 1, int(units is not None)),
        *of_units.asked("copies"),
        *of_units.asked("transcripts"),
        StageStatus("fit", folders.get("fit"), 1, fit.units, fit.took),
        of_units.row("tokens"),
        *of_units.asked("features"),
        *of_units.asked("states"),
        *of_units.asked("masks", before=True),
        *of_units.asked("teach"),
    )
    apart = look.apart()
    finished = not look.faults and apart is None and look.out.exists("dataset.json")
    tokens = made.get("tokens", Made())
    ledger = _ledger(look, units, tokens)
    listed = units if recordings is None else recordings[2]
    foretold = _forecast(look, listed, [*_timed(made, units or ()), Stage("fit", fit, 1), *_cut_up(recordings)])
    return Status(root, finished, stages, ledger, _hours(tokens), tuple(look.faults), foretold, apart)


Recordings = tuple[str, str | None, tuple[Unit, ...], Made]
"""The stage that cuts recordings up: its name, its folder, its units, what they add up to."""


@dataclass(frozen=True)
class _OfUnits:
    """The stages whose units are those of the plan."""

    look: Look
    folders: Mapping[str, str]
    units: tuple[Unit, ...]
    made: Mapping[str, Made]

    def row(self, stage: str) -> StageStatus:
        return _of_units(stage, self.folders.get(stage), self.units, self.made.get(stage, Made()))

    def asked(self, stage: str, before: bool = False) -> list[StageStatus]:
        """A stage that the recipe may ask for; ``before`` any run."""
        return [self.row(stage)] if self.look.wants(stage, ASKED[stage], self.folders, before) else []


def _timed(made: Mapping[str, Made], units: tuple[Unit, ...]) -> list[Stage]:
    return [Stage(stage, made.get(stage, Made()), len(units)) for stage in OF_UNITS]


def _cut_up(recordings: Recordings | None) -> list[Stage]:
    return [] if recordings is None else [Stage("segments", recordings[3], len(recordings[2]))]


def _forecast(look: Look, units: tuple[Unit, ...] | None, stages: list[Stage]) -> Compared | None:
    """What was foretold, against what is done of it; ``units`` of what the corpus lists."""
    try:
        if not units or kept(look.out) is None:
            return None
        return compared(look.out, stages, sum(unit.count for unit in units))
    except ValueError as error:
        look.faults.append(f"{NAME}: {error}")
        return None


def _segments(look: Look, folders: Mapping[str, str]) -> Recordings | None:
    """How far the recordings are cut up, where the recipe asks for it."""
    if not look.wants("segments", "segment", folders, before=False):
        return None
    folder = folders.get("segments")
    units = look.plan(f"{folder}/{RECORDINGS}" if folder else None) or ()
    return "segments", folder, units, look.units_made(folder, units)


def _ledger(look: Look, units: tuple[Unit, ...] | None, made: Made) -> Ledger | None:
    """What has ended so far, against the plan; None before there is a plan."""
    if units is None:
        return None
    try:
        return add_up(sum(unit.count for unit in units), made.ends)
    except ValueError as error:
        look.faults.append(f"ledger: {error}")
        return None


def _fit(look: Look, folder: str | None) -> Made:
    return Made.of(look.briefs(folder) if folder else (), ())


def _of_units(stage: str, folder: str | None, units: tuple[Unit, ...], made: Made) -> StageStatus:
    return StageStatus(stage, folder, len(units), made.units, made.took, made.seconds)


def _hours(made: Made) -> dict[str, float]:
    return {split: amount / 3600 for split, amount in made.splits.items()}


def quarantine(root: str) -> Iterator[Outcome]:
    """Every utterance that was filtered or quarantined so far, unit by unit in plan order: a fold over receipts."""
    look = Look(Store(root), [])
    folder = look.folders().get("tokens")
    store = look.out.sub(folder or "")
    units = sorted(int(match[1]) for name in store.list(FOLDER) if (match := UNIT.fullmatch(name))) if folder else []
    for receipt in in_order(partial(_receipt, store), units):
        yield from (outcome for outcome in receipt.outcomes if outcome.status != "written") if receipt else ()


def _receipt(store: Store, unit: int) -> Receipt | None:
    """A receipt that can be read; None for any other."""
    try:
        return read_receipt(store, unit)
    except ReceiptError:
        return None
