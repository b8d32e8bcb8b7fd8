"""What a worker asks of a node, how many there is room for, and what to say while there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from manifests.settings.run import StageSettings

PATIENCE = 30.0  # seconds without any worker until the wait is announced
ROUNDING = 1e-6  # of a worker: 1 / 0.1 is less than 10 in floating point
AGAIN = 600.0  # seconds between two announcements


@dataclass(frozen=True)
class Demand:
    """What one worker needs, in Ray's names (``CPU``, ``GPU``, ``memory`` in bytes, any other): amounts above 0."""

    amounts: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: StageSettings) -> Demand:
        memory = (settings.memory_gb or 0) * 2**30
        asked = {"CPU": settings.cpus or 0, "GPU": settings.gpus or 0, "memory": memory, **settings.resources}
        return cls({name: amount for name, amount in asked.items() if amount > 0})

    def options(self) -> dict[str, Any]:
        """As options of a Ray task or actor. A worker that is not placed stands as demand before Ray's autoscaler."""
        rest = {name: amount for name, amount in self.amounts.items() if name not in ("CPU", "GPU", "memory")}
        memory = {"memory": int(self.amounts["memory"])} if "memory" in self.amounts else {}
        return {
            "num_cpus": self.amounts.get("CPU", 0), "num_gpus": self.amounts.get("GPU", 0), "resources": rest, **memory
        }  # fmt: skip

    def times_in(self, offered: Mapping[str, float]) -> int:
        """How many workers there is room for in ``offered``."""
        return int(min((offered.get(name, 0) / amount + ROUNDING for name, amount in self.amounts.items()), default=1))

    def __str__(self) -> str:
        shown = {n: f"{a / 2**30:g} GiB" if n == "memory" else f"{a:g}" for n, a in self.amounts.items()}
        return ", ".join(f"{name} {amount}" for name, amount in shown.items()) or "nothing"


def nodes() -> list[Mapping[str, float]]:
    """What each node offers that is up."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def room_for(demand: Demand, offers: Iterable[Mapping[str, float]]) -> int:
    """How many workers the nodes have room for: each must find all it needs on one of them."""
    return sum(demand.times_in(offer) for offer in offers)


@dataclass
class Wait:
    """Says that a stage waits for room: at once where no node that is up is large enough, else after a while; then now and again."""

    stage: str
    workers: int
    demand: Demand
    console: Console
    nodes: Callable[[], list[Mapping[str, float]]] = nodes
    clock: Callable[[], float] = time.monotonic
    _since: float | None = None
    _said: float | None = None

    def over(self) -> None:
        """There is room now."""
        self._since = self._said = None

    def on(self) -> None:
        """There is none yet."""
        now = self.clock()
        if self._since is None:
            self._since = now
        if self._said is not None and now - self._said < AGAIN:
            return
        lacking = not room_for(self.demand, self.nodes())
        if lacking or now - self._since >= PATIENCE:
            self._said = now
            self.console.print(f"{self.stage}: waiting for {self._what(lacking)}", soft_wrap=True)

    def _what(self, lacking: bool) -> str:
        if not lacking:
            return f"Ray to start {self.workers} workers; are there free CPUs? Each needs {self.demand}"
        return (
            f"a node that has {self.demand} for a worker: none that is up has. Add one (an autoscaler may be doing so), "
            f"or change run.stages.{self.stage}"
        )
