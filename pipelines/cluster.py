"""Starting or joining Ray, once."""

from __future__ import annotations

import importlib
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from manifests.settings.run import RunSettings
from pipelines.engine.contract import RunFailed

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
# A worker makes and frees the same large arrays for each utterance. By default glibc gives them back to the kernel each time, which then
# clears every page again. What that saves differs: 3 % in docs/results.md. Other allocators ignore these.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20), "MALLOC_TOP_PAD_": str(16 * 2**20),
}  # fmt: skip
ENVIRONMENT = {**THREADS, **ALLOCATOR}
CONNECT_SECONDS = 10.0
CLIENT = "ray://"
NO_NODE = "resolve node to connect to"  # how Ray tells that none of its cluster's nodes is on this machine
ROOMS = ("manifests", "tokenization", "training", "pipelines")


class ClusterUnreachable(RunFailed):
    """There is no Ray cluster to join at the address that was given, or none can be started here."""


class _NoNode(ConnectionError):
    """This machine is no node of any Ray cluster."""


# Else the driver waits for Ray's first workers, and for ever where one of them dies as it starts (ray-project/ray#40131).
WITHOUT_WAITING = {"prestart_worker_first_driver": False}


def cpus_of_our_own(settings: RunSettings, cores: int) -> int:
    """How many CPUs a cluster that is started here is said to have: enough for the workers, and for those that hear for the workers of tokens.

    With room for the workers alone they would wait for their listeners, and the listeners for them.
    """
    whole = (settings.workers or cores) * settings.cpus_per_worker
    if settings.listeners:
        tokens, clean = settings.of("tokens"), settings.of("clean")
        each = (tokens.cpus or 0) + settings.listeners * (clean.cpus or 0)
        whole = max(whole, (tokens.workers or cores) * each)
    return max(1, math.ceil(whole))


TRIES = 3
STILLBORN = ("Starting Ray client server failed", "Proxy failed to Connect to backend")  # in Ray's own words


@dataclass
class Cluster:
    """Ray as this run uses it. Workers are given one thread each: more workers, not more threads, and one thread setting."""

    settings: RunSettings
    _started: bool = False
    _ours: bool = False

    def start(self) -> None:
        """Join the cluster at ``run.address``, or start one on this machine; the second call does nothing.

        Raises :class:`ClusterUnreachable` where that fails.
        """
        if self._started:
            return
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault(
            "RAY_ENABLE_AUTO_CONNECT", "0"
        )  # else Ray starts some cluster where a call finds that its own is gone
        import ray

        if ray.is_initialized():
            self._started = True
            return
        options = {"logging_level": logging.ERROR, "log_to_driver": False, "runtime_env": self._environment()}
        try:
            with _own_signals():
                self._init(**self._where(), **options)
            if self.through_client:
                ray.put(self.settings)  # what cannot be read there says so now
        except Exception as error:  # Ray raises anything here: plain Exception where its processes are slow
            raise ClusterUnreachable(_refusal(self.settings.address, error)) from error
        self._started = self._ours = True

    def _init(self, **options: Any) -> None:
        """``ray.init``; again where the process that Ray starts for a client dies as it starts, as it now and then does on a busy head."""
        import ray

        for _ in range(TRIES - 1):
            try:
                ray.init(**options)
                return
            except ConnectionAbortedError as error:
                if not any(words in str(error) for words in STILLBORN):
                    raise
        ray.init(**options)

    @property
    def through_client(self) -> bool:
        """Whether Ray's client speaks for this process, which then need not run on a node."""
        return (self.settings.address or "").startswith(CLIENT)

    def _where(self) -> dict[str, Any]:
        """The options of ``ray.init`` that say what to join or to start. Raises OSError or ValueError where nobody answers."""
        address = self.settings.address
        if address:
            if _knock(address) and not self.through_client:
                _belong()
            return {"address": address}
        cpus = cpus_of_our_own(self.settings, os.cpu_count() or 1)
        # Without an address Ray would join whatever cluster was last started on this machine, be it there or not.
        return {"address": "local", "num_cpus": cpus, "include_dashboard": False, "_system_config": WITHOUT_WAITING}

    def _environment(self) -> dict[str, Any]:
        """What workers find around them: variables and, where it is to be shipped, this code before any that is installed there."""
        if not (self.settings.ship and self.settings.address):
            return {"env_vars": ENVIRONMENT}
        return {"env_vars": ENVIRONMENT, "py_modules": [importlib.import_module(room).__path__[0] for room in ROOMS]}

    def stop(self) -> None:
        """Let go of the cluster; end it if it was started here."""
        if self._ours:
            import ray

            ray.shutdown()
            self._ours = self._started = False


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does on SIGTERM, also while Ray starts: its driver would end at once, where a run is to finish its units."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    from ray._private import utils, worker  # there is no other way to keep Ray from it

    before, theirs, connect = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler, worker.connect

    def quietly(*args: Any, **options: Any) -> Any:
        """Ray's library sets a handler of its own under Python's, which ends the process: a SIGTERM waits until ours is back."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return connect(*args, **options)
        finally:
            signal.signal(signal.SIGTERM, before)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    utils.set_sigterm_handler, worker.connect = lambda handler: None, quietly
    try:
        yield
    finally:
        utils.set_sigterm_handler, worker.connect = theirs, connect


def _refusal(address: str | None, error: Exception) -> str:
    """One line: what could not be had, why, and what to do."""
    why, resume = " ".join(str(error).split())[:300], "nothing is lost: run again to resume"
    if isinstance(error, _NoNode) or NO_NODE in str(error):
        return (
            f"this machine is no node of the Ray cluster at {address}: start speechmill on one of its nodes, "
            f"make this one a node with `ray start --address={address} --num-cpus=0`, or come as a client, by ray://; {resume}"
        )
    if isinstance(error, ModuleNotFoundError):
        return f"the head of the Ray cluster at {address} lacks this project ({error}): install it there, or set run.ship; {resume}"
    if address is None:
        return f"Ray does not start on this machine ({why}); is it very busy, or out of memory? {resume}"
    return (
        f"no Ray cluster to join at {address} ({why}); start one with `ray start --head`, or mend run.address; {resume}"
    )


def _knock(address: str) -> bool:
    """Open and close a connection: Ray itself waits long, and may abort the process, where nobody answers. Raises OSError, ValueError.

    False for ``auto`` and ``local``, which name no host.
    """
    where = urlsplit(address if "://" in address else f"//{address}")
    if not (where.hostname and where.port):
        return False
    socket.create_connection((where.hostname, where.port), timeout=CONNECT_SECONDS).close()
    return True


def _belong() -> None:
    """Raises :class:`_NoNode` where no node of Ray runs on this machine: Ray itself would look for one for a minute."""
    from ray._private.services import find_node_ids

    if not find_node_ids():
        raise _NoNode
