"""What the receipts of a folder say, in short, without reading again those that have not changed.

``receipts.index`` lies beside the folder ``receipts`` of large stages. It is a cache and never the truth: what it says of a receipt holds only while size and
time (or ETag) of that are those of the listing; whatever is new or changed is read, and a dataset is folded from the receipts themselves.
"""

from __future__ import annotations

import re
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import orjson

from manifests.ahead import in_order
from manifests.ledger import Outcome
from manifests.receipt import FOLDER, Receipt, ReceiptError
from manifests.storage import Store

NAME = "receipts.index"
FORMAT = "speechmill-receipts/3"
WORTH = 1000  # receipts read anew that are worth another index
UNIT = re.compile(r"unit-(\d{6,})\.json")

Stamp = tuple[Any, ...]
OnFault = Callable[[Exception], None]


@dataclass(frozen=True, slots=True)
class Brief:
    """What a receipt says without naming its utterances.

    ends      utterances by status and reason ("" where there is none)
    shard     SHA-256 of its first file; empty where it has none
    sources   the hashes among its facts: what it was made of
    seconds   of audio, by split
    took      seconds that making it took; ``started`` is when it was begun
    core      seconds of these in which its worker had a core; None where it does not say
    waited    seconds of these in which its worker could have gone on and had none; likewise
    bytes     of its files, and its own
    """

    unit: int
    ends: Mapping[str, Mapping[str, int]]
    shard: str
    sources: Mapping[str, str]
    seconds: Mapping[str, float]
    took: float
    started: float
    core: float | None
    waited: float | None
    bytes: int

    @classmethod
    def of(cls, unit: int, receipt: Receipt, size: int | None = None) -> Brief:
        """``size`` of the receipt itself, where it is known."""
        facts, made = receipt.facts, receipt.made
        own = len(receipt.to_bytes()) if size is None else size
        splits = facts.get("splits", {})
        return cls(
            unit,
            _counted(receipt.outcomes),
            receipt.files[0].sha256 if receipt.files else "",
            {name: value for name, value in facts.items() if isinstance(value, str)},
            {split: float(amounts.get("seconds", 0.0)) for split, amounts in splits.items()},
            float(made.get("seconds", 0.0)),
            float(made.get("started", 0.0)),
            _number(made.get("core_seconds")),
            _number(made.get("waited_seconds")),
            own + sum(file.bytes for file in receipt.files),
        )

    def to_json(self) -> list[Any]:
        return [getattr(self, name) for name in self.__slots__]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _counted(outcomes: tuple[Outcome, ...]) -> dict[str, dict[str, int]]:
    ends: dict[str, dict[str, int]] = {}
    for (status, reason), count in Counter((o.status, o.reason or "") for o in outcomes).items():
        ends.setdefault(status, {})[reason] = count
    return ends


def briefs(store: Store, keep: bool = False, on_fault: OnFault | None = None) -> Iterator[Brief]:
    """Every receipt of the stage in ``store``, in short: those known already first, then the others by unit.

    With ``keep`` the index is written again once enough was new. A damaged receipt goes to ``on_fault``, or raises :class:`ReceiptError`.
    """
    stamps = {name: stamp for name, stamp in store.stamps(FOLDER).items() if UNIT.fullmatch(name)}
    with _Writer.opened(store, keep and len(stamps) >= WORTH) as writer:
        for name, brief in _known(store, stamps):
            writer.add(name, stamps.pop(name), brief, new=False)
            yield brief
        for name, brief in _read(store, sorted(stamps), on_fault):
            writer.add(name, stamps[name], brief, new=True)
            yield brief
        writer.publish(store)


def _known(store: Store, stamps: Mapping[str, Stamp]) -> Iterator[tuple[str, Brief]]:
    """What the index says of receipts that are still the same; nothing where there is none, or a damaged one."""
    try:
        with store.open(NAME) as file:
            if _checked(file.readline()) != FORMAT:
                return
            for line in file:
                name, stamp, *said = _checked(line)
                if stamps.get(name) == tuple(stamp):
                    yield name, Brief(*said)
    except (FileNotFoundError, ValueError, TypeError):
        return


def _checked(line: bytes) -> Any:
    """The value of a line of the index. Raises ValueError where it is not as it was written."""
    check, _, data = line.rstrip(b"\n").partition(b" ")
    if int(check, 16) != zlib.crc32(data):
        raise ValueError("a damaged line")
    return orjson.loads(data)


def _read(store: Store, names: list[str], on_fault: OnFault | None) -> Iterator[tuple[str, Brief]]:
    def brief(name: str) -> tuple[str, Brief] | Exception:
        try:
            data = store.read(f"{FOLDER}/{name}")
            receipt = Receipt.from_bytes(data, f"{store.root}/{FOLDER}/{name}")
            return name, Brief.of(int(name[5:-5]), receipt, len(data))
        except FileNotFoundError as error:  # it went since the listing
            return error
        except ReceiptError as error:
            if on_fault is None:
                raise
            return error

    for found in map(brief, names) if store.is_local else in_order(brief, names):
        if not isinstance(found, Exception):
            yield found
        elif on_fault is not None:
            on_fault(found)


@dataclass
class _Writer:
    """The next index, in a local file until it is known to be worth keeping."""

    file: IO[bytes] | None
    new: int = 0

    @classmethod
    def opened(cls, store: Store, keep: bool) -> _Writer:
        writer = cls(tempfile.NamedTemporaryFile(prefix="speechmill-receipts-") if keep else None)  # noqa: SIM115 - closed by __exit__
        writer.write(FORMAT)
        return writer

    def write(self, value: Any) -> None:
        if self.file is not None:
            data = orjson.dumps(value)
            self.file.write(b"%08x %b\n" % (zlib.crc32(data), data))

    def add(self, name: str, stamp: Stamp, brief: Brief, new: bool) -> None:
        self.new += new
        self.write([name, stamp, *brief.to_json()])

    def publish(self, store: Store) -> None:
        if self.file is not None and self.new >= WORTH:
            self.file.flush()
            store.publish_file(NAME, Path(self.file.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()
