"""An ordered parallel map over chunks, for work that makes no files of its own (reading headers)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pipelines.engine.stopping import Interrupted, Stopping

AHEAD = 4  # chunks in flight for each worker


class ChunkWork(Protocol):
    """A function of a chunk, and what to book for an item that kills the process."""

    def __call__(self, chunk: list[Any]) -> list[Any]: ...

    def poisoned(self, chunk: list[Any]) -> list[Any]: ...


def _call(work: ChunkWork, chunk: list[Any]) -> list[Any]:
    return work(chunk)


@dataclass
class Mapper:
    """Maps chunks over Ray tasks (or in this process, with no workers); results come in order."""

    workers: Callable[[], int]
    start: Callable[[], None]
    stopping: Stopping

    def map(self, work: ChunkWork, chunks: Iterable[list[Any]], stage: str) -> Iterator[list[Any]]:
        """Results of ``work`` for each chunk, in order.

        An exception of ``work`` is raised here. A chunk that kills its process is done again item by item, and the items
        that kill are booked with ``work.poisoned``. Raises :class:`Interrupted` when stopped.
        """
        if self.workers() == 0:
            for chunk in chunks:
                self._check(stage)
                yield work(chunk)
            return
        import ray

        self.start()
        work_ref, remote = ray.put(work), ray.remote(max_retries=1)(_call)
        task, window = partial(remote.remote, work_ref), deque[tuple[list[Any], Any]]()
        for chunk in chunks:
            window.append((chunk, task(chunk)))
            if len(window) >= AHEAD * self.workers():
                yield self._next(window, task, work, stage)
        while window:
            yield self._next(window, task, work, stage)

    def _check(self, stage: str) -> None:
        if self.stopping.draining:
            raise Interrupted(f"{stage}: stopped; run again to resume")

    def _next(
        self, window: deque[tuple[list[Any], Any]], task: Callable[[list[Any]], Any], work: ChunkWork, stage: str
    ) -> list[Any]:
        import ray
        from ray.exceptions import WorkerCrashedError

        self._check(stage)
        chunk, result = window.popleft()
        try:
            return ray.get(result)
        except WorkerCrashedError:
            return [item for one in chunk for item in self._alone(one, task, work)]

    def _alone(self, one: Any, task: Callable[[list[Any]], Any], work: ChunkWork) -> list[Any]:
        import ray
        from ray.exceptions import WorkerCrashedError

        try:
            return ray.get(task([one]))
        except WorkerCrashedError:
            return work.poisoned([one])
