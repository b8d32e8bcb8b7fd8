"""What was foretold against what a run took, stage by stage: ``forecast.json`` against receipts and ``events.jsonl``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from manifests.storage import Store
from pipelines.engine.progress import noted
from pipelines.forecast.measured import quiet
from pipelines.made import Made

if TYPE_CHECKING:
    from rich.table import Table

NAME = "forecast.json"
FORMAT = "speechmill-forecast/2"
EVENTS = frozenset(["stage_started", "stage_staffed", "stage_ended", "run_ended"])  # that are held against it


@dataclass(frozen=True)
class Pair:
    """One figure, foretold and as it came; None: not known."""

    foretold: float
    took: float | None

    @property
    def ratio(self) -> float | None:
        """How often what was foretold it took."""
        return None if self.took is None or not self.foretold else self.took / self.foretold

    def to_json(self) -> dict[str, float | None]:
        ratio = self.ratio
        took = None if self.took is None else round(self.took, 6)
        return {"foretold": round(self.foretold, 6), "took": took, "ratio": None if ratio is None else round(ratio, 4)}


@dataclass(frozen=True)
class Row:
    """One stage that is done, or all of them (``whole``).

    seconds, bytes           wall time, and what was written
    hours, cores             hours in which workers did something, and those of them in which they had a core
    quiet                    hours in which workers did something and did not wait for a core that other programs had
    low, high                of the wall time that was foretold
    workers                  foretold and as many as there were
    """

    stage: str
    seconds: Pair
    low: float
    high: float
    hours: Pair | None = None
    cores: Pair | None = None
    quiet: Pair | None = None
    bytes: Pair | None = None
    workers: Pair | None = None

    def to_json(self) -> dict[str, Any]:
        pairs = {
            "seconds": self.seconds,
            "worker_hours": self.hours,
            "core_hours": self.cores,
            "quiet_hours": self.quiet,
            "bytes": self.bytes,
            "workers": self.workers,
        }
        return {"stage": self.stage, "low": self.low, "high": self.high,
                **{name: pair.to_json() for name, pair in pairs.items() if pair is not None}}  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """A forecast and the run after it. ``notes``: why some of it cannot be compared."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"stages": [row.to_json() for row in self.rows], "notes": list(self.notes)}


@dataclass(frozen=True)
class Stage:
    """A stage of units as it stands: what its receipts add up to, and how many units there are to do."""

    name: str
    made: Made
    units: int

    @property
    def done(self) -> bool:
        return bool(self.units) and self.made.units == self.units

    @property
    def span(self) -> float:
        """Seconds from the first unit's begin to the last one's end."""
        return self.made.ended - self.made.begun

    @property
    def cores(self) -> float | None:
        """Hours in which its workers had a core; None where receipts are older than that."""
        return None if self.made.cores is None else self.made.cores / 3600

    def quiet(self, cpus: float) -> float | None:
        """Hours in which its workers, each given so many cores, did not wait for one that others had; None where nobody looked."""
        made = self.made
        if made.waited is None or made.cores is None or not cpus:
            return None
        return quiet(made.took, made.waited, made.cores, cpus) / 3600


def kept(out: Store) -> dict[str, Any] | None:
    """The forecast beside an output, or None. Raises ValueError for a damaged one."""
    try:
        value = orjson.loads(out.read(NAME))
    except FileNotFoundError:
        return None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"not a forecast of this version ({FORMAT}); `speechmill plan` makes it anew")
    return value


def compared(out: Store, stages: Iterable[Stage], planned: int) -> Compared | None:
    """The stages that are done, against the forecast beside the output; None where there is no forecast.

    ``planned`` are the utterances of the plan, or the recordings that are cut up. Raises ValueError for a damaged forecast.
    """
    value = kept(out)
    if value is None:
        return None
    try:
        return _compared(value, [*noted(out.local("events.jsonl"), EVENTS)], {s.name: s for s in stages}, planned)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"damaged: {type(error).__name__}: {error}; `speechmill plan` makes it anew") from None


def _compared(
    value: Mapping[str, Any], events: Sequence[Mapping[str, Any]], stages: Mapping[str, Stage], planned: int
) -> Compared:
    foretold, made, before = value["corpus"], float(value["made"]), value["before"]
    what, count = ("utterances", foretold["utterances"]) if foretold["recordings"] is None else ("recordings", foretold["recordings"]["count"])  # fmt: skip
    if planned != count:
        return Compared((), (f"the forecast is of {count} {what}, there are {planned} now",))
    since = [event for event in events if float(event.get("time", 0.0)) >= made]
    rows, notes = list[Row](), list[str]()
    for one in foretold["stages"]:
        if one["stage"] in before:
            continue
        stage = stages.get(one["stage"])
        if stage is not None and stage.made.units and stage.made.begun < made:
            notes.append(f"{stage.name} was begun before the forecast was made")
        elif stage is None or stage.done:
            rows += _row(one, stage, since)
    return Compared((*_ray(foretold, since), *rows, *_whole(foretold, before, since)), (*notes, *_crews(rows)))


