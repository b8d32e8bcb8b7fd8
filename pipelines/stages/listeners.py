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
from typing import Any, NamedTuple

from manifests.fetch import Fetcher
from manifests.ledger import Outcome
from manifests.settings.run import RunSettings
from pipelines.engine.commit import node
from pipelines.engine.contract import Beat, NodeLost
from pipelines.engine.room import Demand
from pipelines.stages.hearing import Ear, Heard

STAGE = "clean"
AHEAD = 8  # utterances in flight for each listener
START_SECONDS = 120  # after which listeners that have not come up are given up
FATE_SECONDS = 120  # within which Ray is to say what became of a listener that does not answer
GONE = 1  # exit code of a worker whose listener died


class NoListeners(RuntimeError):
    """The cluster has no room for the listeners that the recipe asks for."""


class _Listener:
    """What runs on the other node."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    def hear(self, cut: Mapping[str, Any]) -> Heard | Outcome:
        return self._ear.hear(cut)

    def up(self) -> str:
        """The id of the node it runs on."""
        return node()


def ear_for(ear: Ear, run: RunSettings) -> Ear | Listeners:
    """Who hears: ``ear`` itself, or listeners where ``run.stages`` has a ``clean`` and there is Ray."""
    if not run.listeners or run.workers == 0:
        return ear
    return Listeners(ear, run.listeners, Demand.of(run.of(STAGE)).options())


class _Hired(NamedTuple):
    actor: Any
    node: str


@dataclass
class Listeners:
    """``count`` workers that hear for this one; started when they are first needed, gone when it goes."""

    ear: Ear
    count: int
    options: Mapping[str, Any]
    _hired: list[_Hired] = field(default_factory=list)

    @property
    def fetch(self) -> Fetcher:
        return self.ear.fetch

    def hear(self, cut: Mapping[str, Any]) -> Heard | Outcome:
        """One utterance, heard on the spot."""
        return self.ear.hear(cut)

    def hear_all(self, cuts: Iterable[Mapping[str, Any]], beat: Beat) -> Iterator[Heard | Outcome]:
        """What is heard of each cut, in order.

        A listener that dies takes this process with it: the engine then finds the utterance that kills, as it does for any worker.
        Raises :class:`NodeLost` where it went with its node, or was out of reach: no utterance is to blame for that.
        """
        self._start(beat)
        turn, window = cycle(self._hired), deque[tuple[_Hired, Any]]()
        for cut in cuts:
            listener = next(turn)
            window.append((listener, listener.actor.hear.remote(cut)))
            if len(window) >= AHEAD * self.count:
                yield self._heard(*window.popleft(), beat)
        while window:
            yield self._heard(*window.popleft(), beat)

    def _heard(self, listener: _Hired, reference: Any, beat: Beat) -> Heard | Outcome:
        import ray
        from ray.exceptions import ObjectLostError, RayActorError

        try:
            return ray.get(reference)
        except RayActorError:
            if self._died(listener, beat):
                os._exit(GONE)
        except ObjectLostError:
            """What it heard lay on its node, and went with it."""
        self._dismiss()
        raise NodeLost("the node that decoded for it is gone")

    def _died(self, listener: _Hired, beat: Beat) -> bool:
        """Whether a listener that does not answer died by itself, and not with its node: known as soon as Ray's head knows."""
        import ray
        from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError

        for _ in range(FATE_SECONDS):
            beat(0)
            try:
                ray.get(listener.actor.up.remote(), timeout=1.0)
                return False  # it was only out of reach
            except (ActorUnavailableError, GetTimeoutError):
                continue
            except RayActorError:
                return any(found["Alive"] and found["NodeID"] == listener.node for found in ray.nodes())
        return False

    def _dismiss(self) -> None:
        """Let all of them go: others are started for the next unit."""
        import ray

        for listener in self._hired:
            ray.kill(listener.actor)
        self._hired.clear()

    def _start(self, beat: Beat) -> None:
        """Wait for the listeners, with signs of life meanwhile. Raises :class:`NoListeners`."""
        import ray

        if self._hired:
            return
        listener: Any = ray.remote(**self.options)(_Listener)
        ear = ray.put(self.ear)
        actors = [listener.remote(ear) for _ in range(self.count)]
        answers = [actor.up.remote() for actor in actors]
        for _ in range(START_SECONDS):
            beat(0)
            _, waiting = ray.wait(answers, num_returns=len(answers), timeout=1.0)
            if not waiting:
                self._hired = [_Hired(*pair) for pair in zip(actors, ray.get(answers), strict=True)]
                return
        raise NoListeners(f"no room for {self.count} listeners for each worker of tokens; see run.stages.{STAGE}")
