"""Running code in a process that cannot grow, and that nothing of its parent keeps alive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_DATA, ({bytes}, {bytes}))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
"""


def bounded(code: str, *arguments: str, megabytes: int = 2048, seconds: int = 200) -> subprocess.CompletedProcess[str]:
    """``code`` with ``sys.argv[1:] = arguments``, in at most so much memory and time on the processor."""
    whole = LIMIT.format(bytes=megabytes * 2**20, seconds=seconds) + code
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", whole, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
