"""Speech tokens are read from pickled .npy files without unpickling anything that can act."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manifests.corpora.safe_npy import MAX_BYTES, UnitsError, read_units

HEADER = (
    b"\x93NUMPY\x01\x00"
    + struct.pack("<H", 118)
    + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117)
    + b"\n"
)


def saved(value: Any, protocol: int = 3) -> bytes:
    """What ``np.save`` makes of an object, in any protocol of pickle."""
    return HEADER + pickle.dumps(np.array(value, dtype=object), protocol=protocol)


def plain(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


tokens = hnp.arrays(st.sampled_from(["<i8", ">i4", "<i2", "u2"]), st.integers(0, 40), elements=st.integers(0, 6563))


@settings(max_examples=80, deadline=None)
@given(units_T=tokens, protocol=st.integers(0, 5), cut=st.integers(0, 40), flat=st.booleans(), fortran=st.booleans())
def test_tokens_come_back_from_every_protocol(
    units_T: np.ndarray, protocol: int, cut: int, flat: bool, fortran: bool
) -> None:
    length = min(cut, units_T.size)
    array = units_T if flat else np.asarray(units_T[None], order="F" if fortran else "C")
    for stated in (np.array([length]), np.int64(length), length):
        read = read_units(saved({"speech_token": array, "speech_token_len": stated}, protocol))
        assert read.dtype == np.uint16
        assert read.tolist() == units_T[:length].tolist()
    assert read_units(plain(array)).tolist() == units_T.tolist()


def test_what_numpy_itself_saves_is_read() -> None:
    out = io.BytesIO()
    np.save(out, {"speech_token": np.arange(70_000)[None], "speech_token_len": np.array([70_000])}, allow_pickle=True)  # pyright: ignore[reportArgumentType]
    units_T = read_units(out.getvalue())
    assert units_T.dtype == np.int32  # they do not fit 16 bits
    assert units_T.tolist() == list(range(70_000))
    assert read_units(saved({"speech_token": [[1, 2, 3]]})).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"tokens": np.arange(3)}, "no 'speech_token'"),
        ({"speech_token": np.arange(6).reshape(2, 3)}, "shape"),
        ({"speech_token": np.ones(3)}, "no integer array"),
        ({"speech_token": np.array([-1])}, "no token ids"),
        ({"speech_token": np.array([2**40])}, "no token ids"),
        ({"speech_token": np.arange(3), "speech_token_len": 9}, "says 9 tokens but holds 3"),
        ({"speech_token": np.arange(3), "speech_token_len": "3"}, "no whole number"),
        ({"speech_token": "0 1 2"}, "no integer array"),
        ({"speech_token": [1, 2.5]}, "no list of whole numbers"),
        ({"speech_token": [2**70]}, "beyond 64 bits"),
        (3, "no integer array"),
    ],
)
def test_other_contents_are_refused_with_a_reason(value: Any, why: str) -> None:
    with pytest.raises(UnitsError, match=why):
        read_units(saved(value))


class Acting:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._call


def attacks(marker: Path) -> dict[str, bytes]:
    """Pickles that would act: make the marker, look around, or take the machine's memory."""
    code = f"open({str(marker)!r}, 'w')"
    shell = f"touch {marker}".encode()
    glob = b"c%b\n%b\n"
    call = b"(S'%b'\ntR."
    return {
        "os.system": pickle.dumps(Acting(os.system, f"touch {marker}")),
        "eval": pickle.dumps(Acting(eval, code)),
        "exec inside the tokens": pickle.dumps({"speech_token": Acting(exec, code)}),
        "numpy's own loader": glob % (b"numpy", b"load") + call % b"x",
        "numpy.testing's exec": glob % (b"numpy.testing._private.utils", b"runstring") + call % b"x",
        "numpy.core by another name": glob % (b"numpy.core._multiarray_umath", b"_reconstruct") + call % b"x",
        "dotted name through numpy": b"\x80\x04\x8c\x05numpy\x8c\x11dtype.__class__\x93" + b"\x8c\x01x\x85R.",
        "bytes of any size": glob % (b"builtins", b"bytes") + b"(I100000000000\ntR.",
        "getattr": glob % (b"builtins", b"getattr") + call % b"x",
        "operator.attrgetter": glob % (b"operator", b"attrgetter") + call % b"x",
        "torch": glob % (b"torch._utils", b"_rebuild_tensor_v2") + call % b"x",
        "torch's loader": glob % (b"torch.storage", b"_load_from_bytes") + call % b"x",
        "codecs": glob % (b"_codecs", b"decode") + call % b"x",
        "codecs.encode to another codec": glob % (b"_codecs", b"encode") + b"(Vx\nVrot13\ntR.",
        "INST": b"(S'%b'\nios\nsystem\n." % shell,
        "OBJ": b"(cos\nsystem\nS'%b'\no." % shell,
        "extension registry": b"\x82\x01.",
        "persistent object": b"S'x'\nQ.",
        "calling ndarray": glob % (b"numpy", b"ndarray") + b"((I1000000000000\nttR.",
        "new ndarray": b"\x80\x02" + glob % (b"numpy", b"ndarray") + b"(I1000000000000\nt\x81.",
        "changing the reader": glob % (b"numpy", b"dtype") + b"}(S'_run'\nNub.",
        "changing the reader's slots": b"\x80\x02" + glob % (b"numpy", b"dtype") + b"N}(S'_run'\nNu\x86b.",
        "a dtype of structures": glob % (b"numpy", b"dtype") + b"(](S'a'\nS'O'\nteI0\nI1\ntR.",
        "an array of a petabyte": glob % (b"numpy.core.multiarray", b"_reconstruct")
        + b"(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1000000000000000\ntcnumpy\ndtype\n(S'i8'\nI0\nI1\ntRI00\nS''\ntb.",
        "a memo of gigabytes": b"]r\xff\xff\xff\x7f.",
        "a memo of gigabytes, as text": b"]p2147483647\n.",
        "a frame longer than the file": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f].",
        "bytes longer than the file": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
        "tuples nested until the stack ends": b")" + b"\x85" * 900_000 + b"0}" + b")" + b"\x85" * 900_000 + b"Ns.",
        "lists nested deep": b"]" * 90_000 + b"a" * 89_999 + b".",
        "a list in itself": b"]q\x00h\x00a.",
        "no pickle": b"\xff\xff",
        "nothing": b"",
    }


