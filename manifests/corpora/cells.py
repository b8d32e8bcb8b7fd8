"""Single cells of parquet files and of datasets saved to disk, and their text columns, without decoding any audio.

pyarrow alone reads both; nothing of the stored features is run or decoded.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from manifests.corpora.lines import check_regular
from manifests.storage import Store


class BadCell(ValueError):
    """No such row or column, or a table that cannot be read; its cause is what the system said, where that is why."""


class ParquetCells:
    """Random access to one parquet file: the column chunk that was used last stays in memory.

    limit   bytes that one column chunk may take once unpacked
    """

    def __init__(self, files: Store, name: str, limit: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.name, self._limit = name, limit
        try:
            self._file = pq.ParquetFile(files.open(name))
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise BadCell(f"{name} is not a readable parquet file ({_first_line(error)})") from error
        meta = self._file.metadata
        sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        self._ends = list(accumulate(sizes))
        self._held: tuple[int, str, Any] | None = None

    def cell(self, row: int, column: str) -> Any:
        """The value as plain Python: bytes, str, or a dict of them. Raises :class:`BadCell`."""
        group = bisect_right(self._ends, row)
        if row < 0 or group >= len(self._ends):
            raise BadCell(f"{self.name} has {self._ends[-1] if self._ends else 0} rows, no row {row}")
        first = self._ends[group - 1] if group else 0
        return self._column(group, column)[row - first].as_py()

    def _column(self, group: int, column: str) -> Any:
        import pyarrow as pa

        if self._held is None or self._held[:2] != (group, column):
            self._held = None
            self._check(group, column)
            try:
                table = self._file.read_row_group(group, columns=[column])
            except (pa.ArrowException, OSError) as error:
                raise BadCell(f"{self.name} is damaged ({_first_line(error)})") from error
            self._held = (group, column, table.column(column))
        return self._held[2]

    def _check(self, group: int, column: str) -> None:
        if column not in self._file.schema_arrow.names:
            raise BadCell(f"{self.name} has no column {column!r}; it has {', '.join(self._file.schema_arrow.names)}")
        meta = self._file.metadata.row_group(group)
        chunks = (meta.column(i) for i in range(meta.num_columns))
        size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".", 1)[0] == column)
        if size > self._limit:
            raise BadCell(f"{self.name} has a row group of {size} bytes; write it again with smaller row groups")

    def close(self) -> None:
        self._held = None
        self._file.close()


class SavedCells:
    """Random access to a dataset that ``save_to_disk`` wrote: its Arrow files, mapped into memory."""

    def __init__(self, files: Store, name: str) -> None:
        self.name = name
        self._tables = [_mapped(files, f) for f in saved_files(files, name)]
        self._ends = list(accumulate(t.num_rows for t in self._tables))

    def cell(self, row: int, column: str) -> Any:
        """The value as plain Python: bytes, str, or a dict of them. Raises :class:`BadCell`."""
        at = bisect_right(self._ends, row)
        if row < 0 or at >= len(self._ends):
            raise BadCell(f"{self.name} has {self._ends[-1] if self._ends else 0} rows, no row {row}")
        if column not in self._tables[at].schema.names:
            raise BadCell(f"{self.name} has no column {column!r}; it has {', '.join(self._tables[at].schema.names)}")
        return self._tables[at].column(column)[row - (self._ends[at - 1] if at else 0)].as_py()

    def close(self) -> None:
        self._tables = []


def saved_files(files: Store, name: str) -> list[str]:
    """The Arrow files of a saved dataset in the order of its rows, relative to the root. Raises :class:`BadCell`."""
    state = f"{name}/state.json" if name else "state.json"
    try:
        listed = [f["filename"] for f in json.loads(files.read(state))["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadCell(f"{state} does not list the files of a saved dataset ({_first_line(error)})") from error
    if not all(isinstance(f, str) and "/" not in f and f != ".." for f in listed):
        raise BadCell(f"{state} names files outside its folder")
    return [f"{name}/{f}" if name else f for f in listed]


def _mapped(files: Store, name: str) -> Any:
    import pyarrow as pa

    path = files.local(name)
    if path is None:
        raise BadCell(f"{name}: saved datasets are read from local disk only; copy it there, or write parquet")
    try:
        source = pa.memory_map(str(path))
        return pa.ipc.open_stream(source).read_all()
    except (pa.ArrowException, OSError) as error:
        raise BadCell(f"{name} is not a readable Arrow file ({_first_line(error)})") from error


def parquet_rows(files: Store, name: str, audio: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of ``columns`` (plus the stored path of ``audio``, as ``audio``) of a parquet file; sound is not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with files.open(name) as raw, pq.ParquetFile(raw) as file:
            wanted = [*columns, *_path_columns(file.schema_arrow, audio)]
            total = file.metadata.num_rows
            if not wanted:
                yield from ({} for _ in range(total))
            else:
                for batch in file.iter_batches(batch_size=4096, columns=wanted):
                    yield from _plain_rows(batch, audio)
    except (pa.ArrowException, OSError) as error:
        raise BadCell(f"{name} is not a readable parquet file ({_first_line(error)})") from None


def saved_rows(files: Store, name: str, audio: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The same of one Arrow file of a saved dataset."""
    table = _mapped(files, name)
    path = _path_columns(table.schema, audio)
    for batch in table.select([*columns, *([audio] if path else [])]).to_batches(max_chunksize=4096):
        if path == [f"{audio}.path"]:
            at = batch.schema.get_field_index(audio)
            batch = batch.set_column(at, audio, batch.column(at).field("path"))
        yield from batch.to_pylist() if batch.num_columns else ({} for _ in range(batch.num_rows))


def _path_columns(schema: Any, audio: str) -> list[str]:
    """The leaf that holds the sound's path, if any; never the one that holds its bytes."""
    import pyarrow as pa

    kind = schema.field(audio).type
    if pa.types.is_struct(kind):
        return [f"{audio}.path"] if kind.get_field_index("path") >= 0 else []
    return [audio] if pa.types.is_string(kind) or pa.types.is_large_string(kind) else []


def _plain_rows(batch: Any, audio: str) -> Iterator[dict[str, Any]]:
    for row in batch.to_pylist():
        stored = row.get(audio)
        yield row | {audio: stored.get("path")} if isinstance(stored, dict) else row


def features_of(schema: Any) -> Mapping[str, Any]:
    """What the writer noted of its columns (``Audio``, ``ClassLabel`` names, ...); empty where nothing is noted."""
    note = (schema.metadata or {}).get(b"huggingface")
    try:
        found = json.loads(note)["info"]["features"] if note else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def schema_of(files: Store, name: str) -> Any:
    """The Arrow schema of a parquet file, or of an Arrow file of a saved dataset. Raises :class:`BadCell`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not name.endswith(".parquet"):
        return _mapped(files, name).schema
    try:
        check_regular(files, name)
        with files.open(name) as raw, pq.ParquetFile(raw) as file:
            return file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise BadCell(f"{name} is not a readable parquet file ({_first_line(error)})") from None


def _first_line(error: BaseException) -> str:
    """Of what the system refuses, its words alone: the rest names where the corpus lies."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return (str(error).splitlines() or [type(error).__name__])[0]
