"""Hosts with addresses of their own on one machine: network namespaces on a bridge, and a Ray cluster whose nodes are such hosts.

The bridge stands in a namespace of its own, so nothing of the machine's own network is touched; with the namespaces all that is in them
goes. Needs root, and the program ``ip``: :func:`network` skips the calling test, and says why, where namespaces are not permitted.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.faults.heads import PATIENT, UP
from tests.faults.nodes import HIDE

NETWORK = "10.77.0"
CLONE_NEWNET = 0x40000000  # of <sched.h>; Python 3.12 has it in os
SWITCH = "switch"  # its address is that of whatever is no node, such as a server of files
# A node that does not answer for two seconds is given up: by default that takes a quarter of a minute, or a whole one.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}  # fmt: skip


def ip(*arguments: str) -> None:
    """``ip``, with its own words where it fails."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@dataclass(frozen=True)
class Network:
    """Hosts by name, numbered from 1 on; the switch is number 1."""

    prefix: str
    hosts: Sequence[str]

    def address(self, host: str) -> str:
        return f"{NETWORK}.{1 + self.hosts.index(host)}"

    def namespace(self, host: str) -> str:
        return f"{self.prefix}-{host}"

    def within(self, host: str, command: Sequence[str], hide: Sequence[Path] = (), alone: bool = False) -> list[str]:
        """``command`` as a process of a host, which finds nothing in the folders to ``hide`` and, ``alone``, sees no other process.

        What it mounts is seen by nobody else.
        """
        empty = "".join(f"mount -t tmpfs none {folder} && " for folder in hide)
        apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"] if alone else []
        return ["ip", "netns", "exec", self.namespace(host), *apart, "sh", "-c", f'{empty}exec "$@"', "sh", *command]

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """What this thread does here, and processes that it starts, are on a host."""
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(namespace: IO[bytes]) -> None:
            if libc.setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

        with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{self.namespace(host)}", "rb") as there:
            enter(there)
            try:
                yield
            finally:
                enter(home)

    def cut(self, host: str) -> None:
        """Pull the host's plug at the switch."""
        ip("-n", self.namespace(SWITCH), "link", "set", f"to-{host}", "down")

    def mend(self, host: str) -> None:
        ip("-n", self.namespace(SWITCH), "link", "set", f"to-{host}", "up")

    def build(self) -> None:
        for host in self.hosts:
            ip("netns", "add", self.namespace(host))
            ip("-n", self.namespace(host), "link", "set", "lo", "up")
        switch = self.namespace(SWITCH)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "address", "add", f"{self.address(SWITCH)}/24", "dev", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for host in (h for h in self.hosts if h != SWITCH):
            mine = self.namespace(host)
            ip("-n", switch, "link", "add", f"to-{host}", "type", "veth", "peer", "name", "eth0", "netns", mine)
            ip("-n", switch, "link", "set", f"to-{host}", "master", "bridge", "up")
            ip("-n", mine, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            ip("-n", mine, "link", "set", "eth0", "up")

    def processes(self, host: str) -> dict[int, str]:
        """What runs on a host: ids and command lines."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.namespace(host)], capture_output=True, text=True, check=False
        )
        running: dict[int, str] = {}
        for process_id in map(int, found.stdout.split()):
            with suppress(OSError):
                running[process_id] = Path(f"/proc/{process_id}/cmdline").read_text(errors="replace").replace("\0", " ")
        return running

    def end(self, host: str) -> None:
        """Kill every process of a host, and nothing else."""
        while found := self.processes(host).keys() - {os.getpid()}:
            for process_id in found:
                with suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)
            time.sleep(0.05)

    def remove(self) -> None:
        """All of it that is there, whatever else fails."""
        for host in self.hosts:
            self.end(host)
            subprocess.run(["ip", "netns", "delete", self.namespace(host)], capture_output=True, check=False)


@contextmanager
def network(hosts: Sequence[str]) -> Iterator[Network]:
    """A network of these hosts and the switch. Skips the calling test where this user or this machine may have none."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and the program ip")
    made = Network(f"speechmill-{secrets.token_hex(3)}", [SWITCH, *hosts])
    try:
        try:
            made.build()
        except OSError as error:
            pytest.skip(f"this machine permits no network namespaces ({error})")
        yield made
    finally:
        made.remove()


@dataclass
class Host:
    """A node of the cluster: ``ray start --block``, and all it has started."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")


@dataclass
class Hosts:
    """A Ray cluster on a network. The first host is the head; a host without CPUs is one to drive from."""

    net: Network
    folder: Path
    offers: Mapping[str, Mapping[str, str]]
    hide: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: dict[str, Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.secret = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.head = next(iter(self.offers))
        (self.folder / "sitecustomize.py").write_text(HIDE)

    @property
    def address(self) -> str:
        return f"{self.net.address(self.head)}:6379"

    def start(self, host: str) -> None:
        """``ray start`` on a host, again where it was there before."""
        mine = self.folder / host
        shutil.rmtree(mine, ignore_errors=True)
        mine.mkdir()
        where = (
            ["--head", "--port=6379", "--include-dashboard=false"]
            if host == self.head
            else [f"--address={self.address}"]
        )
        offers = [f"--{name}={value}" for name, value in self.offers[host].items()]
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *where, *offers, f"--node-ip-address={self.net.address(host)}",
            f"--temp-dir={mine}", "--object-store-memory=100000000",
        ]  # fmt: skip
        environment = {
            **os.environ,
            **self.secret,
            **self.environment,
            **PATIENT,
            **QUICK,
            "PYTHONPATH": str(self.folder),
        }
        output = self.folder / f"{host}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                self.net.within(host, command, self.hide), cwd=self.folder, env=environment, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self.nodes[host] = Host(process, output)

    def wait(self, host: str, seconds: float = 120) -> None:
        node, deadline = self.nodes[host], time.monotonic() + seconds
        while UP not in node.said:
            assert node.process.poll() is None, node.said
            assert time.monotonic() < deadline, f"{host} does not come up: {node.said}"
            time.sleep(0.2)

    def again(self, host: str) -> None:
        """The node as if its machine had been started anew."""
        self.stop(host)
        self.start(host)
        self.wait(host)

    def stop(self, host: str) -> None:
        """Kill the node and all that runs on its host."""
        self.net.end(host)
        self.nodes.pop(host).process.wait(timeout=20)


@contextmanager
def hosts(
    net: Network,
    offers: Mapping[str, Mapping[str, str]],
    hide: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Hosts]:
    """A node for each host, which offers what ``ray start`` is told (``num-cpus``, ``resources``)."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: Ray puts sockets below it
    made = Hosts(net, folder, offers, hide, environment or {})
    try:
        made.start(made.head)
        made.wait(made.head)
        for host in list(offers)[1:]:
            made.start(host)
        for host in list(offers)[1:]:
            made.wait(host)
        yield made
    finally:
        for host in list(made.nodes):
            made.stop(host)
        shutil.rmtree(folder, ignore_errors=True)
