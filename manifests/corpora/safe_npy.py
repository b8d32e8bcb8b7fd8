"""Speech tokens from ``.npy`` files, plain or as VocalNet pickles them, without unpickling anything that can act.

A pickle is a program. The reader here runs it on a machine that knows a few harmless words: how numpy rebuilds an array,
its dtypes and numbers. Every other name ends the reading with :class:`UnitsError` before anything is called, and an array
is built only where its bytes are already there, so no few bytes can ask for gigabytes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

MAX_BYTES = 64 << 20
MAX_DIMENSIONS = 3
_MAGIC = b"\x93NUMPY"
_DTYPES = frozenset(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "b1"])
MAX_HEADER = 10_000  # bytes, as numpy's own limit
MAX_OPCODES = 1_000_000
MAX_TUPLES = 1_000
_NEEDLESS = frozenset(
    [
        "EXT1",
        "EXT2",
        "EXT4",
        "NEXT_BUFFER",
        "READONLY_BUFFER",
        "INST",
        "OBJ",
        "DUP",
        "EMPTY_SET",
        "ADDITEMS",
        "FROZENSET",
        "NEWOBJ",
        "NEWOBJ_EX",
    ]
)
_KEY = "speech_token"
_HEADER = re.compile(
    rb"\{'descr': ?'([<>=|][a-zA-Z]\d{0,3})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,18},? ?){0,9})\),? ?\}\s*"
)
_BROKEN = (
    pickle.UnpicklingError, ValueError, TypeError, AttributeError, LookupError, EOFError, OverflowError, MemoryError,
    RecursionError, ImportError,
)  # fmt: skip


class UnitsError(ValueError):
    """Not a file of speech tokens, or one that is not safe to read."""


def read_units(data: bytes) -> np.ndarray:
    """units_T: the tokens of one utterance, uint16 where they fit, else int32.

    data    a ``.npy`` file: an integer array of shape T or 1 x T, or VocalNet's pickled dict of ``speech_token``
            (1 x T) and ``speech_token_len``, which then says how many of them count

    Raises :class:`UnitsError`. Source of the format: VocalNet's training data (SJTU-OmniAgent/VocalNet).
    """
    if len(data) > MAX_BYTES:
        raise UnitsError(f"{len(data)} bytes are too many for one utterance's tokens (at most {MAX_BYTES})")
    descr, fortran, shape, content = _header(data)
    return _tokens(_load(content) if descr == "|O" else _plain(content, descr, fortran, shape))


def _header(data: bytes) -> tuple[str, bool, tuple[int, ...], bytes]:
    """The dtype's name, whether in Fortran order, the shape, and what follows the header."""
    if not data.startswith(_MAGIC):
        raise UnitsError("not a .npy file (its first bytes are not numpy's)")
    version = data[6:7]
    if version not in (b"\x01", b"\x02", b"\x03"):
        raise UnitsError(f"a .npy file of an unknown version ({version.hex()}); save it again with numpy")
    start = 10 if version == b"\x01" else 12
    end = start + int.from_bytes(data[8:start], "little")
    match = _HEADER.fullmatch(data[start:end]) if end - start <= MAX_HEADER else None
    if match is None:
        raise UnitsError("its .npy header is broken, or that of a structured array")
    shape = tuple(int(n) for n in match[3].split(b",") if n.strip())
    return match[1].decode("ascii"), match[2] == b"True", shape, data[end:]


