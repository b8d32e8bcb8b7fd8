"""``speechmill train`` on the command line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipelines.commands.options import OutArg, SetOpt, console


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A training recipe: path of a YAML file, or a shipped one (demo, demo-ar, demo-mtp, isd, paper, paper-isd, scratch, teacher, tiny)."
        ),
    ] = "demo",
    dataset: OutArg = "out",
    run: Annotated[
        str | None, typer.Option("--out", "-o", help="Folder of the run; empty: runs/NAME, by the recipe's name.")
    ] = None,
    overrides: SetOpt = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that share every batch; empty: one per GPU; without, one per core, up to 4."
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Train on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. The folders must be shared."),
    ] = None,
    print_recipe: Annotated[bool, typer.Option("--print-recipe", help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Train a talker on a dataset: speech codes from text, by filling in masks (or frame by frame, as the recipe says).

    Killed at any point, the same command goes on from the last checkpoint; Ctrl-C finishes the step and writes one. What a step
    learns does not depend on the number of processes. Curves: tensorboard --logdir runs; figures: RUN/log.jsonl.

    Examples:  speechmill train demo out -o runs/demo
               speechmill train scratch out -o runs/wide --set talker.width=512 --set train.optimiser.lr=0.001
               torchrun --nproc-per-node 8 -m pipelines.cli train paper /data/out -o /data/runs/paper
    """
    from rich.markup import escape

    from manifests.training_recipe import load

    resolved = load(recipe, overrides or [])
    if print_recipe:
        sys.stdout.write(resolved.to_yaml())
        return
    from pipelines.train import run as carry_out
    from training.run import Job

    told, folder = console(), run or f"runs/{resolved.name}"
    outcome = carry_out(Job(resolved, dataset, folder), processes, address, told)
    figures = "".join(f", {name} {value:.4f}" for name, value in outcome.figures.items())
    told.print(f"done: {outcome.step} steps{figures}; talker: {escape(str(outcome.checkpoint))}", soft_wrap=True)
