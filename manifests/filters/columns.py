"""The columns that a filter rule may name: of the corpus, of what cleaning measures, and of the scores.

Those of a dialogue's query are the same names behind ``query_``. Fields that a corpus layout brings along beyond these are
written ``extra.NAME``; what they hold is known only when they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

QUERY = "query_"
EXTRA = "extra"


@dataclass(frozen=True)
class Axis:
    """How a distribution of a column is drawn: ``bins`` bins of ``width`` from ``low`` on."""

    low: float
    width: float
    bins: int


@dataclass(frozen=True)
class Column:
    """One column.

    sound   it is known only after the sound was decoded
    score   the score that has to be computed for it, by its name in ``scores``
    """

    name: str
    kind: Literal["number", "text"]
    what: str
    unit: str = ""
    sound: bool = False
    score: str | None = None
    axis: Axis | None = None


def _text(name: str, what: str) -> Column:
    return Column(name, "text", what)


def _fact(name: str, unit: str, what: str) -> Column:
    return Column(name, "number", what, unit, sound=True)


def _score(name: str, unit: str, what: str, axis: Axis, score: str | None = None) -> Column:
    return Column(name, "number", what, unit, True, score or name, axis)


CORPUS = (
    _text("id", "id"),
    _text("text", "what is said"),
    _text("speaker", "who says it"),
    _text("language", "its language, else the corpus's"),
    _text("corpus", "name of the corpus"),
    _text("recording", "the recording it is part of"),
    _text("split", "train, dev or test"),
    Column("start", "number", "where in its recording it starts", "s"),
)
FACTS = (
    _fact("seconds", "s", "length as it is tokenized, trimmed"),
    _fact("seconds_in", "s", "length as stored"),
    _fact("source_rate", "Hz", "sample rate as stored"),
    _fact("channels", "", "channels as stored"),
    _fact("trim_start", "s", "silence cut off its start"),
    _fact("trim_end", "s", "silence cut off its end"),
    _fact("loudness_db", "dB of full scale", "RMS of its speech, before normalising"),
    _fact("peak_db", "dB of full scale", "its peak, before normalising"),
    _fact("clipped", "share of samples", "samples on plateaus at full scale"),
    _fact("silence", "share of frames", "silence, trimmed"),
)
MOS = Axis(1.0, 0.05, 80)
SCORES = (
    _score("snr_db", "dB", "signal to noise ratio", Axis(-20, 1, 100)),
    _score("bandwidth_hz", "Hz", "highest frequency that holds anything", Axis(0, 250, 96)),
    _score(
        "characters_per_second", "1/s", "letters and digits of its text for each second of speech", Axis(0, 0.5, 80)
    ),
    _score("dnsmos_sig", "1 to 5", "DNSMOS P.835, how the speech sounds", MOS, "dnsmos"),
    _score("dnsmos_bak", "1 to 5", "DNSMOS P.835, how little noise there is", MOS, "dnsmos"),
    _score("dnsmos_ovrl", "1 to 5", "DNSMOS P.835, overall", MOS, "dnsmos"),
)


def _of_query(column: Column) -> Column:
    return Column(
        f"{QUERY}{column.name}", column.kind, f"of the query: {column.what}", column.unit, column.sound, column.score
    )


COLUMNS: Mapping[str, Column] = {
    column.name: column
    for column in (
        *CORPUS, *FACTS, *SCORES,
        *(_of_query(c) for c in CORPUS if c.name in ("text", "speaker")), *map(_of_query, (*FACTS, *SCORES)),
    )
}  # fmt: skip


def scores_of(names: Iterable[str]) -> set[str]:
    """The scores that have to be computed for columns."""
    return {score for name in names if name in COLUMNS and (score := COLUMNS[name].score) is not None}


def need_sound(names: Iterable[str]) -> bool:
    """Whether any of the columns is known only after decoding."""
    return any(name in COLUMNS and COLUMNS[name].sound for name in names)
