"""A page on which the arms of an ablation can be heard, beside the original."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from pipelines.evaluation.evaluate import Evaluation
    from pipelines.evaluation.rows import Row

Runs = Mapping[Path, str]  # runs that were judged, and what they are


def titled(name: str, system: str, kind: str) -> str:
    """What the page calls a row: baselines stand for themselves."""
    return f"{name}: {system}" if kind == "block" else system


def page(data: str, runs: Runs, console: Console) -> bytes:
    """All figures of these runs, and a few sentences by each of them."""
    from pipelines.evaluation.page import write_page
    from pipelines.evaluation.plot import draw

    judged = {run: json.loads((run / "eval" / "eval.json").read_text()) for run in runs}
    figures: dict[str, dict[str, Any]] = {}
    for name, value in zip(runs.values(), judged.values(), strict=True):
        for row in value["rows"]:
            title = titled(name, row["name"], row["kind"])
            named = {"decoder": {**row["decoder"], "policy": name}} if "decoder" in row else {}
            figures.setdefault(title, {**row, **named, "name": title})
    one = next(iter(judged.values()))
    value = {**one, "rows": list(figures.values()), "about": one["about"] | {"run": "the paper's ablation"}}
    opened = {name: opened_for(run, steps_of(judged[run]), data, console) for run, name in runs.items()}
    first = next(iter(opened.values()))
    tracks = [*first.ceilings(), *(row for name, one in opened.items() for row in said(name, one))]
    return write_page(value, draw(value), tracks, first.voice.parts.speech)


def steps_of(value: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Steps a block that a run was judged at; None of one that says frame after frame."""
    return tuple(row["decoder"]["steps"] for row in value["rows"] if row["kind"] == "block") or None


def opened_for(run: Path, steps: tuple[int, ...] | None, data: str, console: Console) -> Evaluation:
    """A run and the sentences that its page lets hear."""
    from pipelines.evaluation.evaluate import Asked, Evaluation
    from pipelines.evaluation.page import EXAMPLES

    return Evaluation.open(Asked(str(run), data=data, sentences=EXAMPLES, steps=steps), console)


def said(name: str, opened: Evaluation) -> list[Row]:
    """Sound of the sentences by every way of decoding."""
    from pipelines.evaluation.rows import Row
    from pipelines.evaluation.speaking import spoken

    rows = []
    for system in opened.systems:
        sounds = [
            opened.sound(codes_FQ)
            for codes_FQ in spoken(system, opened.words(system.voice), len(opened.sentences)).codes
        ]
        rows.append(Row(titled(name, system.name, system.kind), system.kind, opened.sentences, sounds, {}))
    return rows
