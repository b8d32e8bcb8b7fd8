"""``speechmill eval`` on the command line."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from pipelines.commands.options import PrecisionOpt, console


def evaluate(
    run: Annotated[str, typer.Argument(help="A run of `speechmill train`, or one of its checkpoints.")] = "runs/demo",
    ar: Annotated[str | None, typer.Option("--ar", help="Run of an autoregressive talker to compare with.")] = None,
    mtp: Annotated[str | None, typer.Option("--mtp", help="Run of a multi-token talker to compare with.")] = None,
    sentences: Annotated[int, typer.Option(min=1, help="Held-out sentences.")] = 300,
    steps: Annotated[str, typer.Option(help="Denoising steps of a block, with commas.")] = "1,2,4,8,16",
    policies: Annotated[str, typer.Option(help="Orders in which a block is revealed, with commas.")] = "even",
    open_vocabulary: Annotated[
        int | None,
        typer.Option("--open", min=0, help="Sentences heard without a grammar, ten times the work; empty: all."),
    ] = None,
    data: Annotated[str, typer.Option(help="The dataset; empty: where the run was trained.")] = "",
    timed: Annotated[int, typer.Option(min=1, help="Sentences said alone and timed.")] = 40,
    batch: Annotated[int, typer.Option(min=1, help="Sentences said together.")] = 32,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the talker; a small one is fastest with 1.")] = 1,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that listen; 0: this one; empty: one a core.")
    ] = None,
    ear: Annotated[
        str | None,
        typer.Option(
            help="Who hears as well: whisper, faster-whisper, or '{name: whisper, weights: PATH, language: de}'."
        ),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of --ear: a file, a folder, or a repository.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    precision: PrecisionOpt = "fp32",
) -> None:
    """Judge a talker on held-out sentences: word errors, speed, entropy, by steps and against baselines.

    Writes RUN/eval: index.html to look at and hear, eval.json with all figures and what was heard, eval.png. What was heard once is kept.

    Examples:  speechmill eval runs/demo --ar runs/demo-ar --mtp runs/demo-mtp
               speechmill eval runs/demo --steps 4,16 --policies even,pmi --open 0
    """
    from pipelines.evaluation.ears import asked_for
    from pipelines.evaluation.evaluate import Asked
    from pipelines.evaluation.evaluate import evaluate as judge
    from pipelines.evaluation.table import show

    others = tuple((kind, other) for kind, other in (("ar", ar), ("mtp", mtp)) if other is not None)
    counts, orders = _numbers("--steps", steps), _words(policies)
    asked = Asked(
        run,
        others,
        data,
        sentences,
        counts,
        orders,
        open_vocabulary,
        timed,
        batch,
        threads,
        workers,
        seed,
        precision,
        ear=asked_for(ear, weights),
    )
    show(judge(asked, console()), Console(highlight=False))


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers above 0, with commas between them. Raises ``SpeakError``."""
    from pipelines.voice.errors import SpeakError

    parts = _words(text)
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise SpeakError(f"{option} {text}: write whole numbers from 1 with commas, as in 1,4,16")
    return tuple(int(part) for part in parts)
