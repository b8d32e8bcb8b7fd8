"""Mozilla Common Voice, releases 2 to 20 and any language: ``validated.tsv`` and its likes beside ``clips/``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.lines import Line, read_lines
from manifests.corpora.listing import Names, audio_ref, join, legible, split_name, subfolders
from manifests.storage import Store
from manifests.utterance import Utterance

SPLITS = ("train", "dev", "test")
KEPT = {
    "age": "age",
    "gender": "gender",
    "accent": "accent",
    "accents": "accent",
    "variant": "variant",
    "segment": "segment",
}


class CommonVoice(Corpus):
    """The root is the folder of one language, or one that holds several (a release)."""

    layout: Literal["common_voice"] = "common_voice"
    tables: tuple[str, ...] = Field(("validated",), min_length=1, description="which lists to read, e.g. train, other")
    languages: tuple[str, ...] = Field((), description="only these language folders (default: all that are there)")

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """Language by language, table by table, line by line. A clip that an earlier table had is not repeated.

        The split is that of the table (``train``, ``dev``, ``test``) which also has the clip. Quotes are literal. Raises
        :class:`CorpusError` where no table is found, or where a table lacks its columns.
        """
        for folder in self._folders(files):
            splits = _splits(files, folder)
            seconds = _seconds(files, join(folder, "clip_durations.tsv"))
            names = Names()
            for table in self.tables:
                before = frozenset() if table == self.tables[0] else frozenset(names.given())
                for utterance, line in self._table(files, folder, table, splits, seconds):
                    if utterance.id not in before:
                        yield legible(names.once(utterance, f"{join(folder, table)}.tsv line {line}"))

    def _folders(self, files: Store) -> list[str]:
        wanted = f"{self.tables[0]}.tsv"
        if files.exists(wanted):
            return [""]
        below = subfolders(files)
        deeper = [join(b, c) for b in below if b != "clips" for c in subfolders(files, b)]
        found = [f for f in sorted([*below, *deeper]) if files.exists(join(f, wanted))]
        found = [f for f in found if not self.languages or f.rsplit("/", 1)[-1] in self.languages]
        if not found:
            raise CorpusError(f"no {wanted} in {files.root} or its language folders; set corpus.root or corpus.tables")
        return found

    def _table(
        self, files: Store, folder: str, table: str, splits: Mapping[str, str], seconds: Mapping[str, float]
    ) -> Iterator[tuple[Utterance, int]]:
        name = join(folder, f"{table}.tsv")
        rows = _rows(files, name)
        for line, row in rows:
            clip = _clip(row.get("path", ""))
            key = split_name(clip)[0] or f"{name}:{line.number}"
            fault = line.fault or _row_fault(row, clip, name, line)
            extra = {new: row[old] for old, new in KEPT.items() if row.get(old)}
            extra |= {"listed_seconds": seconds[clip]} if clip in seconds else {}
            utterance = Utterance(
                key,
                audio_ref(join(folder, "clips"), clip) if clip else None,
                row.get("sentence"),
                row.get("client_id") or None,
                row.get("locale") or self.language or folder.rsplit("/", 1)[-1] or None,
                split=splits.get(clip, table if table in SPLITS else None),
                fault=fault,
                extra=extra,
            )
            yield utterance, line.number


def _rows(files: Store, name: str) -> Iterator[tuple[Line, dict[str, str]]]:
    """Lines and their fields by column name; a line with too many or few fields has the number of them under ``""``."""
    if not files.exists(name):
        raise CorpusError(f"no {name} in {files.root}; choose among the tables there with corpus.tables")
    lines = read_lines(files, name)
    header = next(lines, Line(1, "")).text.split("\t")
    lacking = [c for c in ("path", "sentence") if c not in header]
    if lacking:
        raise CorpusError(f"{name} has no column {lacking[0]!r} in its first line; is it a Common Voice table?")
    for line in lines:
        fields = line.text.split("\t")
        row = dict(zip(header, fields, strict=False))
        yield line, row if len(fields) == len(header) else row | {"": f"{len(fields)} fields, not {len(header)}"}


def _row_fault(row: Mapping[str, str], clip: str, name: str, line: Line) -> tuple[str, str] | None:
    if "" in row:
        return ("bad_line", f"{name} line {line.number} has {row['']}")
    return None if clip else ("bad_line", f"{name} line {line.number} names no clip")


def _clip(path: str) -> str:
    """The file name of a clip; early releases leave its suffix away, some later ones put a folder before it."""
    name = path.strip().rsplit("/", 1)[-1]
    return name if not name or split_name(name)[1] else f"{name}.mp3"


def _splits(files: Store, folder: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for split in SPLITS:
        name = join(folder, f"{split}.tsv")
        if files.exists(name):
            found |= {_clip(row.get("path", "")): split for _, row in _rows(files, name)}
    return found


def _seconds(files: Store, name: str) -> dict[str, float]:
    """Clip to seconds, as the corpus lists them (the columns are ``clip`` and ``duration[ms]``)."""
    if not files.exists(name):
        return {}
    rows = (line.text.split("\t") for line in read_lines(files, name))
    return {r[0]: int(r[1]) / 1000 for r in rows if len(r) == 2 and r[1].isdigit()}
