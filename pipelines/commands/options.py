"""What several commands share: arguments, exit codes, the console and the progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

FAULTS, USAGE, UNFINISHED, INTERRUPTED = 1, 2, 3, 130

RecipeArg = Annotated[
    str, typer.Argument(help="A recipe: path of a YAML file, or the name of a shipped one (corpus, demo).")
]
OutOpt = Annotated[str, typer.Option("--out", "-o", help="Output root: a folder or an fsspec URL.")]
SetOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override one value that --print-recipe shows: --set KEY=VALUE (repeatable); quote it all where VALUE has spaces or braces.",
    ),
]
OutArg = Annotated[str, typer.Argument(help="The output root of `speechmill data`.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of tables.")]

PrecisionOpt = Annotated[
    str, typer.Option(help="Numbers of talkers: fp32, or bf16: faster where the processor has it.")
]
DeviceOpt = Annotated[
    str | None, typer.Option(help="Where talkers run: cpu, cuda, cuda:1; empty: a GPU where there is one.")
]
TopPOpt = Annotated[
    float, typer.Option("--top-p", help="Draw among the likeliest codes that hold so much of the mass.")
]

PRESETS = (  # training/policies knows them too, but loads torch
    "cosine, decaying, dilated, ending, entropy, even, gap, gap_threshold, left_to_right, margin, pmi, prefix, quantile, random, threshold, threshold_even"
)
WRITTEN = f"{PRESETS}; or scores, budgets and filters joined by +, as in pmi+threshold:0.8+min_gap:2 (docs/talker.md)"


def console() -> Console:
    """What people are told, beside what a command prints."""
    return Console(stderr=True, highlight=False)


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    with Progress(console=console(), transient=True, disable=not sys.stderr.isatty()) as shown:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, of: int) -> None:
            tasks.setdefault(what, shown.add_task(what) if what not in tasks else tasks[what])
            shown.update(tasks[what], completed=done, total=of or None)

        yield show
