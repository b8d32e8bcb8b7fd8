"""``.npy`` members: what numpy writes and reads, but never an object, never a pickle, never a copy."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manifests.shards.npy import NpyError, dump, load

ARRAYS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32, np.int64, np.float16, np.float32, np.bool_]),
    hnp.array_shapes(min_dims=0, min_side=0),
)


@given(ARRAYS)
def test_an_array_comes_back_as_it_was(array: np.ndarray) -> None:
    again = load(dump(array))
    assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(ARRAYS)
def test_numpy_reads_what_we_write_and_we_read_what_numpy_writes(array: np.ndarray) -> None:
    ours = np.load(io.BytesIO(dump(array)), allow_pickle=False)
    assert (ours.dtype, ours.shape, ours.tobytes()) == (array.dtype, array.shape, array.tobytes())
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    assert load(stream.getvalue()).tobytes() == array.tobytes()


def test_equal_arrays_give_equal_bytes_however_they_lie_in_memory() -> None:
    array = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert dump(array) == dump(np.asfortranarray(array)) == dump(np.repeat(array, 2, 0)[::2])


def test_what_is_read_is_a_view_that_cannot_be_written_to() -> None:
    data = dump(np.arange(5))
    array = load(data)
    assert not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_arrays_of_objects_are_neither_written_nor_read() -> None:
    objects = np.array([{}], dtype=object)
    with pytest.raises(NpyError, match="pickle"):
        dump(objects)
    stream = io.BytesIO()
    np.save(stream, objects, allow_pickle=True)
    with pytest.raises(NpyError):
        load(stream.getvalue())


def test_a_pickle_is_refused_unread() -> None:
    with pytest.raises(NpyError):
        load(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94.")


@pytest.mark.parametrize("shape", ["(-2, -3)", "(-1,)", "(4294967296, 4294967296)", "(2,)*9", "((((1", "'x'", "(1.5,)"])
def test_a_header_with_an_impossible_shape_is_refused(shape: str) -> None:
    header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    for rest in (b"", bytes(12)):
        with pytest.raises(NpyError):
            load(data + rest)


@pytest.mark.parametrize("descr", ["'|O'", "'|V0'", "'|S0'", "[('a', '|O')]", "'nonsense'"])
def test_a_header_with_an_unsafe_type_is_refused(descr: str) -> None:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n".encode()
    with pytest.raises(NpyError):
        load(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(NpyError):
        load(data)


@given(ARRAYS, st.data())
def test_damaged_bytes_are_refused_or_an_array_but_nothing_else(array: np.ndarray, data: st.DataObject) -> None:
    whole = bytearray(dump(array))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(whole), data.draw(st.integers(0, len(whole)))]))
    with suppress(NpyError):
        assert isinstance(load(bytes(whole[:cut])), np.ndarray)
