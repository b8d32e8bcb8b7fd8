"""``speechmill inspect`` on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import FAULTS, JsonOpt, OutArg

if TYPE_CHECKING:
    from pipelines.inspect import Inspection


def inspect(
    out: OutArg = "out",
    key: Annotated[
        str | None, typer.Argument(help="Id or key of an utterance; empty: one drawn from the dataset.")
    ] = None,
    audio: Annotated[str, typer.Option(help="Folder its sound is written into; empty: none.")] = "",
    json_out: JsonOpt = False,
) -> None:
    """One utterance: what became of it, its text, its tokens; writes its sound."""
    from pipelines.inspect import find, write_audio

    found = find(out, key)
    if json_out:
        sys.stdout.write(json.dumps(found.to_json(), ensure_ascii=False) + "\n")
    else:
        _show(found)
    for path in write_audio(found, Path(audio)) if audio else ():
        sys.stdout.write(f"wrote {path}\n")
    if found.status == "unknown":
        raise typer.Exit(FAULTS)


def _show(found: Inspection) -> None:
    """An inspection as lines for people."""
    lines = [f"id: {found.id}", f"status: {found.status}" + (f" in {found.shard}" if found.shard else "")]
    if found.outcome and found.outcome.reason:
        lines.append(f"reason: {found.outcome.reason}: {found.outcome.error}")
    if found.nearest:
        lines.append(f"nearest ids: {', '.join(found.nearest)}")
    lines += [f"{name}: {text!r} ({len(found.text_ids[name])} tokens)" for name, text in found.texts.items()]
    for name, codes_FQ in found.codes.items():
        lines += [f"{name} codes, {len(codes_FQ)} frames:", *found.table(name)]
    lines += [f"{name}: {value}" for name, value in found.meta.items() if name not in ("id", "text")]
    sys.stdout.write("\n".join(lines) + "\n")
