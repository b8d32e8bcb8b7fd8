"""Progress: a live bar on a terminal, plain lines elsewhere, and ``events.jsonl`` always."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY = 10.0  # seconds between plain lines
REFRESH = 2.0  # redraws of the bar in a second: each takes time from a worker on the same core


@dataclass
class Events:
    """Appends one JSON object a line to a local file; silent where there is none (object storage keeps the receipts)."""

    path: Path | None

    def __call__(self, event: str, **facts: Any) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), "event": event, **facts}, ensure_ascii=False) + "\n")


def noted(path: Path | None, kinds: Collection[str]) -> Iterator[dict[str, Any]]:
    """The lines of an ``events.jsonl`` that tell of such events, as they are read; none where there is none, and none that were cut off."""
    if path is None or not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                event = orjson.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") in kinds:
                yield event


@contextmanager
def timed(events: Events, stage: str) -> Iterator[None]:
    """Note how long a stage took that has no units to count."""
    started = time.monotonic()
    yield
    events("stage_ended", stage=stage, took_seconds=round(time.monotonic() - started, 3), complete=True)


@dataclass
class Meter:
    """How far one stage is: seconds of audio and utterances done, rate and what was set aside."""

    stage: str
    seconds: float
    utterances: int
    console: Console
    events: Events
    done_seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: {"written": 0, "filtered": 0, "quarantined": 0})
    _started: float = field(default_factory=time.monotonic)
    _line: float = 0.0
    _shown: float = 0.0
    _bar: Progress | None = None
    _task: TaskID | None = None

    def __enter__(self) -> Self:
        self._started = self._line = time.monotonic()
        self.events("stage_started", stage=self.stage, audio_seconds=round(self.seconds, 1), utterances=self.utterances)
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description:<9}"),
                BarColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=REFRESH)
            self._bar.start()
            self._task = self._bar.add_task(self.stage, total=max(self.utterances, 1), note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        took = time.monotonic() - self._started
        self.events("stage_ended", stage=self.stage, took_seconds=round(took, 3), complete=error is None, **self.counts)

    def unit_done(self, seconds: float, counts: dict[str, int], unit: int) -> None:
        self.done_seconds += seconds
        for name, n in counts.items():
            self.counts[name] += n
        self.events("unit_done", stage=self.stage, unit=unit, audio_seconds=round(seconds, 1), **counts)

    @property
    def rate(self) -> float:
        """Hours of audio per hour."""
        return self.done_seconds / max(time.monotonic() - self._started, 1e-9)

    def note(self) -> str:
        aside = f", {self.counts['filtered']} filtered, {self.counts['quarantined']} quarantined"
        return f"{self.done_seconds / 3600:.2f} of {self.seconds / 3600:.2f} h, {self.rate:,.0f} h/h{aside}"

    def show(self, under_way: Callable[[], int]) -> None:
        """Redraw now and again; ``under_way`` counts utterances finished inside units that still run."""
        now = time.monotonic()
        if now - self._shown < 1 / REFRESH:
            return
        self._shown = now
        done = sum(self.counts.values()) + under_way()
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, note=self.note())
        elif time.monotonic() - self._line >= LINE_EVERY:
            self._line = time.monotonic()
            left = (self.seconds - self.done_seconds) / max(self.rate, 1e-9)
            eta = f", {left:,.0f} s left" if self.done_seconds else ""
            self.console.print(f"{self.stage}: {done} of {self.utterances} utterances, {self.note()}{eta}")
