"""Columns of Arrow tables from utterances, for the formats that are parquet.

Legend: codes_FQ uint16 (frames x codebooks).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 100  # of a row group: what a reader that wants one row must fetch


def vectors(values: Sequence[np.ndarray | None], dtype: type[np.generic]) -> pa.ListArray:
    """A list column of vectors; null where there is none."""
    import pyarrow as pa

    offsets_N, missing_N = _offsets(values)
    filled = [np.zeros(0, dtype), *(np.asarray(v, dtype) for v in values if v is not None)]
    return pa.ListArray.from_arrays(pa.array(offsets_N), pa.array(np.concatenate(filled)), mask=pa.array(missing_N))


def matrices(values: Sequence[np.ndarray | None], columns: int) -> pa.ListArray:
    """A column of lists of lists of uint16: frames of codes; null where there are none."""
    import pyarrow as pa

    offsets_N, missing_N = _offsets(values)
    codes_FQ = np.concatenate([np.zeros((0, columns), np.uint16), *(v for v in values if v is not None)])
    starts_F = np.arange(len(codes_FQ) + 1, dtype=np.int32) * columns
    frames = pa.ListArray.from_arrays(pa.array(starts_F), pa.array(codes_FQ.reshape(-1)))
    return pa.ListArray.from_arrays(pa.array(offsets_N), frames, mask=pa.array(missing_N))


def _offsets(values: Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    lengths = [0 if v is None else len(v) for v in values]
    return np.cumsum([0, *lengths]).astype(np.int32), np.array([v is None for v in values])


def parquet(table: pa.Table) -> bytes:
    """The table as a parquet file: the same table gives the same bytes."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=ROWS, compression="zstd")
    return out.getvalue()
