"""Signals: the first asks to drain, the second to stop, and none cuts short a process that is about to say how it ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAD = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler); from pipelines.engine.stopping import Stopping; stop = lambda: os.kill(os.getpid(), signal.{sent}); "


def said(code: str, sent: str) -> tuple[int, str]:
    """Exit code and output of a process that runs ``code``, in which ``stop()`` is a signal to itself."""
    command = [sys.executable, "-c", HEAD.format(sent=sent) + code]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
def test_once_drains_and_twice_stops(sent: str) -> None:
    code = "s = Stopping(60).__enter__(); stop(); print(s.draining, s.now); stop(); print(s.draining, s.now)"
    assert said(code, sent) == (0, "True False\nTrue True")


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
def test_a_second_signal_that_comes_late_takes_nobody_s_last_words(sent: str) -> None:
    code = "exec('with Stopping(60): stop()'); stop(); print('run again to resume')"
    assert said(code, sent) == (0, "run again to resume")


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
def test_where_nobody_asked_to_stop_signals_do_afterwards_what_they_did_before(sent: str) -> None:
    code = "exec('with Stopping(60): pass'); stop(); print('still here')"
    found, output = said(code, sent)
    assert found != 0
    assert output == ""


def test_a_signal_while_ray_starts_asks_to_drain_like_any_other() -> None:
    code = """
import sys, ray, ray._private.utils, ray._private.worker
from manifests.settings.run import RunSettings
from pipelines.cluster import Cluster
def connect():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray's library does below Python
    stop()
ray._private.worker.connect = connect
def init(**_):
    ray._private.utils.set_sigterm_handler(lambda *_: sys.exit(15))  # as the real one does
    stop()
    ray._private.worker.connect()
ray.init = init
with Stopping(60) as s:
    Cluster(RunSettings()).start()
    print(s.asked)
"""
    assert said(f"exec({code!r})", "SIGTERM") == (0, "2")


def test_what_ray_does_on_a_signal_it_sets_where_that_test_looks_for_it() -> None:
    import inspect

    from ray._private import node, worker

    assert "ray._private.utils.set_sigterm_handler(sigterm_handler)" in inspect.getsource(worker.init)
    assert "    connect(\n" in inspect.getsource(worker.init)
    assert "set_sigterm_handler(sigterm_handler)" in inspect.getsource(node.Node._register_shutdown_hooks)
