"""The index of receipts: a cache that saves reading, and never says what the receipts themselves do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import receipt_index
from manifests.ledger import Outcome
from manifests.receipt import FileEntry, Receipt, ReceiptError, receipt_name, write_receipt
from manifests.receipt_index import NAME, Brief, briefs
from manifests.storage import Store


def receipt(unit: int, reason: str | None = None) -> Receipt:
    end = Outcome(f"u{unit}", "filtered" if reason else "written", reason)
    facts = {"beside": f"{unit:x}", "splits": {"train": {"seconds": 2.5, "frames": 60}}}
    return Receipt("tokens", unit, (FileEntry.of("a", b"x"),), (end,), facts, {"seconds": 0.5, "started": 3.0})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Six receipts, in a folder where so many are worth an index."""
    monkeypatch.setattr(receipt_index, "WORTH", 3)
    for unit in range(6):
        write_receipt(Store(str(tmp_path)), receipt(unit))
    return Store(str(tmp_path))


def units(store: Store, keep: bool = False) -> list[int]:
    return sorted(brief.unit for brief in briefs(store, keep))


def read_now(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The receipts that are read when the folder is gone through."""
    names: list[str] = []
    real = Receipt.from_bytes
    monkeypatch.setattr(
        Receipt, "from_bytes", lambda data, name: names.append(name.rsplit("/", 1)[-1]) or real(data, name)
    )
    units(store)
    return names


def test_a_receipt_in_short_counts_ends_and_keeps_what_it_was_made_of() -> None:
    brief = Brief.of(4, receipt(4, "silent"))
    assert (brief.ends, brief.sources, brief.seconds) == ({"filtered": {"silent": 1}}, {"beside": "4"}, {"train": 2.5})
    assert (brief.took, brief.started, len(brief.shard)) == (0.5, 3.0, 64)


def test_with_an_index_no_receipt_is_read_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(briefs(store, keep=True))
    assert read_now(store, monkeypatch) == []
    assert list(briefs(store)) == before


def test_what_only_looks_writes_no_index_and_few_receipts_are_worth_none(store: Store) -> None:
    units(store)
    assert not store.exists(NAME)
    for unit in range(4):
        store.remove(receipt_name(unit))
    units(store, keep=True)
    assert not store.exists(NAME)


def test_a_receipt_that_came_went_or_changed_is_told_as_it_is(store: Store) -> None:
    units(store, keep=True)
    store.remove(receipt_name(1))
    write_receipt(store, receipt(9))
    write_receipt(store, receipt(2, "silent"))
    found = {brief.unit: brief.ends for brief in briefs(store)}
    assert sorted(found) == [0, 2, 3, 4, 5, 9]
    assert found[2] == {"filtered": {"silent": 1}}


def test_a_receipt_damaged_behind_the_index_is_found_out(store: Store) -> None:
    units(store, keep=True)
    path = store.local(receipt_name(3))
    assert path is not None
    path.write_bytes(path.read_bytes().replace(b'"u3"', b'"u4"'))
    with pytest.raises(ReceiptError, match="unit-000003"):
        units(store)
    faults: list[Exception] = []
    assert [b.unit for b in briefs(store, on_fault=faults.append)] == [0, 1, 2, 4, 5]
    assert len(faults) == 1


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_a_damaged_index_is_as_none(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    store = Store(str(tmp_path_factory.mktemp("damaged")))
    for unit in range(3):
        write_receipt(store, receipt(unit))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(receipt_index, "WORTH", 1)
        units(store, keep=True)
    path = store.local(NAME)
    assert path is not None
    whole = path.read_bytes()
    for damaged in (whole[:at] + junk, whole[:at] + junk + whole[at + len(junk) :]):
        path.write_bytes(damaged)
        assert units(store) == [0, 1, 2]
    os.truncate(path, min(at, len(whole)))
    assert units(store) == [0, 1, 2]
