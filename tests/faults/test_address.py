"""Joining a running Ray cluster: the same bytes as alone; and one clear line where there is none to join."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.faults.command import run
from tests.small_corpus import fingerprints, write_corpus

UP = "Ray runtime started"


@dataclass(frozen=True)
class Head:
    """A cluster of one node with two CPUs, and what a driver's environment needs to be let in."""

    process: subprocess.Popen[bytes]
    address: str
    environment: dict[str, str] = field(repr=False)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def started(folder: Path) -> Head:
    """``ray start --head`` in a process of its own, guarded by a token of its own."""
    port, client, agent, grpc = free_ports(4)
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2", f"--port={port}",
        "--include-dashboard=false", f"--temp-dir={folder}", "--node-ip-address=127.0.0.1", f"--ray-client-server-port={client}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={grpc}",
    ]  # fmt: skip
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **secret}, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Head(process, f"127.0.0.1:{port}", secret)


def ended(head: Head) -> None:
    """End the head and everything it started, by process id."""
    processes = [psutil.Process(head.process.pid), *psutil.Process(head.process.pid).children(recursive=True)]
    head.process.terminate()
    _, left = psutil.wait_procs(processes, timeout=15)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=15)
    head.process.wait(timeout=15)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: Ray puts sockets below it
    head = started(folder)
    try:
        deadline = time.monotonic() + 120
        while UP not in (folder / "output").read_text(errors="replace"):
            assert head.process.poll() is None, (folder / "output").read_text(errors="replace")
            assert time.monotonic() < deadline, "the cluster does not come up"
            time.sleep(0.5)
        yield head
    finally:
        ended(head)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 12)


@pytest.fixture(scope="module")
def alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run in one process, without Ray."""
    out = tmp_path_factory.mktemp("alone")
    code, output = run(corpus, out, **{"run.workers": 0})
    assert code == 0, output
    return out


def test_a_joined_cluster_makes_the_same_bytes_and_goes_on_when_the_driver_leaves(
    head: Head, corpus: Path, alone: Path, tmp_path: Path
) -> None:
    for out in (tmp_path / "first", tmp_path / "second"):  # the second joins what the first left behind
        code, output = run(corpus, out, head.environment, **{"run.address": head.address})
        assert code == 0, output
        assert fingerprints(out) == fingerprints(alone)
    assert head.process.poll() is None, "a driver that leaves must not end the cluster it joined"


def test_more_workers_than_the_cluster_has_cpus_make_the_same_bytes(
    head: Head, corpus: Path, alone: Path, tmp_path: Path
) -> None:
    code, output = run(corpus, tmp_path, head.environment, **{"run.address": head.address, "run.workers": 4})
    assert code == 0, output
    assert fingerprints(tmp_path) == fingerprints(alone)


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_an_address_where_nothing_listens_is_one_line_and_loses_nothing(form: str, corpus: Path, alone: Path) -> None:
    before, [port] = fingerprints(alone), free_ports(1)
    address, begun = form.format(port=port), time.monotonic()
    more = {"run.address": address, "text.vocab_size": 280}  # another vocabulary: fit and tokens are to be made again
    code, output = run(corpus, alone, **more)
    assert code == 3
    [line] = [line for line in output.splitlines() if line.startswith("speechmill: ")]
    assert f"no Ray cluster to join at {address}" in line
    assert "ray start --head" in line
    assert "Traceback" not in output
    assert time.monotonic() - begun < 60
    assert fingerprints(alone) == before
