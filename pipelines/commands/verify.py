"""``speechmill verify`` and ``repair`` on the command line."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from pipelines.commands.options import FAULTS, JsonOpt, OutArg, bar, console


def verify(
    out: OutArg = "out",
    reencode: Annotated[
        int, typer.Option(help="Utterances whose tokens are made again from the corpus and compared.")
    ] = 20,
    json_out: JsonOpt = False,
) -> None:
    """Recompute hashes, sums, shapes, ranges, order and splits, and re-encode a sample. Exit code 1 if anything is wrong."""
    from pipelines.look import require_output
    from pipelines.verify.verify import verify as check

    require_output(out)
    with bar() as progress:
        verdict = check(out, reencode, progress)
    if json_out:
        faults = [
            {"where": f.where, "key": f.key, "what": f.what, "remedy": f.remedy, "warning": f.warning}
            for f in verdict.faults
        ]
        sys.stdout.write(
            json.dumps({"ok": verdict.ok, "faults": faults, "notes": verdict.notes, "samples": verdict.samples}) + "\n"
        )
    else:
        for line in [*verdict.faults, *(f"note: {note}" for note in verdict.notes)]:
            sys.stdout.write(f"{line}\n")
        made_again = f"{verdict.reencoded} made again from their sound"
        sys.stdout.write(
            f"{'verified' if verdict.ok else 'FAULTS'}: {verdict.samples} samples read, {made_again}, {len(verdict.faults)} faults\n"
        )
    if not verdict.ok:
        raise typer.Exit(FAULTS)


def repair(
    out: OutArg = "out",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be made anew; change nothing.")] = False,
    workers: Annotated[int | None, typer.Option(help="Parallel workers, instead of those the recipe has.")] = None,
    reencode: Annotated[
        int,
        typer.Option(
            help="Utterances whose tokens are made again from the corpus and compared, too; none: on another kind of processor whole bytes may differ in the last bit."
        ),
    ] = 0,
) -> None:
    """Make anew what `verify` finds damaged, by the recipe that OUT records, and verify the whole.

    Only units that are hit, and what was made of them, are removed and made again. Exit code 1 if a fault is left (--dry-run: if there is one).

    Examples:  speechmill repair out --dry-run
               speechmill repair out
    """
    from pipelines.repair.repair import planned_repair
    from pipelines.repair.repair import repair as mend

    with bar() as progress:
        done = planned_repair(out, reencode, progress) if dry_run else mend(out, console(), workers, reencode, progress)
    left = done.verdict.faults if done.verdict else ()
    for line in [*done.parts, *(f"{name}: made anew it has other bytes" for name in done.different), *left]:
        sys.stdout.write(f"{line}\n")
    found = f"{len(done.parts)} to make anew" if dry_run else f"{len(done.parts)} made anew, {len(left)} faults left"
    sys.stdout.write(f"{out}: {found}{'; verified' if done.verdict and done.ok else ''}\n")
    if not done.ok or (dry_run and done.parts):
        raise typer.Exit(FAULTS)
