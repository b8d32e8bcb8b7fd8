"""A Ray cluster of several nodes on one machine, in a process of its own; run as a script, it obeys lines on its standard input.

    python nodes.py '[{"num_cpus": 1}, {"num_cpus": 1, "resources": {"tokenizer": 1}}]'

The first node is the head. It prints its address and the process id of each node's raylet as one line of JSON, and ends with its input.
The nodes have what Speechmill depends on, but not Speechmill: its packages are hidden from them, so they run what a driver ships or nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HIDE = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "speechmill" not in getattr(f, "__module__", type(f).__module__)]
"""
PATIENT = {"RAY_agent_register_timeout_ms": "120000"}  # a busy machine is slow to start several nodes
# Ports that are given need not be waited for: Ray's agents then may be slow to come up.
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@dataclass(frozen=True)
class Nodes:
    """The cluster, and what a driver's environment needs to be let in."""

    address: str
    raylets: list[int]
    environment: Mapping[str, str] = field(repr=False)

    def kill(self, number: int) -> None:
        """SIGKILL a node: its raylet goes, and its workers with it."""
        os.kill(self.raylets[number], signal.SIGKILL)


@contextmanager
def cluster(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Nodes]:
    """One node for each mapping of what it offers."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    (folder / "sitecustomize.py").write_text(HIDE)
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, __file__, json.dumps(list(nodes)), str(folder)]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **secret, **PATIENT, "PYTHONPATH": str(folder)}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=output, text=True, start_new_session=True,
        )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "output").read_text(errors="replace")
        found = json.loads(line)
        yield Nodes(found["address"], found["raylets"], secret)
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def ports() -> dict[str, int]:
    """Free ones for the agents of one node."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    found = {name: one.getsockname()[1] for name, one in zip(PORTS, held, strict=True)}
    for one in held:
        one.close()
    return found


def main(nodes: Sequence[Mapping[str, Any]], folder: str) -> None:
    from ray.cluster_utils import Cluster

    head = {**nodes[0], **ports(), "include_dashboard": False, "temp_dir": folder}
    made = Cluster(initialize_head=True, head_node_args=head)
    for node in nodes[1:]:
        made.add_node(**node, **ports())
    everyone = [made.head_node, *made.worker_nodes]
    raylets = [node.all_processes["raylet"][0].process.pid for node in everyone]
    print(json.dumps({"address": made.address, "raylets": raylets}), flush=True)
    sys.stdin.read()
    for node in everyone:
        node.kill_all_processes(check_alive=False, allow_graceful=False)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
