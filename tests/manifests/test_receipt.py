"""Receipts: read back as written, and refused by name when a single byte of them was changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.ledger import Outcome
from manifests.receipt import FileEntry, Receipt, ReceiptError, read_receipt, receipt_name, receipts, write_receipt
from manifests.storage import Store

NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
OUTCOMES = st.builds(Outcome, NAMES, st.just("written")) | st.builds(Outcome, NAMES, st.just("filtered"), NAMES, NAMES)
FILES = st.builds(FileEntry.of, NAMES, st.binary(max_size=20))
FACTS = st.dictionaries(
    NAMES, st.integers(0, 2**53) | st.floats(allow_nan=False, allow_infinity=False) | NAMES, max_size=3
)
RECEIPTS = st.builds(
    Receipt,
    NAMES,
    st.integers(0, 10**6),
    st.lists(FILES, max_size=3).map(tuple),
    st.lists(OUTCOMES, max_size=5).map(tuple),
    FACTS,
    FACTS,
)


@given(RECEIPTS)
def test_a_receipt_is_read_back_as_it_was_written(receipt: Receipt) -> None:
    data = receipt.to_bytes()
    assert Receipt.from_bytes(data, "x") == receipt
    assert Receipt.from_bytes(data, "x").to_bytes() == data


@settings(max_examples=300)
@given(RECEIPTS, st.data())
def test_a_changed_byte_is_refused_by_name_or_says_the_same(receipt: Receipt, data: st.DataObject) -> None:
    whole = bytearray(receipt.to_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    said, again = "unit-7: not a receipt", receipt
    try:
        again = Receipt.from_bytes(bytes(whole), "unit-7")
    except ReceiptError as error:
        said = str(error)
    assert said.startswith("unit-7: not a receipt")
    assert again == receipt


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b'"x"', b"\xff", b'{"files":1,"seal":""}'])
def test_what_is_no_receipt_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ReceiptError, match="unit-7"):
        Receipt.from_bytes(data, "unit-7")


def test_readers_see_the_units_that_have_receipts_in_order(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for unit in (4, 0, 2):
        write_receipt(store, Receipt("tokens", unit, (), ()))
    assert [r.unit for r in receipts(store, 4)] == [0, 2]
    assert read_receipt(store, 1) is None


def test_a_damaged_receipt_is_named_where_it_lies(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.publish(receipt_name(3), b"{")
    with pytest.raises(ReceiptError, match=r"receipts/unit-000003\.json"):
        read_receipt(store, 3)


def test_a_file_entry_states_size_and_hash_of_its_bytes() -> None:
    entry = FileEntry.of("a", b"abc")
    assert (entry.bytes, entry.sha256[:8]) == (3, "ba7816bf")
