"""The table of an evaluation: the same columns on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A heading, its meaning, and what stands under it; empty where the row has no such figure. ``group`` is what it is about."""

    group: str
    heading: str
    meaning: str
    cell: Callable[[Figures], str]

    def of(self, row: Figures) -> str:
        try:
            return self.cell(row)
        except (KeyError, TypeError):  # recordings have no speed, a system may have said nothing
            return ""


def _errors(ear: str) -> Callable[[Figures], str]:
    def cell(row: Figures) -> str:
        e = row["wer"][ear]
        return f"{100 * e['rate']:.1f} [{100 * e['low']:.1f}, {100 * e['high']:.1f}]"

    return cell


def _empty(ear: str) -> Callable[[Figures], str]:
    def cell(row: Figures) -> str:
        e = row["wer"][ear]
        return f"{e['empty']} ({100 * e['empty_part']:.1f})" if e["empty"] else "0"

    return cell


def _speed(form: str, *path: str) -> Callable[[Figures], str]:
    def cell(row: Figures) -> str:
        value: Any = row["speed"]
        for part in path:
            value = value[part]
        return format(value, form)

    return cell


def _first(row: Figures) -> str:
    parts = row["speed"]["first_chunk_ms"]
    return f"{parts['total']['median']:.0f} = " + " + ".join(
        f"{parts[p]['median']:.0f}" for p in ("reading", "talker", "vocoder")
    )


UNDERSTOOD, FAST, SAID = "How well it is understood", "How fast it is", "What its codes are like"
ORDER = ("", UNDERSTOOD, FAST, SAID)

COLUMNS = (
    Column("", "", "system", lambda r: r["name"]),
    Column(UNDERSTOOD, "WER grammar %", "word error rate, the recogniser knows the demo's grammar; 95 % bootstrap interval", _errors("grammar")),
    Column(UNDERSTOOD, "none heard", "sentences in which the recogniser with the grammar heard nothing, and their points of the error rate", _empty("grammar")),
    Column(UNDERSTOOD, "WER open %", "word error rate with an open vocabulary; 95 % bootstrap interval", _errors("open")),
    Column(UNDERSTOOD, "none heard open", "likewise, with the open vocabulary", _empty("open")),
    Column(FAST, "tokens/s", "frames a second, one sentence at a time: median over sentences", _speed(",.0f", "tokens_per_second")),
    Column(FAST, "slow 5 %", "frames a second that 95 of 100 sentences exceed", _speed(",.0f", "tokens_per_second_slow")),
    Column(FAST, "batched", "frames a second, all sentences, in batches", _speed(",.0f", "batched_tokens_per_second")),
    Column(FAST, "RTF", "seconds of decoding per second of sound, without the vocoder: median", _speed(".4f", "rtf", "median")),
    Column(FAST, "forwards", "passes through the layers per block of the utterance, commits among them", _speed(".2f", "forwards_per_block")),
    Column(FAST, "first ms", "until the first block is sound: reading the text + talker + vocoder, medians", _first),
    Column(SAID, "H bits", "entropy of the codes, all sentences together", lambda r: f"{r['entropy_bits']:.2f}"),
    Column(SAID, "H pred.", "mean entropy of the predictions that became codes, in bits", lambda r: f"{r['predictive_entropy_bits']:.2f}"),
    Column(SAID, "repeats %", "frames equal to the one before", lambda r: f"{100 * r['repeat_share']:.1f}"),
    Column(SAID, "run", "longest run of equal frames", lambda r: str(r["longest_repeat"])),
    Column(SAID, "silence %", "20 ms frames 40 dB below the loudest", lambda r: f"{100 * r['silence_share']:.1f}"),
    Column(SAID, "length", "frames, by those of the recordings of the same sentences", lambda r: f"{r['length_ratio']:.3f}"),
    Column(SAID, "unfinished", "sentences that did not come to an end and were cut", lambda r: str(r["unfinished"])),
)  # fmt: skip


EARS = ("grammar", "open")  # that are always there; others were chosen


def _chosen(ear: str) -> tuple[Column, Column]:
    return (
        Column(UNDERSTOOD, f"WER {ear} %", f"word error rate as {ear} hears it; 95 % bootstrap interval", _errors(ear)),
        Column(UNDERSTOOD, f"none heard {ear}", f"likewise, with {ear}", _empty(ear)),
    )


def chosen_ears(rows: Iterable[Figures]) -> list[str]:
    """Who heard beside pocketsphinx."""
    return list(dict.fromkeys(ear for row in rows for ear in row.get("wer", {}) if ear not in EARS))


def cells(value: Figures) -> tuple[list[Column], list[list[str]]]:
    """(columns, rows of text), without columns that are empty throughout."""
    more = [column for ear in chosen_ears(value["rows"]) for column in _chosen(ear)]
    columns = [c for c in (*COLUMNS, *more) if any(c.of(row) for row in value["rows"])]
    columns.sort(key=lambda c: ORDER.index(c.group))
    return columns, [[c.of(row) for c in columns] for row in value["rows"]]


def groups(value: Figures) -> list[tuple[str, list[int], list[list[str]]]]:
    """(title, places of its columns, rows that have any of them) of each group that has any."""
    columns, rows = cells(value)
    found = []
    for title in (UNDERSTOOD, FAST, SAID):
        places = [i for i, column in enumerate(columns) if column.group == title]
        found.append((title, places, [row for row in rows if any(row[i] for i in places)]))
    return [group for group in found if group[1]]


def heading(value: Figures) -> str:
    """What was measured, on what, in a line."""
    about = value["about"]
    drawn = f", codes drawn at temperature {about['temperature']:g}" if about.get("temperature") else ""
    return (
        f"{about['run']} on {about['sentences']} held-out sentences of {about['dataset']} ({about['recorded']} of them recorded); "
        f"{about['device']}, {about['threads']} thread{'s' if about['threads'] > 1 else ''}, {about['dtype']}{drawn}"
    )


def show(value: Figures, console: Console) -> None:
    """Print the table; a narrow terminal gets it in parts."""
    columns, rows = cells(value)
    console.print(heading(value), soft_wrap=True)
    for part in _parts(columns, rows, console.width):
        table = Table()
        for i in part:
            table.add_column(columns[i].heading, justify="left" if i == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(row[i] for i in part))
        console.print(table)


def _parts(columns: list[Column], rows: list[list[str]], width: int) -> list[list[int]]:
    """Columns that fit side by side; every part begins with the names of the systems."""
    sizes = [max(len(column.heading), *(len(row[i]) for row in rows)) + 3 for i, column in enumerate(columns)]
    parts, room = [[0]], width - sizes[0] - 1
    for i in range(1, len(columns)):
        if sizes[i] > room and len(parts[-1]) > 1:
            parts.append([0])
            room = width - sizes[0] - 1
        parts[-1].append(i)
        room -= sizes[i]
    return parts
