"""Where tasks run: Ray actors, or this process. One contract, so that every stage runs the same in both."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pipelines.engine.commit import execute
from pipelines.engine.contract import Job, Task, Worker

DIED = ("worker_died", "the process that worked on it died (crash in native code, or killed for memory)")
STALLED = ("worker_stalled", "the process that worked on it made no progress for {seconds:.0f} s and was stopped")


@dataclass(frozen=True, slots=True)
class Event:
    """What a slot of the pool has to tell about its task."""

    slot: int
    kind: Literal["done", "died", "stalled", "error"]
    task: Task | None
    counts: dict[str, int] | None = None
    message: str = ""


class Pool(Protocol):
    """Slots that do one task at a time."""

    def idle(self) -> list[int]:
        """The slots that could take a task now."""
        ...

    def submit(self, slot: int, task: Task) -> None: ...

    def poll(self, seconds: float) -> list[Event]:
        """What has ended, waiting at most ``seconds`` for the first."""
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
        self._beats = 0

    def idle(self) -> list[int]:
        return [] if self._task else [0]

    def submit(self, slot: int, task: Task) -> None:
        self._task = task

    def _beat(self, count: int) -> None:
        self._beats += count

    def poll(self, seconds: float) -> list[Event]:
        task, self._task, self._beats = self._task, None, 0
        if task is None:
            return []
        try:
            self._worker: Worker | None = self._worker or self._job.open()
            return [Event(0, "done", task, dict(execute(self._job, self._worker, task, self._beat)))]
        except Exception as error:  # noqa: BLE001 - whatever a stage raises is an event, as it is from an actor
            return [Event(0, "error", task, message=_one_line(error))]

    def beats(self) -> int:
        return self._beats

    def close(self) -> None:
        self._task = None


def _one_line(error: BaseException) -> str:
    """The innermost cause on one line: Ray wraps what a task raised with whole tracebacks."""
    cause = getattr(error, "cause", None) or error
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text[:400]}"


class _Actor:
    """What runs inside a Ray worker process: one stage's worker, and a second thread that answers ``beats``."""

    def __init__(self, job: Job) -> None:
        self._job, self._count = job, 0
        self._worker: Worker | None = None

    def open(self) -> None:
        self._worker = self._worker or self._job.open()

    def _beat(self, count: int) -> None:
        self._count += count

    def execute(self, task: Task) -> dict[str, int]:
        self._count = 0
        self.open()
        assert self._worker is not None
        return dict(execute(self._job, self._worker, task, self._beat))

    def beats(self) -> int:
        return self._count


@dataclass
class _Slot:
    """One actor and what it does."""

    actor: Any
    task: Task | None = None
    result: Any = None
    beat: Any = None
    beats: int = 0
    moved: float = 0.0


class RayPool:
    """Ray actors, one task each, watched for death and for standing still."""

    def __init__(self, job: Job, workers: int, options: dict[str, Any], stall_seconds: float) -> None:
        import ray

        self._ray, self._clock, self._stall = ray, time.monotonic, stall_seconds
        self._job = ray.put(job)
        self._options = {"max_concurrency": 2, "max_restarts": 0, **options}
        self._slots = [_Slot(self._start()) for _ in range(workers)]

    def _start(self) -> Any:
        return self._ray.remote(_Actor).options(**self._options).remote(self._job)

    def idle(self) -> list[int]:
        return [i for i, slot in enumerate(self._slots) if slot.task is None]

    def submit(self, slot: int, task: Task) -> None:
        state = self._slots[slot]
        state.task, state.beats, state.moved = task, 0, self._clock()
        state.result = state.actor.execute.remote(task)

    def beats(self) -> int:
        return sum(slot.beats for slot in self._slots if slot.task and slot.task.only is None)

    def poll(self, seconds: float) -> list[Event]:
        running = {slot.result: i for i, slot in enumerate(self._slots) if slot.task is not None}
        if not running:
            return []
        if self._ray.wait(list(running), num_returns=1, timeout=seconds)[0]:
            ready, _ = self._ray.wait(list(running), num_returns=len(running), timeout=0)
            return [self._ended(running[r]) for r in ready]
        return self._watch()

    def _ended(self, i: int) -> Event:
        slot = self._slots[i]
        task, result, slot.task, slot.result, slot.beat = slot.task, slot.result, None, None, None
        errors = self._ray.exceptions
        try:
            return Event(i, "done", task, self._ray.get(result))
        except (errors.RayActorError, errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError):
            slot.actor = self._start()
            return Event(i, "died", task, message=DIED[1])
        except Exception as error:  # noqa: BLE001 - Ray raises the stage's own error, of any type
            return Event(i, "error", task, message=_one_line(error))

    def _watch(self) -> list[Event]:
        """Ask running actors how far they are; stop those that stand still."""
        stalled = []
        for i, slot in enumerate(self._slots):
            if slot.task is None:
                continue
            self._hear(slot)
            if self._clock() - slot.moved > self._stall:
                stalled.append(self._stop(i))
        return stalled

    def _hear(self, slot: _Slot) -> None:
        if slot.beat is None:
            slot.beat = slot.actor.beats.remote()
            return
        if not self._ray.wait([slot.beat], timeout=0)[0]:
            return
        try:
            beats = self._ray.get(slot.beat)
        except self._ray.exceptions.RayError:  # the actor died: its result says so at the next poll
            beats = slot.beats
        slot.beat = None
        if beats != slot.beats:
            slot.beats, slot.moved = beats, self._clock()

    def _stop(self, i: int) -> Event:
        slot = self._slots[i]
        self._ray.kill(slot.actor)
        task, slot.task, slot.result, slot.beat = slot.task, None, None, None
        slot.actor = self._start()
        return Event(i, "stalled", task, message=STALLED[1].format(seconds=self._stall))

    def close(self) -> None:
        for slot in self._slots:
            self._ray.kill(slot.actor)
