"""Lists: TSV, CSV, JSONL (NeMo, WeNet) and JSON files that name sound files and what is said in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.columns import Columns, as_text, lookup, utterance_of
from manifests.corpora.listing import Names, legible, place, split_of_folder
from manifests.corpora.rows import SUFFIXES, Row, kind_of, read_rows
from manifests.storage import Store
from manifests.utterance import Utterance

HEAD = 100  # rows by which a list is judged


class Table(Corpus):
    """The root is the folder that paths in the lists start from, and holds the lists."""

    layout: Literal["table"] = "table"
    lists: tuple[str, ...] = Field((), description="the lists, relative to the root (default: all that lie in it)")
    columns: Columns = Field(Columns(), description="names of columns, where the usual ones do not do")
    audio: str = Field("", description="folder that paths start from, relative to the root")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="default: by the name and the first line"
    )
    quotes: bool | None = Field(None, description='whether "..." encloses a field (default: in .csv, not in .tsv)')
    header: bool = Field(True, description="whether the first line names the columns; else columns have numbers")
    keep: tuple[str, ...] = Field((), description="columns to keep in the samples, beside those that are understood")

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """List by list, line by line. A list named ``train``, ``dev`` or ``test`` says the split of its lines.

        Raises :class:`CorpusError` where there is no list, none holds a row, or one has no column for the sound.
        """
        lists = self.lists or self._found(files)
        first = next(rows := self._listed(files, lists), None)
        if first is None:
            found = ", ".join(lists)[:200]
            raise CorpusError(f"no row in {found} of {files.root}: empty, or a header alone; fetch it again")
        yield first
        yield from rows

    def _listed(self, files: Store, lists: Sequence[str]) -> Iterator[Utterance]:
        names = Names()
        for name in lists:
            split = split_of_folder(name.rsplit("/", 1)[-1])
            rows = read_rows(files, name, self.delimiter, self.quotes, self.header)
            head = list(islice(rows, HEAD))
            self._check(head, name)
            for row in chain(head, rows):
                stated = "id" in self.columns.find(row.values)
                where = f"{name} {row.what} {row.number}"
                utterance = self._utterance(files, row, where, split)
                yield legible(names.once(utterance, where) if stated else names.apart(utterance))

    def _found(self, files: Store) -> list[str]:
        found = [n for n in files.list() if kind_of(n) and not _is_folder(files, n)]
        if not found:
            raise CorpusError(f"no list ({', '.join(SUFFIXES)}) in {files.root}; name it with corpus.lists")
        return found

    def _check(self, head: Sequence[Row], name: str) -> None:
        """Raises :class:`CorpusError` where a list cannot be understood at all. In JSON each row may have columns of its own: all of the first ones count."""
        columns = list(dict.fromkeys(column for row in head for column in row.values))
        absent = self.columns.absent(columns)
        if columns and (absent or "audio" not in self.columns.find(columns)):
            lack = f"no column {absent[0]!r}" if absent else "no column that is known to name sound files"
            raise CorpusError(
                f"{name} has {lack}; it has {', '.join(columns)[:200]}; set corpus.columns or corpus.lists"
            )

    def _utterance(self, files: Store, row: Row, where: str, split: str | None) -> Utterance:
        found = self.columns.find(row.values)
        u = utterance_of(
            row.values, found, where, partial(place, files, prefix=self.audio), self.language, fault=row.fault
        )
        kept = {name: value for name in self.keep if (value := as_text(lookup(row.values, name))) is not None}
        if not kept and (u.split or not split):
            return u
        return replace(u, split=u.split or split, extra={**u.extra, **kept})


def _is_folder(files: Store, name: str) -> bool:
    """Whether a folder is called like a list. Of object storage nobody needs to ask: it has none."""
    path = files.local(name)
    return path is not None and path.is_dir()
