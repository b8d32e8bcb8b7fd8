"""``.npy`` members: written without pickle, read without copying.

Shape legend: arrays are whatever the member holds; nothing here knows their meaning.
"""

from __future__ import annotations

import io
import math
import tokenize
from functools import lru_cache

import numpy as np

_MAGIC = b"\x93NUMPY\x01\x00"


class NpyError(ValueError):
    """Bytes that are not a plain ``.npy`` array."""


@lru_cache(maxsize=4096)
def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()


def dump(array: np.ndarray) -> bytes:
    """The ``.npy`` bytes (version 1.0, C order) of a numeric array. Raises :class:`NpyError` for object arrays."""
    if array.dtype.hasobject:
        raise NpyError("arrays of Python objects would need pickle")
    array = np.asarray(array, order="C")  # ascontiguousarray would make a vector of a scalar
    return _header(array.dtype, array.shape) + array.tobytes()


@lru_cache(maxsize=4096)
def _parse(header: bytes) -> tuple[np.dtype, tuple[int, ...], int]:
    stream = io.BytesIO(header[len(_MAGIC) :])
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError, MemoryError, RecursionError) as error:
        raise NpyError(f"bad .npy header: {error}") from None
    if dtype.hasobject or fortran or not dtype.itemsize or any(n < 0 for n in shape):
        raise NpyError("only plain C-ordered numeric arrays are read")
    return dtype, shape, math.prod(shape)


def load(data: bytes | memoryview) -> np.ndarray:
    """The array in ``data``, as a read-only view of it: nothing is copied or executed.

    Raises :class:`NpyError` for other versions, object dtypes, Fortran order, or missing bytes.
    """
    if len(data) < 10 or bytes(data[:8]) != _MAGIC:
        raise NpyError("not a version 1.0 .npy array")
    start = 10 + (data[8] | data[9] << 8)
    dtype, shape, count = _parse(bytes(data[:start]))
    if len(data) != start + count * dtype.itemsize:
        raise NpyError(f"{len(data) - start} bytes of data where {shape} of {dtype} needs {count * dtype.itemsize}")
    return np.frombuffer(data, dtype, count, start).reshape(shape)
