"""``speechmill export`` on the command line. Imports what exports only when it is called."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console


def export(
    out: Annotated[str, typer.Argument(help="The output root of `speechmill data`.")],
    dest: Annotated[str, typer.Argument(help="Folder the export will lie in: a new or an empty one.")],
    to: Annotated[str, typer.Option("--to", help="Format: vocalnet, hf, shar or cosyvoice.")],
    audio: Annotated[
        bool | None,
        typer.Option(
            "--audio/--no-audio", help="With the cleaned sound, or without; empty: with, where the corpus is in reach."
        ),
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Where the corpus lies now; empty: where it lay.")] = None,
    per_file: Annotated[
        int, typer.Option(min=1, help="Utterances of a part, at least: a part is whole token shards.")
    ] = 1000,
    place: Annotated[
        str | None, typer.Option(help="Folder that CosyVoice's lists name files by, if the export is read elsewhere.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Parallel workers; 0: this process, without Ray.")] = 0,
    address: Annotated[str | None, typer.Option(help="Ray cluster that shares the folders: auto, HOST:PORT.")] = None,
) -> None:
    """Hand a finished dataset to other toolkits: VocalNet, Hugging Face datasets, Lhotse Shar, CosyVoice.

    DEST appears when it is whole; until then DEST.partial grows, and the same command goes on with it. Masks and teacher targets stay behind.

    Examples:  speechmill export out exported --to hf
               speechmill export out exported --to vocalnet --no-audio
    """
    from pipelines.export.export import Asked
    from pipelines.export.export import export as carry_out

    asked = Asked(out, to, dest, audio, corpus, per_file, place, workers, address)
    made = carry_out(asked, Console(stderr=True, highlight=False))
    sys.stdout.write(f"{'exported' if made else 'nothing to do'}: {dest}\n")
