"""Hearing on other nodes: a worker that encodes has its sounds fetched, decoded and cleaned by workers of their own.

Only where a recipe asks for it (``run.stages.clean``): CPU nodes then decode for a GPU node. Waves travel through Ray's object store, as
float32, a bounded number at a time; what is heard is what an :class:`Ear` on the spot would hear.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from manifests.fetch import Fetcher
from manifests.ledger import Outcome
from manifests.settings.run import RunSettings
from pipelines.engine.contract import Beat
from pipelines.engine.room import Demand
from pipelines.stages.hearing import Ear, Heard

STAGE = "clean"
AHEAD = 8  # utterances in flight for each listener
START_SECONDS = 120  # after which listeners that have not come up are given up
GONE = 1  # exit code of a worker whose listener died


class NoListeners(RuntimeError):
    """The cluster has no room for the listeners that the recipe asks for."""


class _Listener:
    """What runs on the other node."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    def hear(self, cut: Mapping[str, Any]) -> Heard | Outcome:
        return self._ear.hear(cut)

    def up(self) -> bool:
        return True


def ear_for(ear: Ear, run: RunSettings) -> Ear | Listeners:
    """Who hears: ``ear`` itself, or listeners where ``run.stages`` has a ``clean`` and there is Ray."""
    wanted = run.stages.get(STAGE)
    if wanted is None or run.workers == 0:
        return ear
    return Listeners(ear, wanted.workers or 1, Demand.of(run.of(STAGE)).options())


@dataclass
class Listeners:
    """``count`` workers that hear for this one; started when they are first needed, gone when it goes."""

    ear: Ear
    count: int
    options: Mapping[str, Any]
    _actors: list[Any] = field(default_factory=list)

    @property
    def fetch(self) -> Fetcher:
        return self.ear.fetch

    def hear(self, cut: Mapping[str, Any]) -> Heard | Outcome:
        """One utterance, heard on the spot."""
        return self.ear.hear(cut)

    def hear_all(self, cuts: Iterable[Mapping[str, Any]], beat: Beat) -> Iterator[Heard | Outcome]:
        """What is heard of each cut, in order.

        A listener that dies takes this process with it: the engine then finds the utterance that kills, as it does for any worker.
        """
        import ray
        from ray.exceptions import RayActorError

        self._start(beat)
        turn, window = cycle(self._actors), deque[Any]()
        try:
            for cut in cuts:
                window.append(next(turn).hear.remote(cut))
                if len(window) >= AHEAD * self.count:
                    yield ray.get(window.popleft())
            while window:
                yield ray.get(window.popleft())
        except RayActorError:
            os._exit(GONE)

    def _start(self, beat: Beat) -> None:
        """Wait for the listeners, with signs of life meanwhile. Raises :class:`NoListeners`."""
        import ray

        if self._actors:
            return
        listener: Any = ray.remote(**self.options)(_Listener)
        ear = ray.put(self.ear)
        actors = [listener.remote(ear) for _ in range(self.count)]
        waiting = [actor.up.remote() for actor in actors]
        for _ in range(START_SECONDS):
            beat(0)
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=1.0)
            if not waiting:
                self._actors = actors
                return
        raise NoListeners(f"no room for {self.count} listeners for each worker of tokens; see run.stages.{STAGE}")
