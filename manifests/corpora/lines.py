"""Reading text files of a corpus line by line, so that one bad line costs itself only.

UTF-8, with or without a byte order mark, with Unix or DOS line ends, plain or gzip (``.gz``). Lines are split at ``\\n``
alone: U+2028 and form feeds are part of a sentence. The line ends of old Macs (``\\r`` alone) are refused, never read over.
"""

from __future__ import annotations

import gzip
import json
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from manifests.corpora.base import CorpusError
from manifests.corpora.listing import Fault
from manifests.storage import Store

MAX_LINE = 16 << 20  # bytes; longer lines are no transcripts
MAX_NOTE = 1 << 20  # bytes of a file that holds one transcript
_CHUNK = 1 << 20
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end. A line that is not UTF-8 has backslash escapes and a fault; one that may be several has a fault."""

    number: int
    text: str
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What a ``key value`` file says of one key."""

    value: str
    line: int
    fault: Fault | None = None


def decode(data: bytes, where: str) -> tuple[str, Fault | None]:
    """``data`` as text; what is not UTF-8 is escaped, and the fault says where."""
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        sentence = f"{where} is not UTF-8 (byte {error.start}); convert the file, e.g. with iconv"
        return data.decode("utf-8", "backslashreplace"), ("bad_encoding", sentence)


def check_regular(files: Store, name: str) -> None:
    """Raises OSError where ``name`` is a local folder, device or pipe: opening a pipe waits for ever."""
    path = files.local(name)
    if path is not None and not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{name} is no regular file")


@contextmanager
def opened(files: Store, name: str) -> Iterator[IO[bytes]]:
    """``name`` opened for reading, unpacked where it ends in ``.gz``. Raises OSError, also for devices and pipes."""
    check_regular(files, name)
    with files.open(name) as raw:
        if name.endswith(".gz"):
            with gzip.open(raw, "rb") as unpacked:
                yield cast(IO[bytes], unpacked)
        else:
            yield raw


def read_lines(files: Store, name: str) -> Iterator[Line]:
    """The lines of ``name`` that are not blank.

    Raises FileNotFoundError, and :class:`CorpusError` for what cannot be read to its end, UTF-16, old line ends, or a line
    beyond :data:`MAX_LINE`.
    """
    try:
        with opened(files, name) as file:
            yield from _lines(file, name)
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{name} cannot be read to its end ({error}); fetch it again") from None


def _lines(file: IO[bytes], name: str) -> Iterator[Line]:
    number = 0
    while data := file.readline(MAX_LINE):
        number += 1
        if number == 1:
            if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise CorpusError(f"{name} is UTF-16; convert it to UTF-8, e.g. iconv -f utf-16 -t utf-8")
            data = data.removeprefix(_MARK)
        if len(data) == MAX_LINE:
            raise CorpusError(f"{name} line {number} is longer than {MAX_LINE} bytes; is it a text file?")
        data = data.rstrip(b"\r\n")
        if data and not data.isspace():
            yield _line(number, data, f"{name} line {number}")


def _line(number: int, data: bytes, where: str) -> Line:
    """Raises :class:`CorpusError` where the first line (a header, or the whole file) holds the end of another one."""
    text, fault = decode(data, where)
    if b"\r" in data:
        sentence = f"{where} holds a carriage return, the line end of old Macs; convert the file, e.g. with mac2unix"
        if number == 1:
            raise CorpusError(sentence)
        fault = fault or ("bad_line", sentence)
    return Line(number, text, fault)


def read_note(files: Store, name: str) -> tuple[str, Fault | None]:
    """The text of a file that holds one transcript, on one line, and what is wrong with it."""
    try:
        check_regular(files, name)
        data = files.read(name, 0, MAX_NOTE + 1)
    except OSError as error:
        return "", ("unreadable_text", f"{name} cannot be read ({error.strerror or error})")
    if len(data) > MAX_NOTE:
        return "", ("bad_line", f"{name} is longer than {MAX_NOTE} bytes; is it a transcript?")
    text, fault = decode(data.removeprefix(_MARK), name)
    return " ".join(part for line in text.splitlines() if (part := line.strip())), fault


