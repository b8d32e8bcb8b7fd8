"""Descriptions of clusters: those that are shipped are read, a plain one says the same, and what is wrong is named by file and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manifests.recipe import load
from pipelines.engine.contract import Unit
from pipelines.engine.room import Demand
from pipelines.forecast.amount import Amount
from pipelines.forecast.cluster_file import load_cluster, quantity
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.measured import Measurement, Piece
from pipelines.forecast.nodes import room
from pipelines.forecast.predict import predict

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SHIPPED = ("ray-cluster.yaml", "rayjob.yaml")
CPU, QUARTER = Demand({"CPU": 1.0}), Demand({"CPU": 1.0, "GPU": 0.25})
PLAIN = """
nodes:
  cpu: {least: 0, count: 32, cpus: 16, memory_gb: 32}
  gpu: {least: 0, count: 8, cpus: 8, gpus: 1, resources: {near_storage: 2}}
start_seconds: 60
"""


def written(folder: Path, text: str) -> str:
    path = folder / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_files_offer_32_nodes_of_16_cpus_and_8_with_a_gpu(name: str) -> None:
    cluster = load_cluster(str(DEPLOY / name))
    assert cluster.grows
    assert room(cluster, CPU) == 32 * 16 + 8 * 8
    assert room(cluster, QUARTER) == 8 * 4
    assert room(cluster, CPU, most=False) == 0
    assert {t.name: (t.least, t.most, t.head) for t in cluster.types} == {
        "head": (1, 1, True), "cpu": (0, 32, False), "gpu": (0, 8, False),
    }  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_recipe_is_foretold_on_them(name: str) -> None:
    measured = [Measurement(stage, "probe", (Piece(10.0, 1800.0),)) for stage in ("tokens", "masks")]
    amount = Amount.of_units([Unit(0, 100, 1800.0)]).at(6000.0, 1800.0)
    seen = predict(measured, amount, load(str(DEPLOY / "recipe.yaml")).run, load_cluster(str(DEPLOY / name)), {})
    assert [s.workers for s in seen.stages] == [32, 64]
    assert seen.total("gpu_hours") == pytest.approx(32 * 0.25 * seen.stages[0].seconds / 3600)


def test_a_plain_description_says_the_same(tmp_path: Path) -> None:
    cluster = load_cluster(written(tmp_path, PLAIN))
    assert (room(cluster, CPU), room(cluster, QUARTER), cluster.start) == (32 * 16 + 8 * 8, 32, 60.0)
    assert room(cluster, Demand({"CPU": 1.0, "memory": 16 * 2**30})) == 64
    assert room(cluster, Demand({"near_storage": 1.0})) == 16


def test_a_plain_node_is_up_unless_fewer_are_said_to_be(tmp_path: Path) -> None:
    assert not load_cluster(written(tmp_path, "nodes: {a: {count: 3, cpus: 2}}")).grows
    assert load_cluster(written(tmp_path, "nodes: {a: {count: 3, least: 1, cpus: 2}}")).grows


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_of_kuberay_limits_count_unless_ray_is_started_with_others(kind: str, tmp_path: Path) -> None:
    limits = {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": 2}
    group = {
        "rayStartParams": {"num-cpus": "3"},
        "template": {"spec": {"containers": [{"resources": {"limits": limits}}]}},
    }
    spec = {"headGroupSpec": group, "workerGroupSpecs": [{"groupName": "w", "replicas": 4, "maxReplicas": 9, **group}]}
    whole = {"kind": kind, "spec": {"rayClusterSpec": spec} if kind == "RayJob" else spec}
    cluster = load_cluster(written(tmp_path, json.dumps(whole)))
    workers = cluster.types[1]
    assert workers.offers == {"CPU": 3.0, "GPU": 2.0, "memory": float(2**30)}
    assert (workers.least, workers.most) == (4, 4), "without an autoscaler there are as many as replicas says"


def test_quantities_are_kubernetes_own() -> None:
    assert [quantity(q) for q in ("16", 2, "500m", "1.5", "2Ki", "3G")] == [16.0, 2.0, 0.5, 1.5, 2048.0, 3e9]
    for wrong in ("", "-1", "1e3", "4 cores", "12Q"):
        with pytest.raises(ValueError, match="is no quantity"):
            quantity(wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "a description of a cluster is a mapping of blocks, this is a list"),
        ("x: 1", "neither Ray's cluster YAML"),
        ("nodes: {}", "nodes: "),
        ("nodes: {a: {cpus: -1}}", "nodes.a.cpus: "),
        ("nodes: {a: {cpu: 3}}", "nodes.a.cpu: unknown key; did you mean nodes.a.cpus?"),
        ("nodes: {a: {cpus: 3, count: 1, least: 4}}", "nodes.a: least (4) is more than count (1)"),
        ("nodes: {a: {cpus: .inf}}", "nodes.a.cpus: "),
        ("nodes: {a: {cpus: 1, count: 999999999}}", "nodes.a.count: "),
        ("available_node_types: {h: {}}\nhead_node_type: h", "available_node_types.h.resources: Field required"),
        ("available_node_types: {h: {resources: {CPU: 1}}}\nhead_node_type: x", "head_node_type names 'x'"),
        ("kind: RayJob", "spec: Field required"),
        ("kind: RayCluster\nspec: {headGroupSpec: {template: {spec: {containers: []}}}}", "containers: "),
        ("a: &a [1]\nnodes: *a", "an alias"),
        ("nodes: [", "not YAML"),
        ("!!python/object/apply:os.system [id]", "not YAML"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_key(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ForecastError) as refused:
        load_cluster(written(tmp_path, text))
    assert said in str(refused.value)
    assert all(line.startswith(str(tmp_path / "cluster.yaml")) for line in str(refused.value).splitlines())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ForecastError, match=r"--cluster .*nowhere.yaml: no such file"):
        load_cluster(str(tmp_path / "nowhere.yaml"))
