"""Workers of a stage in processes of their own, as Ray would run them, timed: the same code, environment and priority, without a cluster.

A child opens its job's worker, then does what it is asked, one thing at a time. ``Here`` does the same in this process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from pipelines.cluster import ENVIRONMENT
from pipelines.engine import cores
from pipelines.engine.commit import execute
from pipelines.engine.contract import Job, RunFailed, Task, Unit, Worker
from pipelines.engine.pool import DIED, one_line

NICENESS = 15  # of Ray's workers, unless this variable of Ray says otherwise
NICENESS_VARIABLE = "RAY_worker_niceness"
WARM = 4  # utterances that a worker does first, untimed: imports, tables and models that are loaded when first needed

Work = Callable[[Any, Any, Any], Any]
"""A function of (job, its worker, an argument): all of them travel to the child."""


class Died(RuntimeError):
    """The process of a child died while it worked."""


class Child(Protocol):
    """Somebody who does work for a job."""

    @property
    def handle(self) -> Any:
        """What to wait for; None where results are there at once."""
        ...

    def ask(self, work: Work, argument: Any) -> None: ...

    def answer(self) -> Any:
        """What the work returned. Raises :class:`Died`, and ``RunFailed`` for what it raised."""
        ...

    @property
    def waited(self) -> float | None:
        """Seconds in which the thread that works for it had waited for a core before it came to be; None where the system does not tell."""
        ...

    def close(self) -> None: ...


class Here:
    """This process."""

    handle = None

    def __init__(self, job: Job) -> None:
        self._job, self._answer, self.waited = job, None, cores.waited()
        self._worker: Worker | None = None

    def ask(self, work: Work, argument: Any) -> None:
        try:
            self._worker = self._worker or self._job.open()
            self._answer = work(self._job, self._worker, argument)
        except Exception as error:
            raise RunFailed(f"probe: {self._job.stage}: {one_line(error)}") from error

    def answer(self) -> Any:
        return self._answer

    def close(self) -> None:
        """Nothing runs here between two questions."""


class Process:
    """A child process with the environment of a worker."""

    waited = 0.0

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self._stage = job.stage
        context = multiprocessing.get_context("spawn")
        self.handle, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, job), daemon=True)
        with _surroundings({**ENVIRONMENT, **environment}):
            self._process.start()
        theirs.close()

    def ask(self, work: Work, argument: Any) -> None:
        try:
            self.handle.send((work, argument))
        except OSError as error:
            raise Died(self._stage) from error

    def answer(self) -> Any:
        try:
            went, found = self.handle.recv()
        except (EOFError, OSError) as error:
            raise Died(self._stage) from error
        if not went:
            raise RunFailed(f"probe: {self._stage}: {found}")
        return found

    def close(self) -> None:
        self.handle.close()
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, job: Job) -> None:
    """What runs in the child, until nobody asks any more."""
    wanted = int(os.environ.get(NICENESS_VARIABLE, NICENESS))
    os.nice(max(wanted - os.nice(0), 0))
    import ray  # noqa: F401 - so does every worker of Ray, and it takes its time

    worker: Worker | None = None
    while True:
        try:
            work, argument = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            worker = worker or job.open()
            connection.send((True, work(job, worker, argument)))
        except Exception as error:  # noqa: BLE001 - whatever a stage raises is told
            connection.send((False, one_line(error)))


@contextmanager
def _surroundings(values: Mapping[str, str]) -> Iterator[None]:
    """Processes started inside have these variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def ready(children: list[Child], seconds: float) -> list[int]:
    """Positions of children that have an answer, or died; waits so long for the first."""
    if any(child.handle is None for child in children):
        return list(range(len(children)))
    found = wait([child.handle for child in children], timeout=seconds)
    return [i for i, child in enumerate(children) if child.handle in found]


def opened(job: Job, worker: Worker, argument: None) -> float | None:
    """Nothing but what opening the worker takes. Returns for how many seconds the thread that works has waited for a core since it began."""
    return cores.waited()


def warm(job: Job, worker: Worker, unit: Unit) -> float | None:
    """The first utterances of a unit, thrown away. Returns what :func:`opened` does."""
    worker.process(Task(unit, only=(0, min(WARM, unit.count))), _silent)
    return cores.waited()


def do(job: Job, worker: Worker, unit: Unit) -> None:
    """Do a unit and commit it, as a worker of a run does."""
    execute(job, worker, Task(unit), _silent)


def pass_over(job: Job, worker: Worker, unit: Unit) -> None:
    """Book every utterance of a unit as one that kills, so that what reads units after it finds it."""
    execute(job, worker, Task(unit, skip=dict.fromkeys(range(unit.count), DIED)), _silent)


def _silent(count: int) -> None:
    """Nobody watches."""
