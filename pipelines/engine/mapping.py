"""An ordered parallel map over chunks, for work that makes no files of its own (reading headers)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from rich.console import Console

from pipelines.engine.contract import RunFailed
from pipelines.engine.pool import ABSENT, in_touch, one_line
from pipelines.engine.room import Demand, Wait
from pipelines.engine.stopping import Interrupted, Stopping

AHEAD = 4  # chunks in flight for each worker
LOOK_EVERY = 0.5  # seconds between looks at the signals
UNKNOWN = ("failed to import on the worker", "No module named")  # how Ray tells of code that a node does not have
LOSSES = 5  # times that a result may be lost with its node


class ChunkWork(Protocol):
    """A function of a chunk, and what to book for an item that kills the process."""

    def __call__(self, chunk: list[Any]) -> list[Any]: ...

    def poisoned(self, chunk: list[Any]) -> list[Any]: ...


def _call(work: ChunkWork, chunk: list[Any]) -> list[Any]:
    return work(chunk)


@dataclass
class Mapper:
    """Maps chunks over Ray tasks (or in this process, with no workers); results come in order.

    demand   what each task asks of a node
    """

    workers: Callable[[], int]
    start: Callable[[], None]
    stopping: Stopping
    demand: Demand = field(default_factory=lambda: Demand({"CPU": 1}))
    console: Console = field(default_factory=lambda: Console(quiet=True))

    def map(self, work: ChunkWork, chunks: Iterable[list[Any]], stage: str) -> Iterator[list[Any]]:
        """Results of ``work`` for each chunk, in order.

        An exception of ``work`` is raised here. A chunk that kills its process is done again item by item, and the items
        that kill are booked with ``work.poisoned``. Raises :class:`Interrupted` when stopped, :class:`RunFailed` where nodes
        go away faster than the work is done.
        """
        if self.workers() == 0:
            for chunk in chunks:
                _check(self.stopping, stage)
                yield work(chunk)
            return
        self.start()
        with in_touch(stage):
            yield from self._mapped(work, chunks, stage)

    def _mapped(self, work: ChunkWork, chunks: Iterable[list[Any]], stage: str) -> Iterator[list[Any]]:
        import ray

        remote = ray.remote(max_retries=1, **self.demand.options())(_call)
        wait = Wait(stage, self.workers(), self.demand, self.console)
        calls = _Calls(partial(remote.remote, ray.put(work)), work, self.stopping, wait)
        window = deque[tuple[list[Any], Any]]()
        for chunk in chunks:
            window.append((chunk, calls.task(chunk)))
            if len(window) >= AHEAD * self.workers():
                yield calls.result(*window.popleft())
        while window:
            yield calls.result(*window.popleft())


def _check(stopping: Stopping, stage: str) -> None:
    if stopping.draining:
        raise Interrupted(f"{stage}: stopped; run again to resume")


@dataclass(frozen=True)
class _Calls:
    """Ray tasks over the chunks of one map."""

    task: Callable[[list[Any]], Any]
    work: ChunkWork
    stopping: Stopping
    wait: Wait

    def result(self, chunk: list[Any], reference: Any) -> list[Any]:
        from ray.exceptions import WorkerCrashedError

        try:
            return self._get(chunk, reference)
        except WorkerCrashedError:
            return [item for one in chunk for item in self._alone(one)]

    def _alone(self, one: Any) -> list[Any]:
        from ray.exceptions import WorkerCrashedError

        try:
            return self._get([one], self.task([one]))
        except WorkerCrashedError:
            return self.work.poisoned([one])

    def _get(self, chunk: list[Any], reference: Any) -> list[Any]:
        """What a task returns; done again where the node that held its result is gone."""
        import ray
        from ray.exceptions import NodeDiedError, ObjectLostError, RayTaskError

        for _ in range(LOSSES):
            while not ray.wait([reference], timeout=LOOK_EVERY)[0]:
                _check(self.stopping, self.wait.stage)
                self.wait.on()
            self.wait.over()
            try:
                return ray.get(reference)
            except (NodeDiedError, ObjectLostError):
                reference = self.task(chunk)
            except RayTaskError as error:
                if any(mark in str(error) for mark in UNKNOWN):
                    raise RunFailed(f"{self.wait.stage}: {ABSENT} ({one_line(error)}); run again to resume") from error
                if isinstance(error.cause, Exception):
                    raise error.cause from error  # as it is raised without Ray: of one line, where its kind has one
                raise
        raise RunFailed(f"{self.wait.stage}: {LOSSES} nodes were lost over the same work; run again to resume")
