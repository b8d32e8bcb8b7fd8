"""``speechmill status`` and ``quarantine`` on the command line."""

from __future__ import annotations

import json
import sys

from rich.console import Console

from pipelines.commands.options import JsonOpt, OutArg


def status(out: OutArg = "out", json_out: JsonOpt = False) -> None:
    """Stages, units, ledger, hours and rates of an output root, finished or not."""
    from pipelines.look import require_output
    from pipelines.status import status as look

    require_output(out)
    found = look(out)
    if json_out:
        sys.stdout.write(json.dumps(found.to_json()) + "\n")
    else:
        found.render(Console(highlight=False))


def quarantine(out: OutArg = "out") -> None:
    """Print every filtered and quarantined utterance with its reason, one JSON object a line."""
    from pipelines.look import require_output
    from pipelines.status import quarantine as set_aside

    require_output(out)
    for outcome in set_aside(out):
        sys.stdout.write(json.dumps(outcome.to_json(), ensure_ascii=False) + "\n")
