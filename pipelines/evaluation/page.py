"""The page of an evaluation: table, plot, and the same sentences by every system, to hear. One file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.evaluation.listening import Sound, Unheard, made
from pipelines.evaluation.rows import Row
from pipelines.evaluation.table import cells, groups, heading
from pipelines.report.page import HERE as REPORT
from pipelines.report.page import printable
from pipelines.report.sound import audio_uri, data_uri
from tokenization.adapter import SpeechTokenizer

HERE = Path(__file__).parent
EXAMPLES = 3  # sentences to hear
CLIP_SECONDS = 12.0
SENTENCE = 400


@dataclass(frozen=True)
class Track:
    """One system's sound of a sentence, and what was heard of it."""

    name: str
    audio: str
    heard: list[tuple[str, str, bool]]


@dataclass(frozen=True)
class Example:
    """One sentence, by all systems."""

    text: str
    tracks: list[Track]


def write_page(value: Mapping[str, Any], picture: bytes, rows: Sequence[Row], tokenizer: SpeechTokenizer) -> bytes:
    """The page in bytes. It loads nothing; all text is escaped by the template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    env = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters["sentence"] = lambda text: printable(text, SENTENCE)
    columns, _ = cells(value)
    page = env.get_template("page.html").render(
        style=Markup((REPORT / "page.css").read_text(encoding="utf-8")), about=value["about"], heading=heading(value), columns=columns,
        groups=groups(value),
        plot=data_uri("image/png", picture), examples=examples(rows, tokenizer),
    )  # fmt: skip
    return page.encode("utf-8", "replace")


def examples(rows: Sequence[Row], tokenizer: SpeechTokenizer) -> list[Example]:
    """The first recorded sentences (any, where none is), by every row."""
    longest = max((row.sentences for row in rows), key=len, default=())
    chosen = ([i for i, s in enumerate(longest) if s.key is not None] or list(range(len(longest))))[:EXAMPLES]
    return [Example(longest[i].text, [_track(row, longest[i].text, tokenizer) for row in rows]) for i in chosen]


def _track(row: Row, text: str, tokenizer: SpeechTokenizer) -> Track:
    place = next((i for i, s in enumerate(row.sentences) if s.text == text), None)
    if place is None:
        return Track(row.name, "", [])
    heard = [(ear, h[place].words, _right(row, ear, place)) for ear, h in row.heard.items() if place < len(h)]
    return Track(row.name, _audio(row.sounds[place], tokenizer), heard)


def _right(row: Row, ear: str, place: int) -> bool:
    """Whether a sentence was heard without an error."""
    said, heard = row.compared(ear, place)
    return said == heard


def _audio(sound: Sound, tokenizer: SpeechTokenizer) -> str:
    """Empty where there is no sound to hear."""
    rate = tokenizer.spec.sample_rate
    try:
        wave_T = made(sound, tokenizer)[: int(CLIP_SECONDS * rate)]
    except Unheard:  # heard once, and out of reach since: what was heard is told all the same
        return ""
    return audio_uri(wave_T, rate, lossless=False) if len(np.asarray(wave_T)) else ""
