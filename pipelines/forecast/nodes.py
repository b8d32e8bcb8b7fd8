"""A cluster as a forecast sees it, and which workers find room on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.engine.room import ROUNDING, Demand

NODE_START = 180.0  # seconds until a node is up that an autoscaler asks for: a machine, an image, Ray


@dataclass(frozen=True)
class NodeType:
    """Nodes alike.

    offers        what one of them has, in Ray's names (``CPU``, ``GPU``, ``memory`` in bytes, any other)
    least, most   nodes that are always up, and those there may be
    head          the node of the driver, which no limit on further nodes counts
    """

    name: str
    offers: Mapping[str, float]
    least: int
    most: int
    head: bool = False


@dataclass(frozen=True)
class ClusterShape:
    """What nodes there are, or may come.

    total    nodes that may be up at once, beside the head; None: as many as the types allow
    start    seconds until a further node is up
    """

    source: str
    types: tuple[NodeType, ...]
    total: int | None = None
    start: float = NODE_START

    @property
    def grows(self) -> bool:
        return any(t.most > t.least for t in self.types)

    def nodes(self, worker: Demand, up: Mapping[str, int] | None = None, most: bool = True) -> list[Node]:
        """Every node that may work, in the order in which workers fill them: those that are ``up`` already (by type; ``least`` where it says
        nothing), then those that may come, unless not ``most``. GPUs come last where none is asked for.
        """
        up = up or {}
        now = [Node(t, True) for t in self.types for _ in range(up.get(t.name, t.least))]
        if not most:
            return _by_fit(now, worker)
        later = [Node(t, False) for t in self.types for _ in range(t.most - up.get(t.name, t.least))]
        room = len(later) if self.total is None else max(self.total - sum(not n.type.head for n in now), 0)
        return _by_fit(now, worker) + _by_fit(later, worker)[:room]


@dataclass
class Node:
    """One node while workers are placed on it."""

    type: NodeType
    up: bool
    left: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left = dict(self.type.offers)

    def take(self, demand: Demand, count: int) -> int:
        """Place up to ``count`` workers here; returns how many found room."""
        taken = min(demand.times_in(self.left) if demand.amounts else count, count)
        for name, amount in demand.amounts.items():
            self.left[name] = max(self.left[name] - taken * amount, 0.0) if taken else self.left.get(name, 0.0)
        return taken


@dataclass(frozen=True)
class Placed:
    """Workers of one stage, each on a node: (type, whether it was up), in the order in which they begin.

    used     nodes of each type that carry any of them, their helpers included
    """

    workers: tuple[tuple[str, bool], ...]
    used: Mapping[str, int]


def _by_fit(nodes: Sequence[Node], demand: Demand) -> list[Node]:
    """Nodes that have room for a worker first, and GPUs last where none is asked for."""
    spare = "GPU" not in demand.amounts
    return sorted(nodes, key=lambda n: (not demand.times_in(n.type.offers), spare and n.type.offers.get("GPU", 0) > 0))


def placed(nodes: Sequence[Node], worker: Demand, count: int, helper: Demand, helpers: int) -> Placed | None:
    """``count`` workers and ``helpers`` for each of them; None where they do not all find room."""
    homes, used = list[tuple[str, bool]](), dict[int, str]()
    for demand, wanted in ((worker, count), (helper, count * helpers)):
        left = wanted
        for node in nodes if demand is worker else _by_fit(nodes, demand):
            took = node.take(demand, left) if left else 0
            left -= took
            if took:
                used[id(node)] = node.type.name
            if took and demand is worker:
                homes += [(node.type.name, node.up)] * took
        if left:
            return None
    names = list(used.values())
    return Placed(tuple(homes), {name: names.count(name) for name in dict.fromkeys(names)})


def room(cluster: ClusterShape, worker: Demand, most: bool = True) -> int:
    """How many workers the cluster has room for: each finds all that it needs on one node."""
    return sum(worker.times_in(node.left) for node in cluster.nodes(worker, most=most))


def lacking(cluster: ClusterShape, worker: Demand) -> str | None:
    """What no node has enough of for one worker, or None where one fits."""
    if room(cluster, worker):
        return None
    short = [n for n, a in worker.amounts.items() if all(t.offers.get(n, 0) + ROUNDING < a for t in cluster.types)]
    return ", ".join(short) or "all of it on one node"
