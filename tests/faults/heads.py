"""``ray start --head`` in a process of its own, guarded by a token of its own, on ports of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.ports import free_ports

UP = "Ray runtime started"
SECONDS = 180  # until a cluster is up, on a busy machine
# A busy machine is slow to start what serves a client.
PATIENT = {"RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "60"}

MADE_UP = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "0"}
LISTS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands", "head_start_ray_commands",
    "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter",
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    """A cluster of one node, and what a driver's environment needs to be let in.

    address, client, dashboard    where a driver, Ray's client, and who submits jobs find it
    """

    process: subprocess.Popen[bytes]
    address: str
    client: str
    dashboard: str
    environment: dict[str, str] = field(repr=False)


@contextmanager
def cluster(cpus: int = 2, dashboard: bool = False, grows: Mapping[str, Any] | None = None) -> Iterator[Head]:
    """A head of its own until it is left; ``grows``: by nodes of these types, as Ray's autoscaler makes them up on one machine."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: Ray puts sockets below it
    head = _started(folder, cpus, dashboard, grows)
    try:
        deadline = time.monotonic() + SECONDS
        while UP not in (folder / "output").read_text(errors="replace"):
            assert head.process.poll() is None, (folder / "output").read_text(errors="replace")
            assert time.monotonic() < deadline, "the cluster does not come up"
            time.sleep(0.5)
        yield head
    finally:
        ended(head)
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, cpus: int, dashboard: bool, grows: Mapping[str, Any] | None) -> Head:
    port, client, web, agent, grpc = free_ports(5)
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--num-cpus={cpus}", f"--port={port}",
        f"--temp-dir={folder}", "--node-ip-address=127.0.0.1", f"--ray-client-server-port={client}",
        f"--include-dashboard={str(dashboard).lower()}", "--dashboard-host=127.0.0.1", f"--dashboard-port={web}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={grpc}",
    ]  # fmt: skip
    if grows is not None:
        (folder / "autoscaling.json").write_text(json.dumps(_growing(f"127.0.0.1:{port}", grows)))
        command.append(f"--autoscaling-config={folder / 'autoscaling.json'}")
    environment = {**os.environ, **PATIENT, **secret, **(MADE_UP if grows is not None else {})}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Head(process, f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}", f"http://127.0.0.1:{web}", secret)


def _growing(address: str, types: Mapping[str, Any]) -> dict[str, Any]:
    """A cluster as Ray's autoscaler reads it, whose nodes are processes here."""
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    made_up = {"use_node_id_as_ip": True, "disable_node_updaters": True, "disable_launch_config_check": True}
    return {
        "cluster_name": "made-up", "max_workers": 8, "upscaling_speed": 8.0, "idle_timeout_minutes": 5,
        "provider": {"type": "fake_multinode", "gcs_address": address, **made_up}, "auth": {}, "docker": {},
        "head_node_type": "ray.head.default", "available_node_types": {"ray.head.default": head, **types},
        "file_mounts": {}, **{name: [] for name in LISTS},
    }  # fmt: skip


def ended(head: Head) -> None:
    """End the head and everything it started, by process id."""
    if head.process.poll() is not None:
        return
    processes = [psutil.Process(head.process.pid), *psutil.Process(head.process.pid).children(recursive=True)]
    head.process.terminate()
    _, left = psutil.wait_procs(processes, timeout=15)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=15)
    head.process.wait(timeout=15)
