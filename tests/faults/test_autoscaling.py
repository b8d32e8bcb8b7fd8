"""A cluster that begins without any worker and grows by what is asked of it: what waits for room is the demand. The same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.command import in_one_process, run
from tests.faults.heads import Head, cluster
from tests.small_corpus import fingerprints, write_corpus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TYPES = {
    "cpu": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    "large": {"resources": {"CPU": 0, "large": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
}
# A worker of tokens does nothing before the one that decodes for it is up, so both must find room; that of masks has it on one kind of node only.
STAGES = {
    "run.workers": 1, "run.stages.clean": "{workers: 1, cpus: 1}", "run.stages.masks": "{workers: 1, cpus: 0, resources: {large: 1}}",
}  # fmt: skip


def grown(head: Head, told: Path) -> list[dict[str, float]]:
    """What each node offers that is not the head, by way of a file: Ray prints what its autoscaler does between the lines."""
    code = (
        "import json, pathlib, ray, sys; ray.init(sys.argv[1], log_to_driver=False)\n"
        "pathlib.Path(sys.argv[2]).write_text(json.dumps([n['Resources'] for n in ray.nodes() if n['Alive']]))"
    )
    environment = {**os.environ, **head.environment}
    subprocess.run([sys.executable, "-c", code, head.address, str(told)], env=environment, check=True)
    return [offer for offer in json.loads(told.read_text()) if "node:__internal_head__" not in offer]


def test_workers_that_wait_bring_up_nodes_of_the_kind_they_need(tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", 24), tmp_path / "out"
    undisturbed = in_one_process(corpus, tmp_path / "alone", **{"plan.unit_seconds": 2})
    with cluster(cpus=0, grows=TYPES) as head:
        assert grown(head, tmp_path / "nodes.json") == []
        code, output = run(
            corpus, out, head.environment, **{"run.address": head.address, "plan.unit_seconds": 2, **STAGES}
        )
        assert code == 0, output
        kinds = sorted("large" in offer for offer in grown(head, tmp_path / "nodes.json"))
    assert kinds == [False, False, True], "not the nodes that were asked for, and no more"
    assert "waiting for a node that has CPU 1 for a worker: none that is up has" in output
    assert fingerprints(out) == undisturbed
