"""``speechmill distill`` on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import OutArg, SetOpt, console


def distill(
    recipe: Annotated[
        str,
        typer.Argument(help="A training recipe whose stages learn from a record (isd, or the path of a YAML file)."),
    ] = "isd",
    dataset: OutArg = "out",
    run: Annotated[
        str | None, typer.Option("--out", "-o", help="Folder of the rounds; empty: runs/NAME, by the recipe's name.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Run that teaches the first round; empty: distillation.teacher of the recipe, else where it starts from."
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Each student teaches the next round; empty: the recipe's, which is 1.")
    ] = None,
    halve: Annotated[
        bool | None,
        typer.Option(
            "--halve/--no-halve",
            help="Half the teacher's iterations from round to round; empty: the recipe's, which is yes.",
        ),
    ] = None,
    overrides: SetOpt = None,
    processes: Annotated[int | None, typer.Option(min=1, help="That train, as of `speechmill train`.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="That teach, as of `speechmill data`; empty: as many as made the dataset.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Teach and train on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. The folders must be shared."
        ),
    ] = None,
) -> None:
    """Distil a talker into itself: teach the dataset, train on what was taught, and again.

    Killed at any point, the same command goes on; finished rounds (RUN/distill.json) are not done again. Round N lies in RUN/round-N.

    Examples:  speechmill distill isd out -o runs/isd --teacher runs/demo --rounds 2
               speechmill distill isd /data/out -o /data/runs/isd --address auto --processes 8
    """
    from rich.markup import escape

    from manifests.training_recipe import load
    from pipelines.distill import Distillation

    resolved, told = load(recipe, overrides or []), console()
    count, halved = rounds or resolved.rounds.count, resolved.rounds.halve if halve is None else halve
    made = Distillation(resolved, dataset, run or f"runs/{resolved.name}", count, teacher, halved, address, workers)
    for number, found in enumerate(made(told, processes), 1):
        figures = "".join(f", {name} {value:.4f}" for name, value in found.figures.items())
        told.print(
            f"round {number}: {found.iterations} iterations{figures}; talker: {escape(made.student(number))}",
            soft_wrap=True,
        )
