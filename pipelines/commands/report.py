"""``speechmill report`` on the command line."""

from __future__ import annotations

import sys

from pipelines.commands.options import OutArg, console


def report(out: OutArg = "out") -> None:
    """Write report/index.html: one page to read, see and hear what was made."""
    from pipelines.reporting import make_report

    sys.stdout.write(f"{make_report(out, console())}\n")
