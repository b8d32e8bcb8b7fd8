"""The rows of TSV, CSV, JSONL and JSON files, one at a time; a broken row is a row with a fault."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from manifests.corpora.base import CorpusError
from manifests.corpora.lines import MAX_LINE, Line, parse_object, read_json_items, read_lines
from manifests.corpora.listing import Fault
from manifests.storage import Store

SUFFIXES = {
    ".tsv": "tsv", ".csv": "csv", ".psv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".list": "jsonl",
}  # fmt: skip
MAX_JOINED = 64  # lines that one quoted CSV field may run over
# Lines are bounded already; Python's own bound of a field, 131,072, is less than a page of text with times.
MAX_FIELD = MAX_JOINED * MAX_LINE


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number (a line's, or an item's in JSON), its values by column, and what is wrong with it."""

    number: int
    values: dict[str, Any]
    fault: Fault | None = None
    what: str = "line"


def kind_of(name: str) -> str:
    """``tsv``, ``csv``, ``jsonl`` or ``json`` by a file's name, with or without ``.gz``; empty for other files."""
    plain = name.removesuffix(".gz")
    return next((kind for suffix, kind in SUFFIXES.items() if plain.endswith(suffix)), "")


def read_rows(
    files: Store, name: str, delimiter: str | None = None, quotes: bool | None = None, header: bool = True
) -> Iterator[Row]:
    """The rows of a list, by the kind its name says.

    delimiter   default: a tab in ``.tsv``, in ``.csv`` what the first line has most of
    quotes      whether ``"..."`` encloses a field (default: in ``.csv`` only)
    header      whether the first line names the columns; else they are named ``0``, ``1``, ...

    Raises :class:`CorpusError` where there is no such file, or its kind is unknown.
    """
    if not files.exists(name):
        raise CorpusError(f"no list {name} in {files.root}; check corpus.lists")
    kind = kind_of(name)
    if kind == "json":
        yield from _json_rows(files, name)
    elif kind == "jsonl" or (not kind and delimiter is None):
        for line in read_lines(files, name):
            yield Row(line.number, *parse_object(line, name))
    else:
        quoted = kind == "csv" if quotes is None else quotes
        yield from _table_rows(
            read_lines(files, name), name, delimiter or ("\t" if kind == "tsv" else None), quoted, header
        )


def _json_rows(files: Store, name: str) -> Iterator[Row]:
    """Items of a list, or of an object whose keys then are the sound files (column ``audio``)."""
    for index, item in enumerate(read_json_items(files, name)):
        values = item
        if isinstance(item, tuple):
            key, inner = item
            values = {"audio": key} | (inner if isinstance(inner, dict) else {"text": inner})
        fault = None if isinstance(values, dict) else ("bad_line", f"{name} item {index} is not an object")
        yield Row(index, values if isinstance(values, dict) else {}, fault, "item")


def _table_rows(
    lines: Iterator[Line], name: str, delimiter: str | None, quoted: bool, header: bool
) -> Iterator[Row]:  # fmt: skip
    csv.field_size_limit(MAX_FIELD)  # of the whole process: nothing else here reads CSV
    pushed: list[Line] = []
    columns: list[str] | None = None
    while (line := pushed.pop() if pushed else next(lines, None)) is not None:
        if delimiter is None:
            delimiter = max(",;\t|", key=line.text.count)
        fields, fault = _fields(line, lines, pushed, delimiter, quoted, name)
        if columns is None:
            columns = [c.strip() for c in fields] if header else [str(i) for i in range(len(fields))]
            if header:
                continue
        if fault is None and len(fields) != len(columns):
            fault = ("bad_line", f"{name} line {line.number} has {len(fields)} fields, not {len(columns)}")
        yield Row(line.number, dict.fromkeys(columns) | dict(zip(columns, fields, strict=False)), fault)


def _fields(
    line: Line, lines: Iterator[Line], pushed: list[Line], delimiter: str, quoted: bool, name: str
) -> tuple[list[str], Fault | None]:
    """The fields of a row. A quoted field may run over lines; one that never ends costs its first line only."""
    if not quoted or '"' not in line.text:
        return line.text.split(delimiter), line.fault
    taken = [line]
    while (fields := _parsed([t.text for t in taken], delimiter)) is None and len(taken) < MAX_JOINED:
        more = pushed.pop() if pushed else next(lines, None)
        if more is None:
            break
        taken.append(more)
    if fields is None:
        pushed.extend(reversed(taken[1:]))
        sentence = f"{name} line {line.number} opens a quote that is not closed"
        return line.text.split(delimiter), line.fault or ("bad_line", sentence)
    return fields, next((t.fault for t in taken if t.fault), None)


def _parsed(texts: list[str], delimiter: str) -> list[str] | None:
    """The fields of one row, or None where a quote is still open."""
    try:
        rows = list(csv.reader((f"{t}\n" for t in texts), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None
