"""What a run leaves to be read: ``log.jsonl``, TensorBoard events, and progress on the terminal.

Rank 0 alone writes. A run that goes on takes its log back to the step it goes on from: every step stands there once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY = 10.0  # seconds between plain lines
LOG, BOARD = "log.jsonl", "tensorboard"


class Watcher(Protocol):
    """What the trainer tells of its steps."""

    def note(self, line: str) -> None: ...

    def stepped(self, step: int, codes: int, figures: Mapping[str, float | str], logged: bool) -> None: ...

    def judged(self, step: int, figures: Mapping[str, float]) -> None: ...


class Silent:
    """Of the other ranks: says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def note(self, line: str) -> None:
        """Not said."""

    def stepped(self, step: int, codes: int, figures: Mapping[str, float | str], logged: bool) -> None:
        """Not said."""

    def judged(self, step: int, figures: Mapping[str, float]) -> None:
        """Not said."""


class Log:
    """Of rank 0: everything."""

    def __init__(self, run: Path, console: Console, name: str, first: int, total: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path, self._console = run / LOG, console
        self._total, self._first = total, first
        cut_back(self._path, first)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / BOARD), purge_step=first + 1)
        self._started = self._line = self._since = time.monotonic()
        self._codes, self._rate = 0, 0.0
        self._dev: dict[str, float] = {}
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task(name, total=total, completed=first, note="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        self._file.close()
        self._board.close()

    def note(self, line: str) -> None:
        """A line for people, and in the log."""
        self._console.print(line, highlight=False, soft_wrap=True)
        self._write({"note": line})

    def stepped(self, step: int, codes: int, figures: Mapping[str, float | str], logged: bool) -> None:
        """A step that ended (from 1), and the positions of utterances it learned from."""
        now = time.monotonic()
        self._codes += codes
        if logged:
            self._rate, self._codes, self._since = self._codes / max(now - self._since, 1e-9), 0, now
            spent = round(time.process_time(), 3)  # of all threads; on a busy machine it tells more than the time
            self._record(step, {**figures, "tokens_per_second": round(self._rate, 1), "processor_seconds": spent})
        self._show(step, figures, now)

    def judged(self, step: int, figures: Mapping[str, float]) -> None:
        """A validation; the time it took is no part of the rate of training."""
        self._record(step, figures)
        self._dev = dict(figures)
        values = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._console.print(f"step {step}: {values}", highlight=False, soft_wrap=True)
        self._codes, self._since = 0, time.monotonic()

    def _record(self, step: int, figures: Mapping[str, Any]) -> None:
        self._write({"step": step, **figures})
        for name, value in figures.items():
            if isinstance(value, int | float):
                self._board.add_scalar(name, value, step)

    def _write(self, facts: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({"time": round(time.time(), 3), **facts}, ensure_ascii=False) + "\n")
        self._file.flush()

    def _show(self, step: int, figures: Mapping[str, float | str], now: float) -> None:
        note = f"loss {figures['loss']:.3f}, lr {figures['lr']:.1e}, {self._rate:,.0f} tokens/s"
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step, note=note)
        elif now - self._line >= LINE_EVERY or step == self._total:
            self._line = now
            left = (now - self._started) / max(step - self._first, 1) * (self._total - step)
            eta = f", {left:,.0f} s left" if step < self._total else ""
            self._console.print(f"step {step} of {self._total}: {note}{eta}", highlight=False, soft_wrap=True)


def cut_back(path: Path, step: int) -> None:
    """Take back what a log says of later steps than ``step``, and a last line that was cut off."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            later = json.loads(line).get("step", 0) > step
        except json.JSONDecodeError:
            continue
        if not later:
            kept.append(line + "\n")
    path.write_text("".join(kept), encoding="utf-8")