def _row(one: Mapping[str, Any], stage: Stage | None, since: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A stage that is done: how long it took as far as events tell, of stages of units else their receipts."""
    name = one["stage"]
    mine = [event for event in since if event.get("stage") == name]
    ended = [float(e["took_seconds"]) for e in mine if e.get("event") == "stage_ended"]
    if stage is None and not ended:
        return []
    took = stage.span if stage is not None and not ended else sum(ended) - _joining(mine)
    staff = [float(e["workers"]) for e in mine if e.get("event") == "stage_staffed"]
    workers = Pair(float(one["workers"]), max(staff)) if staff else None
    row = Row(name, Pair(one["seconds"], took), one["low"], one["high"], workers=workers)
    if stage is None:
        return [row]
    hours, weight = (
        Pair(one["worker_hours"], stage.made.took / 3600),
        Pair(one["bytes"] - one["beside"], stage.made.bytes),
    )
    cores = None if one["core_hours"] is None else Pair(one["core_hours"], stage.cores)
    quiet = Pair(one["worker_hours"], stage.quiet(one["cpus"]))
    return [replace(row, hours=hours, cores=cores, quiet=quiet, bytes=weight)]


def _joining(events: Iterable[Mapping[str, Any]]) -> float:
    """Seconds from a stage's begin until it has a pool: those in which Ray is started or joined, once in a run."""
    joining, begun = 0.0, None
    for event in events:
        if event.get("event") == "stage_started":
            begun = float(event["time"])
        elif event.get("event") == "stage_staffed" and begun is not None:
            joining, begun = joining + float(event["time"]) - begun, None
    return joining


def _ray(foretold: Mapping[str, Any], since: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Starting or joining Ray, in all runs together."""
    took = _joining(since)
    return (
        [Row("Ray", Pair(foretold["ray"], took), foretold["ray"], foretold["ray"])] if foretold["ray"] and took else []
    )


def _whole(foretold: Mapping[str, Any], done: Sequence[str], since: Sequence[Mapping[str, Any]]) -> list[Row]:
    """All that `data` did, in one run or in several; nothing while it is not through, and of runs that were killed nobody knows."""
    ended = [e for e in since if e.get("event") == "run_ended" and any(e.get("did", {}).values())]
    if not ended:
        return []
    before = sum(one["seconds"] for one in foretold["stages"] if one["stage"] in done)
    took = sum(float(e["took_seconds"]) for e in ended)
    return [Row("whole", Pair(foretold["seconds"] - before, took), foretold["low"] - before, foretold["high"] - before)]


def table(found: Compared) -> Table:
    """For people. The last columns are ratios: of hours in which workers did something (``work``), of those in which they did not wait for a core
    that other programs had (``quiet``), of those in which they had one, of bytes.
    """
    from rich import box
    from rich.table import Table

    shown = Table(
        "stage", box=box.SIMPLE, title="foretold, and as it came", title_justify="left", pad_edge=False,
        caption="quiet: work without waiting for cores that other programs had", caption_justify="left",
    )  # fmt: skip
    for column in ("foretold s", "9 in 10", "took s", "ratio", "work", "quiet", "cores", "bytes"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in found.rows:
        between = f"{row.low:,.1f} to {row.high:,.1f}" if row.high > row.low else ""
        figures = (f"{row.seconds.foretold:,.1f}", between, f"{row.seconds.took or 0.0:,.1f}")
        shown.add_row(
            row.stage, *figures, *(_times(pair) for pair in (row.seconds, row.hours, row.quiet, row.cores, row.bytes))
        )
    return shown


def _times(pair: Pair | None) -> str:
    return "" if pair is None or pair.ratio is None else f"{pair.ratio:.2f}"


def _crews(rows: Iterable[Row]) -> list[str]:
    """Stages that had other workers than were foretold."""
    staffed = [(row.stage, row.workers) for row in rows if row.workers is not None and row.workers.ratio != 1]
    return [f"{stage} had {pair.took:g} workers, and was foretold with {pair.foretold:g}" for stage, pair in staffed]
