"""A dataset is a sequence of samples over its shards, and there is none before ``dataset.json``."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import dataset as module
from manifests.dataset import FORMAT, Dataset, DatasetError, read_members
from manifests.fingerprint import canonical, pretty
from manifests.keys import key_of
from manifests.shards import npy
from manifests.shards.writer import pack
from manifests.storage import Store

COUNTS = [3, 0, 1, 4]


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Eight samples in four shards, one of them empty."""
    tokens, shards, number = Store(str(tmp_path / "tokens-0")), [], 0
    for k, count in enumerate(COUNTS):
        rows = []
        for n in range(number, number + count):
            speech = npy.dump(np.full((n + 1, 1), n, np.uint16))
            rows.append((key_of(f"u.{n}"), {"json": canonical({"id": f"u.{n}"}), "speech.npy": speech}))
        packed, number = pack(rows), number + count
        tokens.publish(f"shard-{k:06d}.tar", packed.tar)
        tokens.publish(f"shard-{k:06d}.idx", packed.index)
        shards.append({"name": f"shard-{k:06d}.tar", "samples": count})
    description = {"format": FORMAT, "tokens": {"folder": "tokens-0", "shards": shards}}
    (tmp_path / "dataset.json").write_bytes(pretty(description))
    return str(tmp_path)


def test_of_more_shards_than_may_be_open_all_are_read_and_what_was_read_stays(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN", 1)
    data = Dataset.open(root)
    order = [7, 0, 6, 1, 3, 0, 7]
    read = [data[i].arrays["speech"] for i in order]
    assert [speech[0, 0] for speech in read] == order
    assert len(data.samples._open) == 1


def test_it_has_every_sample_once_in_order(root: str) -> None:
    dataset = Dataset.open(root)
    assert len(dataset) == 8
    assert [s.meta["id"] for s in dataset] == [f"u.{n}" for n in range(8)]


def test_any_sample_is_reached_directly_also_from_the_end(root: str) -> None:
    dataset = Dataset.open(root)
    assert [dataset[i].meta["id"] for i in (7, 0, 3, -1, -8)] == ["u.7", "u.0", "u.3", "u.7", "u.0"]
    assert dataset[4].arrays["speech"].tolist() == [[4]] * 5


@pytest.mark.parametrize("i", [8, -9, 100])
def test_beyond_its_ends_there_is_nothing(root: str, i: int) -> None:
    with pytest.raises(IndexError, match="of 8"):
        Dataset.open(root)[i]


def test_a_sample_is_found_by_key(root: str) -> None:
    dataset = Dataset.open(root)
    found = dataset.find(key_of("u.5"))
    assert found is not None
    assert found.meta["id"] == "u.5"
    assert dataset.find("nobody") is None


def test_without_its_description_it_is_not_one_and_the_line_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.json.*run `speechmill data`"):
        Dataset.open(str(tmp_path))


@pytest.mark.parametrize("read", [Dataset.open, lambda root: read_members(Store(root), "folders")])
@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": "other/9"}', b"\xff"])
def test_a_description_of_another_kind_is_refused_by_name(
    tmp_path: Path, content: bytes, read: Callable[[str], Any]
) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        read(str(tmp_path))
    with pytest.raises(DatasetError, match=r"no dataset\.json.*run `speechmill data`"):
        read(str(tmp_path / "nowhere"))


# Some members of it, without the rest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["folders", "a", "b.c", "masks"]) | st.text(max_size=3), JSON, max_size=6))
def test_members_are_those_of_the_whole(tmp_path_factory: pytest.TempPathFactory, members: dict[str, Any]) -> None:
    value = {**members, "format": FORMAT}
    store = Store(str(tmp_path_factory.getbasetemp() / "members"))
    store.publish("dataset.json", pretty(value))
    wanted = ["folders", "a", "format"]
    assert read_members(store, *wanted) == {name: value[name] for name in wanted if name in value}


def test_what_is_cut_off_or_damaged_anywhere_is_found_out_and_a_duplicate_counts_last(tmp_path: Path) -> None:
    whole = pretty({"folders": {"tokens": "tokens-0"}, "format": FORMAT, "tokens": {"shards": [{"name": "s"}] * 9}})
    for wrong in (
        whole[:-4],
        whole + b"}",
        whole.replace(b'"name"', b"'name'", 1),
        whole.replace(b'"s"', b'"\xff"', 1),
    ):
        (tmp_path / "dataset.json").write_bytes(wrong)
        with pytest.raises(DatasetError, match=r"dataset\.json: damaged"):
            read_members(Store(str(tmp_path)), "folders")
    (tmp_path / "dataset.json").write_bytes(b'{"a": 1, "format": "speechmill-dataset/1", "a": [2]}')
    assert read_members(Store(str(tmp_path)), "a") == {"a": [2]}


def test_what_is_passed_over_takes_no_memory(tmp_path: Path) -> None:
    shards = [{"name": f"shard-{k:06d}.tar", "sha256": "f" * 64, "samples": 75} for k in range(10_000)]
    (tmp_path / "dataset.json").write_bytes(
        pretty({"folders": {"tokens": "t"}, "format": FORMAT, "tokens": {"shards": shards}})
    )
    del shards
    tracemalloc.start()
    assert read_members(Store(str(tmp_path)), "folders") == {"folders": {"tokens": "t"}}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (tmp_path / "dataset.json").stat().st_size / 4
