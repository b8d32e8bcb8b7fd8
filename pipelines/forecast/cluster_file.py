"""Descriptions of clusters: Ray's cluster YAML, a KubeRay object, or a plain list of nodes. Read as data, checked, refused by file and key.

nodes:
  cpu: {count: 32, cpus: 16, memory_gb: 32}
  gpu: {count: 8, cpus: 8, gpus: 1, resources: {near_storage: 8}}
start_seconds: 120        # until a node is up, where not all are: {least: 0, count: 32, ...}
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from manifests.recipe_file import RecipeError, check, read
from manifests.settings.base import Settings
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.nodes import NODE_START, ClusterShape, NodeType

Count = Annotated[int, Field(ge=0, le=100_000)]
Amount = Annotated[FiniteFloat, Field(ge=0)]
SUFFIXES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[kMGT]|[KMGT]i)?")
GPUS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915")  # as KubeRay takes them for Ray's GPU


class _Theirs(BaseModel):
    """Part of a file of another tool: what is not asked for is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PlainNode(Settings):
    """Nodes alike, in a plain description."""

    count: Count = Field(default=1, description="nodes there are, or may come")
    least: Count | None = Field(default=None, description="of them, those that are always up; empty: all")
    cpus: Amount
    gpus: Amount = 0.0
    memory_gb: Annotated[FiniteFloat, Field(gt=0)] | None = None
    resources: dict[str, Amount] = Field(default={})

    @model_validator(mode="after")
    def _least_is_least(self) -> PlainNode:
        if self.least is not None and self.least > self.count:
            raise ValueError(f"least ({self.least}) is more than count ({self.count})")
        return self

    def named(self, name: str) -> NodeType:
        memory = {} if self.memory_gb is None else {"memory": self.memory_gb * 2**30}
        offers = {"CPU": self.cpus, "GPU": self.gpus, **memory, **self.resources}
        return NodeType(name, offers, self.count if self.least is None else self.least, self.count)


class PlainCluster(Settings):
    """A list of nodes."""

    nodes: dict[str, PlainNode] = Field(min_length=1)
    start_seconds: Amount = NODE_START

    def shape(self, source: str) -> ClusterShape:
        return ClusterShape(
            source, tuple(n.named(name) for name, n in self.nodes.items()), start=float(self.start_seconds)
        )


class RayNode(_Theirs):
    resources: dict[str, Amount]  # Ray can find them out by itself on some clouds; nothing here can
    min_workers: Count = 0
    max_workers: Count | None = None


class RayCluster(_Theirs):
    """``available_node_types`` of a file for ``ray up``."""

    available_node_types: dict[str, RayNode] = Field(min_length=1)
    head_node_type: str
    max_workers: Count = 2  # Ray's own default

    @model_validator(mode="after")
    def _head_is_there(self) -> RayCluster:
        if self.head_node_type not in self.available_node_types:
            raise ValueError(f"head_node_type names {self.head_node_type!r}, which available_node_types does not have")
        return self

    def shape(self, source: str) -> ClusterShape:
        head = self.head_node_type
        types = [NodeType(head, self.available_node_types[head].resources, 1, 1, head=True)]
        for name, node in self.available_node_types.items():
            most = self.max_workers if node.max_workers is None else node.max_workers
            if name != head:
                types.append(NodeType(name, node.resources, min(node.min_workers, most), most))
        return ClusterShape(source, tuple(types), total=self.max_workers)


class KubeLimits(_Theirs):
    limits: dict[str, str | int | float] = Field(min_length=1)


class KubeContainer(_Theirs):
    resources: KubeLimits


class KubePod(_Theirs):
    containers: list[KubeContainer] = Field(min_length=1)


class KubeTemplate(_Theirs):
    spec: KubePod