def read_keyed(files: Store, name: str) -> dict[str, Entry]:
    """A ``key value`` file (Kaldi's ``text``, LibriSpeech's ``.trans.txt``) in the order of its lines.

    A key that comes again with the same value is one entry; with another value, the entry has a fault, for nobody knows
    which is right. Raises FileNotFoundError.
    """
    entries: dict[str, Entry] = {}
    for line in read_lines(files, name):
        key, *rest = line.text.split(maxsplit=1)
        value = rest[0].strip() if rest else ""
        first = entries.get(key)
        if first is None:
            entries[key] = Entry(value, line.number, line.fault)
        elif first.value != value:
            sentence = f"{name} lines {first.line} and {line.number} say different things of {key}"
            entries[key] = Entry(first.value, first.line, first.fault or ("ambiguous_line", sentence))
    return entries


def read_keyed_if_there(files: Store, name: str) -> dict[str, Entry]:
    """:func:`read_keyed`, or nothing where there is no such file."""
    return read_keyed(files, name) if files.exists(name) else {}


def parse_object(line: Line, where: str) -> tuple[dict[str, Any], Fault | None]:
    """A line that should be a JSON object, and what is wrong where it is not."""
    if line.fault:
        return {}, line.fault
    try:
        value = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        return {}, ("bad_line", f"{where} line {line.number} is not JSON ({error})")
    if not isinstance(value, dict):
        return {}, ("bad_line", f"{where} line {line.number} is not a JSON object")
    return value, None


def read_json_items(files: Store, name: str) -> Iterator[Any]:
    """The items of a JSON array, or (key, value) pairs of a JSON object, one at a time, never the whole file in memory.

    Raises FileNotFoundError, and :class:`CorpusError` where the file is neither or breaks off.
    """
    try:
        with opened(files, name) as file:
            yield from _Items(file, name).read()
    except FileNotFoundError:
        raise
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{name} cannot be read to its end ({error}); fetch or convert it again") from None


class _Items:
    """A window over a JSON text: grown while an item is incomplete, cut off behind each item."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        import codecs

        self._file, self._name = file, name
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._decoder = json.JSONDecoder()
        self._text, self._at, self._ended = "", 0, False

    def read(self) -> Iterator[Any]:
        bracket = self._peek()
        if bracket not in ("[", "{"):
            raise CorpusError(f"{self._name} is neither a JSON list nor a JSON object")
        self._at += 1
        close = "]" if bracket == "[" else "}"
        while self._peek() != close:
            yield self._value() if bracket == "[" else self._pair()
            if self._peek() == ",":
                self._at += 1
            elif self._peek() != close:
                raise CorpusError(f"{self._name} breaks off after an item: expected , or {close}")

    def _pair(self) -> tuple[str, Any]:
        key = self._value()
        if not isinstance(key, str) or self._peek() != ":":
            raise CorpusError(f"{self._name} is not JSON: a key and a colon were expected")
        self._at += 1
        return key, self._value()

    def _value(self) -> Any:
        self._peek()
        wanted = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if self._ended or isinstance(error, RecursionError) or len(self._text) - self._at > 4 * MAX_LINE:
                    raise CorpusError(f"{self._name} is not JSON ({error})") from None
                self._grow(wanted)
                wanted *= 2
                continue
            if end < len(self._text) or self._ended:  # a number at the window's edge may go on
                self._at = end
                return value
            self._grow(wanted)

    def _peek(self) -> str:
        """The next character that is not a space, without taking it. Raises :class:`CorpusError` at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                raise CorpusError(f"{self._name} is empty or breaks off; fetch it again")
            self._grow(_CHUNK)

    def _grow(self, wanted: int) -> None:
        data = self._file.read(wanted)
        self._ended = not data
        self._text = self._text[self._at :] + self._decode(data, final=self._ended)
        self._at = 0
