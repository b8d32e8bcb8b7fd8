"""Which column of a table means what: stated in the recipe, else known from the names that people give them."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import Field

from manifests.corpora.listing import Fault, split_name, split_of_folder
from manifests.settings.base import Settings
from manifests.utterance import AudioRef, Query, Utterance

MOST_SECONDS = 1e8  # three years: what is larger is no time in a recording, and sums with it would lose the others
KNOWN: dict[str, tuple[str, ...]] = {
    "id": ("id", "key", "utt", "utt_id", "uttid", "utterance_id", "utt_name", "segment_id", "sample_id", "_id"),
    "audio": (
        "audio_filepath", "audio_path", "audio_file", "audio", "wav_filename", "wav_path", "wav", "wavs", "file_name",
        "filename", "file_path", "filepath", "path", "file", "clip", "sound", "speech", "location",
    ),
    "text": (
        "text", "transcript", "transcription", "sentence", "normalized_text", "text_normalized", "txt", "raw_text",
        "transcripts", "utterance", "trans",
    ),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "speaker_name", "client_id", "spkid"),
    "language": ("language", "lang", "locale", "language_id"),
    "split": ("split", "subset", "partition"),
    "recording": ("recording", "recording_id", "reco", "reco_id"),
    "start": ("start", "start_time", "offset", "begin", "begin_time", "start_seconds"),
    "seconds": ("duration", "seconds", "dur", "duration_seconds", "length_seconds"),
    "end": ("end", "end_time", "stop", "end_seconds"),
    "channel": ("channel",),
    "query_audio": ("query_audio", "question_audio"),
    "query_text": ("query_text", "question", "query"),
    "query_speaker": ("query_speaker",),
}  # fmt: skip


class Columns(Settings):
    """Names of columns, where the usual ones do not do. In a table without header: numbers, from 0.

    A dotted name reaches into nested JSON (``audio.path``).
    """

    id: str | None = Field(default=None, description="default: from the path of the sound, and the start")
    audio: str | None = Field(default=None, description="path of the sound")
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    split: str | None = None
    recording: str | None = None
    start: str | None = Field(default=None, description="seconds from the start of the file")
    seconds: str | None = Field(
        default=None, description="length; without a start it describes the file and cuts nothing"
    )
    end: str | None = Field(default=None, description="seconds from the start of the file, instead of a length")
    channel: str | None = None
    query_audio: str | None = Field(default=None, description="in dialogues: path of what the utterance answers")
    query_text: str | None = None
    query_speaker: str | None = None

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """Field to column, for a table that has columns ``names``. A stated column that is absent is left out."""
        return _find(tuple(getattr(self, field) for field in KNOWN), tuple(names))

    def absent(self, names: Iterable[str]) -> list[str]:
        """The stated columns that the table does not have."""
        there = set(names)
        stated = (getattr(self, field) for field in KNOWN)
        return [c for c in stated if c is not None and not _is_there(c, there)]


def _is_there(column: str, names: Container[str]) -> bool:
    return column in names or column.split(".", 1)[0] in names


@lru_cache(maxsize=1024)
def _find(stated: tuple[str | None, ...], names: tuple[str, ...]) -> dict[str, str]:
    by_name = {n.strip().lower(): n for n in reversed(names)}
    found: dict[str, str] = {}
    for (field, known), column in zip(KNOWN.items(), stated, strict=True):
        name = column if column is not None else next((by_name[k] for k in known if k in by_name), None)
        if name is not None and (name not in found.values() if column is None else _is_there(name, names)):
            found[field] = name
    return found


def lookup(row: Mapping[str, Any], column: str | None) -> Any:
    """The value of a column; dotted names reach into nested objects; None where it is absent or empty."""
    if column is None:
        return None
    value: Any = row.get(column)
    if value is None and "." in column:
        value = row
        for part in column.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    return None if value == "" else value


def as_text(value: Any) -> str | None:
    """A JSON value as the text it stands for; None for containers."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else None


def as_seconds(value: Any) -> float | None:
    """A number of seconds: what every layout's times come through. Raises ValueError for what is none, infinite, absurd or not a number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _no_seconds(value)
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        raise _no_seconds(value) from None
    if not math.isfinite(seconds) or abs(seconds) > MOST_SECONDS:
        raise _no_seconds(value)
    return seconds


def _no_seconds(value: Any) -> ValueError:
    return ValueError(f"{str(value)[:40]!r} as a number of seconds")


def times(start: Any, seconds: Any, end: Any) -> tuple[float | None, float | None]:
    """(start, length) in seconds; start is None where the row states none. Raises ValueError for impossible times."""
    begin, length, stop = as_seconds(start), as_seconds(seconds), as_seconds(end)
    if begin is None and stop is not None:
        begin = 0.0
    if begin is not None and begin < 0:
        raise ValueError(f"a start of {begin:g} s")
    if stop is not None and begin is not None and length is None:
        length = round(stop - begin, 9)
    if length is not None and length <= 0 and begin is not None:
        raise ValueError(f"a length of {length:g} s")
    return begin, length


def utterance_of(
    row: Mapping[str, Any],
    found: Mapping[str, str],
    where: str,
    place: Callable[[str], str],
    language: str | None = None,
    fault: Fault | None = None,
    audio: AudioRef | None = None,
    name: str | None = None,
) -> Utterance:
    """The utterance of one row. Whatever is wrong with it becomes its fault.

    found   field to column, from :meth:`Columns.find`
    where   the row, for messages and as the last resort for an id
    place   turns a path of the row into one of a reference
    audio   the sound, where the row does not name it
    name    the id, where the row states none (default: from the path of the sound and the times)
    """
    get = {field: lookup(row, column) for field, column in found.items()}.get
    path = as_text(get("audio"))
    ref = audio or (AudioRef(place(path)) if path else None)
    try:
        start, seconds = times(get("start"), get("seconds"), get("end"))
        channel = _channel(get("channel"))
    except ValueError as error:
        start, seconds, channel = None, None, None
        fault = fault or ("bad_line", f"{where} states {error}")
    if ref is None:
        fault = fault or ("missing_audio", f"{where} names no sound file")
    key = as_text(get("id")) or name or _derived_id(ref, start, seconds, where)
    listed = {} if start is not None or seconds is None else {"listed_seconds": seconds}
    recording = as_text(get("recording")) or (ref.path if ref and audio is None and start is not None else None)
    return Utterance(
        key, ref, as_text(get("text")), as_text(get("speaker")), as_text(get("language")) or language, recording,
        start or 0.0, None if start is None else seconds, channel, _split(as_text(get("split"))),
        _query(get, place), fault=fault, extra=listed,
    )  # fmt: skip


def _channel(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.isdecimal() and len(value) < 4:
        return int(value)
    raise ValueError(f"{value!r} as a channel")


def _derived_id(ref: AudioRef | None, start: float | None, seconds: float | None, where: str) -> str:
    if ref is None:
        return where.replace(" line ", ":").replace(" item ", ":")
    stem = split_name(ref.path)[0] if "/" not in ref.path.rpartition(".")[2] else ref.path
    if start is None:
        return stem
    return f"{stem}@{start:.3f}" if seconds is None else f"{stem}@{start:.3f}-{start + seconds:.3f}"


def _split(value: str | None) -> str | None:
    return None if value is None else split_of_folder(value) or value


def _query(get: Callable[[str], Any], place: Callable[[str], str]) -> Query | None:
    path, text = as_text(get("query_audio")), as_text(get("query_text"))
    if path is None and text is None:
        return None
    return Query(text, as_text(get("query_speaker")), AudioRef(place(path)) if path else None)
