"""Ctrl-C once: drain. Twice: stop now. Both leave a run that resumes."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

EXIT_INTERRUPTED = 130


class Interrupted(Exception):
    """The run was stopped by a signal before all was done."""


class Stopping:
    """Counts SIGINT and SIGTERM while it is entered (in the main thread; elsewhere it only counts by :meth:`ask`).

    asked    times a stop was asked for
    """

    def __init__(self, drain_seconds: float) -> None:
        self.asked, self._drain, self._since = 0, drain_seconds, 0.0
        self._signalled = False
        self._before: dict[int, Any] = {}

    def ask(self) -> None:
        self.asked += 1
        self._since = self._since or time.monotonic()

    @property
    def draining(self) -> bool:
        return self.asked > 0

    @property
    def now(self) -> bool:
        """Stop without waiting: asked twice, or the drain took too long."""
        return self.asked > 1 or (self.draining and time.monotonic() - self._since > self._drain)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        self.ask()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for (
            number,
            before,
        ) in self._before.items():  # one that is about to say how it ended is not cut short by a late second signal
            signal.signal(number, signal.SIG_IGN if self._signalled else before)
