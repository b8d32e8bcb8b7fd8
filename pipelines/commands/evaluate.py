"""``speechmill eval`` on the command line."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from pipelines.commands.options import WRITTEN, DeviceOpt, PrecisionOpt, TopPOpt, console


def evaluate(
    run: Annotated[str, typer.Argument(help="A run of `speechmill train`, or one of its checkpoints.")] = "runs/demo",
    ar: Annotated[str | None, typer.Option("--ar", help="Run of an autoregressive talker to compare with.")] = None,
    mtp: Annotated[str | None, typer.Option("--mtp", help="Run of a multi-token talker to compare with.")] = None,
    sentences: Annotated[int, typer.Option(min=1, help="Held-out sentences.")] = 300,
    steps: Annotated[
        str | None, typer.Option(help="Denoising steps of a block, with commas; empty: 1,2,4,8,16.")
    ] = None,
    policies: Annotated[
        str | None,
        typer.Option(help=f"Orders in which a block is revealed, with commas; empty: even. There are {WRITTEN}."),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            help="Guesses that mtp keeps, with commas; empty: unverified,confident,verified. confident:0.8 is of a probability."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest codes.")] = 0.0,
    top_p: TopPOpt = 1.0,
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
    seed: Annotated[int, typer.Option(min=0, help="Of draws, where anything is drawn.")] = 0,
    precision: PrecisionOpt = "fp32",
    device: DeviceOpt = None,
) -> None:
    """Judge a talker on held-out sentences: word errors, speed, entropy, by steps and against baselines.

    Writes RUN/eval: index.html to look at and hear, eval.json with all figures and what was heard, eval.png. What was heard once is kept.

    Examples:  speechmill eval runs/demo --ar runs/demo-ar --mtp runs/demo-mtp
               speechmill eval runs/demo --steps 4,16 --policies even,pmi+quantile:0.3 --open 0
    """
    from pipelines.evaluation.ears import asked_for
    from pipelines.evaluation.evaluate import Asked
    from pipelines.evaluation.evaluate import evaluate as judge
    from pipelines.evaluation.table import show

    others = tuple((kind, other) for kind, other in (("ar", ar), ("mtp", mtp)) if other is not None)
    counts, orders = None if steps is None else _numbers("--steps", steps), _words("--policies", policies)
    asked = Asked(
        run, others, data, sentences, counts, orders, open_vocabulary, timed, batch, threads, workers, seed, precision,
        accept=_words("--accept", accept), temperature=temperature, top_p=top_p, device=device, ear=asked_for(ear, weights),
    )  # fmt: skip
    show(judge(asked, console()), Console(highlight=False))


def _words(option: str, text: str | None) -> tuple[str, ...] | None:
    """Words with commas between them; None where the option is not given. Raises ``SpeakError`` where it says nothing."""
    from pipelines.voice.errors import SpeakError

    if text is None:
        return None
    words = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not words:
        raise SpeakError(f"{option} names nothing: write one or more with commas, or leave it out")
    return words


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers above 0, with commas between them. Raises ``SpeakError``."""
    from pipelines.voice.errors import SpeakError

    parts = _words(option, text) or ()
    if not all(part.isdecimal() and int(part) for part in parts):
        raise SpeakError(f"{option} {text}: write whole numbers from 1 with commas, as in 1,4,16")
    return tuple(int(part) for part in parts)