class KubeGroup(_Theirs):
    """The head or a group of workers; the first container is Ray's."""

    groupName: str = "head"
    replicas: Count | None = None
    minReplicas: Count | None = None
    maxReplicas: Count | None = None
    rayStartParams: dict[str, str | int] = {}
    template: KubeTemplate

    def offers(self) -> dict[str, float]:
        """What Ray takes a pod of this group to have: its limits, unless Ray is started with other numbers."""
        limits = self.template.spec.containers[0].resources.limits
        found = {"CPU": quantity(limits.get("cpu", 0)), "GPU": sum(quantity(limits.get(name, 0)) for name in GPUS)}
        if "memory" in limits:
            found["memory"] = quantity(limits["memory"])
        told = {"num-cpus": "CPU", "num-gpus": "GPU", "memory": "memory"}
        return found | {told[k]: quantity(v) for k, v in self.rayStartParams.items() if k in told}

    @model_validator(mode="after")
    def _quantities_are_some(self) -> KubeGroup:
        self.offers()
        return self

    def named(self, grows: bool) -> NodeType:
        replicas = 0 if self.replicas is None else self.replicas
        if not grows:
            return NodeType(self.groupName, self.offers(), replicas, replicas)
        least = self.minReplicas or 0
        return NodeType(
            self.groupName, self.offers(), least, max(replicas if self.maxReplicas is None else self.maxReplicas, least)
        )


class KubeCluster(_Theirs):
    enableInTreeAutoscaling: bool = False
    headGroupSpec: KubeGroup
    workerGroupSpecs: list[KubeGroup] = []

    def shape(self, source: str) -> ClusterShape:
        head = NodeType("head", self.headGroupSpec.offers(), 1, 1, head=True)
        return ClusterShape(source, (head, *(g.named(self.enableInTreeAutoscaling) for g in self.workerGroupSpecs)))


class RayJob(_Theirs):
    class Spec(_Theirs):
        rayClusterSpec: KubeCluster

    kind: Literal["RayJob"]
    spec: Spec

    def shape(self, source: str) -> ClusterShape:
        return self.spec.rayClusterSpec.shape(source)


class KubeRayCluster(_Theirs):
    kind: Literal["RayCluster"]
    spec: KubeCluster

    def shape(self, source: str) -> ClusterShape:
        return self.spec.shape(source)


def quantity(value: str | float) -> float:
    """A Kubernetes quantity: ``16``, ``500m``, ``32Gi``. Raises ValueError."""
    found = QUANTITY.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(f"{value!r} is no quantity; write 16, 500m or 32Gi")
    return float(found[1]) * (1e-3 if found[2] == "m" else SUFFIXES[found[2] or ""])


Kind = type[PlainCluster] | type[RayCluster] | type[RayJob] | type[KubeRayCluster]
KINDS: tuple[tuple[Callable[[Mapping[str, Any]], bool], Kind], ...] = (
    (lambda value: "available_node_types" in value, RayCluster),
    (lambda value: value.get("kind") == "RayJob", RayJob),
    (lambda value: value.get("kind") == "RayCluster", KubeRayCluster),
    (lambda value: "nodes" in value, PlainCluster),
)


def load_cluster(path: str) -> ClusterShape:
    """The cluster that a file describes. Raises :class:`ForecastError`, a line for each fault, with file and key."""
    if not os.path.isfile(path):
        raise ForecastError(
            f"--cluster {path}: no such file; name a Ray cluster YAML, a KubeRay YAML or a list of nodes"
        )
    try:
        value = read(Path(path), what="a description of a cluster")
        kind = next((model for is_it, model in KINDS if is_it(value)), None)
        if kind is None:
            raise ForecastError(
                f"{path}: neither Ray's cluster YAML (available_node_types), nor KubeRay's (kind: RayJob or RayCluster), "
                "nor a list of nodes (nodes: {NAME: {count: 8, cpus: 16}})"
            )
        return check(kind, value, path).shape(path)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    except RecipeError as error:
        raise ForecastError(str(error)) from None


def alike(nodes: int, cpus: float, gpus: float) -> ClusterShape:
    """So many nodes alike."""
    return ClusterShape(
        f"{nodes} nodes of {cpus:g} CPUs and {gpus:g} GPUs",
        (NodeType("node", {"CPU": cpus, "GPU": gpus}, nodes, nodes),),
    )


def this_machine(gpus: int) -> ClusterShape:
    """The machine that asks, as a run without an address finds it."""
    cores = os.cpu_count() or 1
    return ClusterShape("this machine", (NodeType("this machine", {"CPU": float(cores), "GPU": float(gpus)}, 1, 1),))