@pytest.mark.parametrize("name", attacks(Path("marker")))
def test_a_pickle_that_acts_is_refused_without_effect(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    data = HEADER + attacks(marker)[name]
    tracemalloc.start()
    with pytest.raises(UnitsError) as error:
        read_units(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert not marker.exists()
    assert peak < 100 << 20
    good = saved({"speech_token": np.arange(3)[None]})
    assert read_units(good).tolist() == [0, 1, 2]  # the reader is as it was


@settings(max_examples=300, deadline=None)
@given(data=st.data(), protocol=st.integers(0, 5))
def test_a_damaged_file_is_read_or_refused_but_nothing_else(data: st.DataObject, protocol: int) -> None:
    whole = bytearray(saved({"speech_token": np.arange(9)[None], "speech_token_len": np.array([9])}, protocol))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.integers(0, len(whole)))]) if data.draw(st.booleans()) else bytes(whole)
    with contextlib.suppress(UnitsError):
        assert read_units(damaged).dtype in (np.uint16, np.int32)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a .npy"),
        (b"RIFF" * 9, "not a .npy"),
        (plain(np.arange(9))[:-1], "broken"),
        (plain(np.arange(4.0)), "no integer array"),
        (plain(np.zeros((1, 1, 1, 1), int)), "dimensions"),
        (plain(np.array(["a"])), "array of <U1"),
        (plain(np.arange(4)).replace(b"(4,), } ", b"(99,), }"), "do not fill"),
        (b"\x93NUMPY\x09\x00", "unknown version"),
        (b"\x93NUMPY\x01\x00\x10\x00__import__('os')", "header is broken"),
        (plain(np.zeros(3, [("a", "i4")])), "structured"),
        (bytes(MAX_BYTES + 1), "too many"),
    ],
)
def test_files_that_are_no_tokens_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(UnitsError, match=why):
        read_units(data)
