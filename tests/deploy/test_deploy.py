"""Deployment files, as far as a machine without those systems can tell: schemas, structure, a dry run, and agreement with the project."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
import ray
import yaml

from manifests.recipe import load
from pipelines.engine.room import Demand

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    """Name and version of everything that ``pyproject.toml`` pins."""
    extras = [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
    pinned = [re.sub(r"\[.*?\]", "", one).split("==") for one in (*PROJECT["dependencies"], *extras)]
    return {name.lower(): version for name, version in pinned}


def test_constraints_pin_each_package_once_and_none_against_the_project() -> None:
    rows = [line.split("==") for line in (DEPLOY / "constraints.txt").read_text().splitlines()]
    found = {name.lower().replace("_", "-"): version for name, version in rows}
    assert len(found) == len(rows)
    agreed = {name: found.get(name.replace("_", "-"), version) for name, version in pins().items()}
    assert agreed == pins()


def test_the_recipe_for_clusters_is_one_and_asks_for_what_the_cluster_files_offer() -> None:
    run = load(str(DEPLOY / "recipe.yaml")).run
    nodes = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())["available_node_types"]
    for stage in ("ingest", "fit", "tokens", "masks"):
        demand = Demand.of(run.of(stage))
        assert any(demand.times_in(node["resources"]) for node in nodes.values()), f"{stage} fits on no node: {demand}"


def test_the_ray_cluster_is_one_by_rays_own_schema() -> None:
    value = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(value, schema)
    assert value["head_node_type"] in value["available_node_types"]
    assert not set(value) - set(schema["properties"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "provider": {}}, schema)


def _containers(group: dict[str, Any]) -> list[dict[str, Any]]:
    return group["template"]["spec"]["containers"]


def test_the_ray_job_has_the_fields_of_its_definition_and_this_ray() -> None:
    value = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    assert (value["apiVersion"], value["kind"]) == ("ray.io/v1", "RayJob")
    spec, cluster = value["spec"], value["spec"]["rayClusterSpec"]
    assert set(spec) <= {
        "entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec",
    }  # fmt: skip
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
    assert set(cluster) == {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"}
    assert cluster["rayVersion"] == ray.__version__
    assert shlex.split(spec["entrypoint"])[:2] == ["speechmill", "data"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay takes strings only"
        volumes = {volume["name"] for volume in group["template"]["spec"].get("volumes", [])}
        for container in _containers(group):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


FAKES = {
    "scontrol": 'printf "node%s\\n" 1 2 3',
    "srun": 'echo "srun $*" >>"$CALLS"; while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "ray": 'echo "ray $*" >>"$CALLS"; [[ $* == *--block* ]] && echo $$ >>"$CALLS.left" && exec sleep 60; exit 0',
    "speechmill": (
        'until [[ $(grep -c "^ray start --address" "$CALLS") == 2 ]]; do sleep 0.05; done; echo "speechmill $*" >>"$CALLS"; '
        "[[ -z ${RAY_AUTH_TOKEN:-} ]] && exit 9; exit ${ENDS_WITH:-0}"
    ),
}


def slurm(folder: Path, ends_with: int) -> tuple[int, list[str]]:
    """A dry run of the script, with stand-ins for Slurm, Ray and the command: its exit code, and what it called."""
    for name, body in FAKES.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(0o755)
    calls = folder / "calls"
    environment = {
        **os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(calls), "ENDS_WITH": str(ends_with),
        "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-3]",
    }  # fmt: skip
    command = ["bash", str(DEPLOY / "slurm.sh"), "RECIPE", "OUT", "--set", "name=x"]
    ended = subprocess.run(command, env=environment, timeout=60, check=False)
    left = [int(line) for line in Path(f"{calls}.left").read_text().split()]
    assert len(left) == 3
    assert not any(psutil.pid_exists(one) for one in left), "the script leaves processes behind"
    return ended.returncode, calls.read_text().splitlines()


@pytest.mark.parametrize("ends_with", [0, 3])
def test_the_slurm_script_starts_a_head_and_a_worker_on_every_other_node_then_runs_the_command(
    ends_with: int, tmp_path: Path
) -> None:
    code, calls = slurm(tmp_path, ends_with)
    assert code == ends_with
    head = [call for call in calls if call.startswith("srun") and "ray start --head" in call]
    workers = [call for call in calls if call.startswith("srun") and "ray start --address" in call]
    assert len(head) == 1
    assert "--nodelist=node1 " in head[0]
    assert sorted(re.findall(r"--nodelist=(\w+)", " ".join(workers))) == ["node2", "node3"]
    address = re.search(r"--address=(\S+)", workers[0])
    assert address is not None
    assert f"speechmill data RECIPE -o OUT --address {address[1]} --set name=x" in calls


def test_the_image_copies_what_is_there_and_installs_what_the_project_pins() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    copied = {source for step, rest in steps if step == "COPY" for source in rest.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    assert copied >= {"pyproject.toml", PROJECT["readme"], "manifests", "tokenization", "training", "pipelines"}
    asked = [word for step, rest in steps if step == "RUN" and "pip install" in rest for word in shlex.split(rest)]
    pinned = [word.split("==") for word in asked if "==" in word]
    assert pinned
    assert all(pins()[name] == version for name, version in pinned)
    [constraints] = {asked[i + 1] for i, word in enumerate(asked) if word == "-c"}
    assert constraints in copied
    extras = {extra for word in asked if word.startswith(".[") for extra in word[2:-1].split(",")}
    assert extras <= set(PROJECT["optional-dependencies"])
    python = next(rest for step, rest in steps if step == "FROM")
    assert python.removeprefix("python:").startswith(PROJECT["requires-python"].removeprefix(">="))
