"""Receipts: the last thing written for a unit. Readers believe receipts only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import orjson

from manifests.ahead import in_order
from manifests.fingerprint import canonical, pretty, sha256
from manifests.ledger import Outcome
from manifests.storage import Store

FOLDER = "receipts"


class ReceiptError(ValueError):
    """A receipt that cannot be read: names the file."""


@dataclass(frozen=True)
class FileEntry:
    """One published file of a unit."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes) -> FileEntry:
        return cls(name, len(data), sha256(data))


@dataclass(frozen=True)
class Receipt:
    """One finished unit of one stage.

    files       what was published for it, in order
    outcomes    every utterance of the unit, in plan order
    facts       deterministic measurements of the unit (seconds, frames, by split, ...)
    made        where and how it was made (seconds taken, versions, attempt): differs from run to run, enters no dataset
    """

    stage: str
    unit: int
    files: tuple[FileEntry, ...]
    outcomes: tuple[Outcome, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """JSON that ends in ``seal``, the SHA-256 of the rest: a changed receipt is found out, not believed."""
        value = {**asdict(self), "outcomes": [o.to_json() for o in self.outcomes]}
        return pretty({**value, "seal": sha256(canonical(value))})

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Receipt:
        try:
            value = orjson.loads(data)
            if not _sealed(value, value.pop("seal")):
                raise ValueError("its contents are not those that were written")
            value["files"] = tuple(FileEntry(**f) for f in value["files"])
            value["outcomes"] = tuple(Outcome.from_json(o) for o in value["outcomes"])
            return cls(**value)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise damaged(name, error) from None


def _sealed(value: Any, seal: Any) -> bool:
    """Whether a seal is that of these contents. Most often the quick way gives canonical JSON as well; where it does not, the slow one tells."""
    return seal == sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)) or seal == sha256(canonical(value))


def damaged(name: str, error: Exception) -> ReceiptError:
    """What to raise of a file that says that something is finished, and cannot be read."""
    return ReceiptError(f"{name}: not a receipt ({error}); `speechmill repair` makes anew what it stands for")


def shard_stem(unit: int) -> str:
    return f"shard-{unit:06d}"


def receipt_name(unit: int) -> str:
    return f"{FOLDER}/unit-{unit:06d}.json"


def write_receipt(store: Store, receipt: Receipt) -> None:
    store.publish(receipt_name(receipt.unit), receipt.to_bytes())


def read_receipt(store: Store, unit: int) -> Receipt | None:
    """The receipt of ``unit``, or None where there is none. Raises :class:`ReceiptError` for a damaged one."""
    try:
        data = store.read(receipt_name(unit))
    except FileNotFoundError:
        return None
    return Receipt.from_bytes(data, f"{store.root}/{receipt_name(unit)}")


def receipts(store: Store, units: int) -> Iterator[Receipt]:
    """The receipts there are, of units 0 .. ``units`` - 1, in order. Of object storage many are asked for at once."""
    read = partial(read_receipt, store)
    for receipt in map(read, range(units)) if store.is_local else in_order(read, range(units)):
        if receipt is not None:
            yield receipt
