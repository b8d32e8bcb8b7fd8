"""What CTM and RTTM share: lines that name a recording, and its channel as ``1`` and ``2``, or ``A`` and ``B``."""

from __future__ import annotations

from typing import TypeVar

from manifests.corpora.times.transcript import BadTranscript

Where = TypeVar("Where")


def of_recording(
    rows: list[tuple[Where, list[str]]], field: int, name: str, recording: str
) -> list[tuple[Where, list[str]]]:
    """All rows, where they name one recording, whatever its name; else those that name this one. Raises :class:`BadTranscript` where none does."""
    named = {row[field] for _, row in rows if len(row) > field}
    if len(named) <= 1:
        return rows
    if recording not in named:
        raise BadTranscript(f"{name} is of {len(named)} recordings, and none of them is {recording}")
    return [(where, row) for where, row in rows if row[field : field + 1] in ([recording], [])]


def numbered(names: set[str]) -> dict[str, int | None]:
    """Name to number, counted from 0. A file that knows only its first channel says nothing of channels: None."""
    if names <= {"1"} or names <= {"A"} or names <= {"0"}:
        return dict.fromkeys(names, None)
    lowest = 0 if "0" in names else 1
    return {name: _number(name, lowest) for name in names}


def _number(name: str, lowest: int) -> int | None:
    if name.isascii() and name.isdigit() and len(name) <= 3:
        return int(name) - lowest
    return ord(name) - ord("A") if len(name) == 1 and "A" <= name <= "Z" else None