def _plain(content: bytes, descr: str, fortran: bool, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) > MAX_DIMENSIONS or descr[1:] not in _DTYPES:
        raise UnitsError(f"an array of {descr} in {len(shape)} dimensions; integer tokens (T or 1 x T) were expected")
    dtype = np.dtype(descr)
    if _count(shape) * dtype.itemsize != len(content):
        raise UnitsError(f"its array is broken: {len(content)} bytes do not fill the shape {shape}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _tokens(value: Any) -> np.ndarray:
    """units_T of what was read: an array, or a dict of one (numpy wraps it in an array of no dimensions)."""
    length = None
    if isinstance(value, np.ndarray) and value.dtype == object and value.shape == ():
        value = value.item()
    if isinstance(value, dict):
        if _KEY not in value:
            raise UnitsError(f"its dict has no {_KEY!r}; it has {', '.join(sorted(map(str, value)))[:80] or 'nothing'}")
        length = _length(value.get("speech_token_len"))
        value = value[_KEY]
    if isinstance(value, list):
        value = _from_list(value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
        raise UnitsError(f"its tokens are no integer array but {getattr(value, 'dtype', type(value).__name__)}")
    if value.ndim == 0 or sum(n != 1 for n in value.shape) > 1:
        raise UnitsError(f"its tokens have shape {value.shape}; T or 1 x T was expected")
    units_T = value.reshape(-1)
    if length is not None and not 0 <= length <= units_T.size:
        raise UnitsError(f"it says {length} tokens but holds {units_T.size}")
    return _narrow(units_T[:length])


def _length(value: Any) -> int | None:
    if value is None:
        return None
    found = np.asarray(value)
    if found.size != 1 or found.dtype.kind not in "iu":
        raise UnitsError("its speech_token_len is no whole number")
    return int(found.reshape(-1)[0])


def _from_list(value: list[Any]) -> np.ndarray:
    row = value[0] if len(value) == 1 and isinstance(value[0], list) else value
    if not all(type(v) is int for v in row):
        raise UnitsError("its tokens are no list of whole numbers")
    try:
        return np.array(row, dtype=np.int64)
    except OverflowError:
        raise UnitsError("its tokens are beyond 64 bits") from None


def _narrow(units_T: np.ndarray) -> np.ndarray:
    if units_T.size and (units_T.min() < 0 or units_T.max() > np.iinfo(np.int32).max):
        raise UnitsError(f"tokens from {units_T.min()} to {units_T.max()} are no token ids")
    wide = units_T.size and units_T.max() > np.iinfo(np.uint16).max
    return np.ascontiguousarray(units_T, dtype=np.int32 if wide else np.uint16)


class _Dtype:
    """A numpy dtype in the making: only plain numbers, and the object dtype of the outer wrapping."""

    def __init__(self, name: Any, *_: Any) -> None:
        if not isinstance(name, str) or (name not in _DTYPES and name != "O8"):
            raise UnitsError(f"a dtype {str(name)[:40]!r} is not one of plain numbers")
        self.name, self.order = name, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise UnitsError("a dtype with a broken state")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        return np.dtype(f"{self.order}{self.name}")


class _Array:
    """A numpy array in the making: holds nothing until its bytes come."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise UnitsError("an array with a broken state")
        _, shape, dtype, fortran, raw = state
        if not _is_shape(shape) or not isinstance(raw, bytes | bytearray | list):
            raise UnitsError("an array with a broken shape or content")
        if isinstance(raw, list):
            if dtype.name != "O8" or len(raw) != _count(shape):
                raise UnitsError("an array of objects that do not fill its shape")
            self.value = np.empty(len(raw), dtype=object)
            self.value[:] = [_finished(item) for item in raw]
            self.value = self.value.reshape(shape)
            return
        if dtype.name == "O8" or _count(shape) * dtype.numpy().itemsize != len(raw):
            raise UnitsError("an array whose bytes do not fill its shape")
        flat = np.frombuffer(raw, dtype=dtype.numpy())
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS and all(type(n) is int and n >= 0 for n in shape)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", raw))
    return array


def _scalar(dtype: Any, raw: Any = b"") -> int | float:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes) or dtype.name == "O8":
        raise UnitsError("a number with a broken state")
    if len(raw) != dtype.numpy().itemsize:
        raise UnitsError("a number whose bytes do not fill it")
    return np.frombuffer(raw, dtype=dtype.numpy())[0].item()


def _latin1(text: Any, encoding: Any) -> bytes:
    """``_codecs.encode`` as protocol 2 uses it, to write bytes as text."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnitsError("text that does not stand for bytes")
    return text.encode("latin-1")


def _no_call(*_: Any) -> Any:
    raise UnitsError("numpy.ndarray may not be called")


def _no_bytes(*arguments: Any) -> bytes:
    """``bytes()``, which old protocols write for no bytes at all."""
    if arguments:
        raise UnitsError("bytes may not be called with anything")
    return b""


class _Word:
    """What a pickle gets for a name it may use: it can be called, and nothing else, not even given a state."""

    __slots__ = ("_run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *arguments: Any) -> Any:
        return self._run(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise UnitsError("its pickle tries to change the reader")


_HARMLESS: dict[tuple[str, str], _Word] = {
    ("numpy", "ndarray"): _Word(_no_call),
    ("numpy", "dtype"): _Word(_Dtype),
    ("_codecs", "encode"): _Word(_latin1),
    ("__builtin__", "bytes"): _Word(_no_bytes),
    ("builtins", "bytes"): _Word(_no_bytes),
    **{
        (f"numpy.{core}.{module}", name): _Word(stand_in)
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    """Finds only the stand-ins: nothing is imported, and no attribute of anything is looked up."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _HARMLESS[module_name, global_name]
        except KeyError:
            raise UnitsError(f"its pickle asks for {module_name[:60]}.{global_name[:60]}: not loaded") from None

    def persistent_load(self, pid: Any, /) -> Any:
        raise UnitsError("its pickle asks for an outside object: not loaded")


def _check(data: bytes) -> None:
    """Refuse, before it is run, what could grow or crash the interpreter; ``pickletools.genops`` only reads.

    A memo slot of two billion makes the unpickler allocate a table of that size; hashing tuples nested a million deep
    overflows the C stack.
    """
    tuples = 0
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if opcode.name in _NEEDLESS:
                raise UnitsError(f"its pickle has an opcode {opcode.name}, which no token file needs")
            if opcode.name in ("PUT", "LONG_BINPUT") and isinstance(argument, int) and argument > MAX_OPCODES:
                raise UnitsError("its pickle asks for a huge table")
            tuples += opcode.name.startswith("TUPLE")
            if count > MAX_OPCODES or tuples > MAX_TUPLES:
                raise UnitsError("its pickle is too long for one utterance's tokens")
    except UnitsError:
        raise
    except _BROKEN as error:
        raise UnitsError(f"its pickle is broken ({_short(error)})") from None


def _load(data: bytes) -> Any:
    """The one object of a pickle, made of stand-ins."""
    _check(data)
    try:
        return _finished(_Unpickler(io.BytesIO(data)).load())
    except UnitsError:
        raise
    except _BROKEN as error:
        raise UnitsError(f"its pickle is broken ({_short(error)})") from None


def _finished(value: Any) -> Any:
    """``value`` with its stand-ins replaced by what they stand for, two containers deep."""
    if isinstance(value, _Array):
        if value.value is None:
            raise UnitsError("an array without content")
        return value.value
    if isinstance(value, dict):
        return {k: _finished(v) for k, v in value.items() if isinstance(k, str)}
    return value


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
