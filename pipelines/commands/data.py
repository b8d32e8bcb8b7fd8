"""``speechmill data`` on the command line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipelines.commands.options import OutOpt, RecipeArg, SetOpt, console


def data(
    recipe: RecipeArg = "demo",
    out: OutOpt = "out",
    overrides: SetOpt = None,
    workers: Annotated[int | None, typer.Option(help="Parallel workers; 0 runs in this process without Ray.")] = None,
    address: Annotated[str | None, typer.Option(help="Join a Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")] = None,
    print_recipe: Annotated[bool, typer.Option("--print-recipe", help="Print the resolved recipe and stop.")] = False,
    report: Annotated[bool, typer.Option(help="Write report/index.html at the end.")] = True,
) -> None:
    """Make a dataset: speak (demo), ingest, cut up (segment), plan, hear (transcribe), fit, clean and tokenize, in parallel.

    What is finished is not done again; killed at any point, the same command resumes. Ctrl-C once lets running units
    finish, twice stops at once.

    Examples:  speechmill data demo -o out
               speechmill data corpus -o out --set corpus.layout=librispeech --set corpus.root=/data/LibriSpeech
    """
    from manifests.recipe import load
    from manifests.storage import Store
    from pipelines.data import opened
    from pipelines.report.page import NAME as PAGE
    from pipelines.summary import print_summary

    chosen = [*(overrides or []), *_run_overrides(workers, address)]
    resolved = load(recipe, chosen)
    if print_recipe:
        sys.stdout.write(resolved.to_yaml())
        return
    told = console()
    with opened(resolved, out, told) as run:
        result = run()
    if report and not (result.nothing_to_do and Store(out).exists(PAGE)):
        from pipelines.reporting import make_report

        make_report(out, told)
    print_summary(result, out, told)


def _run_overrides(workers: int | None, address: str | None) -> list[str]:
    chosen = {"run.workers": workers, "run.address": address}
    return [f"{key}={value}" for key, value in chosen.items() if value is not None]
