"""What a stage gives the engine, and what the engine gives back.

A job is a frozen description that travels to workers; a worker does units; the engine owns everything else: leases,
retries, the search for poison, commits, resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from manifests.ledger import Outcome

Beat = Callable[[int], None]
"""Called with the number of utterances just finished; with 0 as a sign of life between them."""


class RunFailed(RuntimeError):
    """A run that could not be finished: says what, why, and that a rerun resumes."""


class NodeLost(RuntimeError):
    """Raised by a worker whose helpers went with their node: its task is done again, and nothing is held against it."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One task: ``count`` utterances, about ``seconds`` of audio."""

    index: int
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Task:
    """A unit to do, or a part of it to try out.

    skip    positions that are quarantined without being touched, with reason and sentence: found poison
    only    (first, end) positions: a probe, whose result is thrown away; None for the unit itself
    """

    unit: Unit
    skip: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    only: tuple[int, int] | None = None
    attempt: int = 1

    @property
    def count(self) -> int:
        return self.only[1] - self.only[0] if self.only else self.unit.count

    @property
    def fresh(self) -> bool:
        """A whole unit that was never tried before: nothing speaks against it yet."""
        return self.only is None and self.attempt == 1


@dataclass(frozen=True)
class Made:
    """What a worker made of a unit: files to publish by name, the end of each utterance, measurements."""

    files: Mapping[str, bytes]
    outcomes: tuple[Outcome, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Worker(Protocol):
    """Does units, one at a time, in one process."""

    def process(self, task: Task, beat: Beat) -> Made:
        """Do the task. A fault of one utterance ends in its outcome; an exception means the unit could not be done.

        Raises :class:`NodeLost` where that is no fault of the unit either.
        """
        ...


class Job(Protocol):
    """A stage's work: frozen, small, picklable."""

    @property
    def stage(self) -> str: ...

    @property
    def folder(self) -> str:
        """URL or path of the stage's directory."""
        ...

    @property
    def units(self) -> tuple[Unit, ...]: ...

    def open(self) -> Worker:
        """Load what a worker needs (models, tables). Called once per worker process."""
        ...
