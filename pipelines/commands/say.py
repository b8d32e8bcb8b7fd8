"""``speechmill say`` on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import WRITTEN, DeviceOpt, PrecisionOpt, TopPOpt, console


def say(
    text: Annotated[
        str | None, typer.Argument(help="What to say, spelled as in the texts of the dataset.", show_default=False)
    ] = None,
    run: Annotated[str, typer.Option(help="A run of `speechmill train`, or one of its checkpoints.")] = "runs/demo",
    out: Annotated[
        str, typer.Option("--out", "-o", help="WAV file; - writes raw 16-bit samples to standard output.")
    ] = "out.wav",
    states: Annotated[
        str | None,
        typer.Option(
            help="Instead of a text: a .npy file of its text states, for a talker that reads such (states x width)."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps of each block; empty: 4.")] = None,
    decoder: Annotated[str | None, typer.Option(help="block, ar or mtp; empty: what the run was trained for.")] = None,
    policy: Annotated[str | None, typer.Option(help=f"Order in which a block is revealed: {WRITTEN}.")] = None,
    accept: Annotated[
        str | None, typer.Option(help="Guesses that mtp keeps: unverified (all), confident:0.9, verified.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write sound block by block, and say when the first left.")
    ] = False,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest codes.")] = 0.0,
    top_p: TopPOpt = 1.0,
    judge_tempered: Annotated[
        bool,
        typer.Option("--judge-tempered", help="Policies judge codes after temperature and top-p, not before."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of draws, where the temperature is above 0.")] = 0,
    max_seconds: Annotated[
        float, typer.Option(min=0.04, help="Longest speech: a talker that does not end is stopped.")
    ] = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the talker; a small one is fastest with 1.")] = 1,
    precision: PrecisionOpt = "fp32",
    device: DeviceOpt = None,
) -> None:
    """Let a trained talker say a text.

    Examples:  speechmill say "turn on the kitchen lights" --run runs/demo --steps 4 -o out.wav
               speechmill say "turn on the kitchen lights" --stream -o - | aplay -f S16_LE -r 16000
               speechmill say "turn on the kitchen lights" --policy pmi+threshold:0.8+min_gap:2
    """
    from pipelines.say import say_into
    from pipelines.voice.errors import SpeakError
    from pipelines.voice.manner import Manner
    from pipelines.voice.words import read_states

    if (text is None) == (states is None):
        raise SpeakError("nothing to say, or two things: give a text, or --states FILE.npy")
    words = text if text is not None else read_states(str(states))
    manner = Manner(decoder, steps, policy, temperature, seed, max_seconds, top_p, judge_tempered, accept)
    say_into(run, words, manner, out, stream, console(), threads, precision, device)
