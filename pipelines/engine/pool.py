"""Where tasks run: Ray actors, or this process. One contract, so that every stage runs the same in both."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from pipelines.engine.commit import execute
from pipelines.engine.contract import Job, RunFailed, Task, Worker

DIED = ("worker_died", "the process that worked on it died (crash in native code, or killed for memory)")
ABSENT = "no worker starts; is this version of the project installed on every node, or run.ship set?"
LOST = "the node that worked on it is gone"
CUT_OFF = "the process that worked on it was out of reach, and what it had to say is lost"
SILENT = "the process that was to begin it does not answer"
STALLED = ("worker_stalled", "the process that worked on it made no progress for {seconds:.0f} s and was stopped")


@dataclass(frozen=True, slots=True)
class Event:
    """What a slot of the pool has to tell about a task: how it ended, or that it came back without having been begun.

    Where a worker died, ``died`` lays it at the task's door; ``lost`` does not, for a whole node is gone or out of reach.
    """

    slot: int
    kind: Literal["done", "died", "lost", "stalled", "error", "returned"]
    task: Task
    counts: dict[str, int] | None = None
    message: str = ""


@contextmanager
def in_touch(stage: str) -> Iterator[None]:
    """Raises :class:`RunFailed` where the driver has lost Ray meanwhile: whatever is asked of it then says so."""
    try:
        yield
    except Exception as error:
        if not _out_of_touch(error):
            raise
        raise RunFailed(f"{stage}: the Ray cluster is out of touch ({one_line(error)}); run again to resume") from error


def _out_of_touch(error: Exception) -> bool:
    """Ray's client has no connection any more (and it is not a pipe, say, that was closed), or Ray on this machine is dead."""
    ray = sys.modules.get("ray")
    return type(error) is ConnectionError or (
        ray is not None and isinstance(error, ray.exceptions.LocalRayletDiedError)
    )


class Pool(Protocol):
    """Slots that do one task at a time; a second one may wait behind it, so that a slot never waits for its next lease."""

    @property
    def size(self) -> int:
        """How many slots there are."""
        ...

    @property
    def ready(self) -> bool:
        """Whether any slot has come up yet."""
        ...

    def idle(self) -> list[int]:
        """The slots that would begin a task now."""
        ...

    def spare(self) -> list[int]:
        """The slots where a task could wait behind the one that runs."""
        ...

    def submit(self, slot: int, task: Task) -> None: ...

    def poll(self, seconds: float) -> list[Event]:
        """What has ended, waiting at most ``seconds`` for the first."""
        ...

    def recall(self) -> None:
        """Begin nothing any more: tasks that wait come back, those that run go on."""
        ...

    def beats(self) -> int:
        """Utterances finished so far by tasks that still run."""
        ...

    def close(self) -> None:
        """Stop everything now."""
        ...


class InlinePool:
    """One slot in this process, without Ray: for debugging. A crash is a crash."""

    def __init__(self, job: Job) -> None:
        self._job, self._worker, self._task = job, None, None

    size, ready = 1, True

    def idle(self) -> list[int]:
        return [] if self._task else [0]

    def spare(self) -> list[int]:
        return []

    def recall(self) -> None:
        """Nothing waits here."""

    def submit(self, slot: int, task: Task) -> None:
        self._task = task

    def _beat(self, count: int) -> None:
        """Nobody looks while a task runs."""

    def poll(self, seconds: float) -> list[Event]:
        task, self._task = self._task, None
        if task is None:
            return []
        try:
            self._worker: Worker | None = self._worker or self._job.open()
            return [Event(0, "done", task, dict(execute(self._job, self._worker, task, self._beat)))]
        except Exception as error:  # noqa: BLE001 - whatever a stage raises is an event, as it is from an actor
            return [Event(0, "error", task, message=one_line(error))]

    def beats(self) -> int:
        return 0  # between two polls nothing runs

    def close(self) -> None:
        self._task = None


def one_line(error: BaseException) -> str:
    """The innermost cause on one line: Ray wraps what a task raised with whole tracebacks."""
    cause = error
    while isinstance(inner := getattr(cause, "cause", None), BaseException):
        cause = inner
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text[:400]}"
