"""Stores: names stay under their root, files appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.storage import OutsideRoot, Store, in_full, same_place, sweep_attempts


@pytest.fixture(params=["local", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    roots = {
        "local": str(tmp_path / "root"),
        "file": f"file://{tmp_path}/root",
        "memory": f"memory://{uuid.uuid4().hex}",
    }
    return Store(roots[request.param])


def test_what_is_published_can_be_read_whole_and_in_part(store: Store) -> None:
    store.publish("a/b.bin", b"0123456789")
    assert store.read("a/b.bin") == b"0123456789"
    assert store.read("a/b.bin", 3, 4) == b"3456"
    assert store.read("a/b.bin", 0, 4) == b"0123"
    assert store.size("a/b.bin") == 10
    assert store.exists("a/b.bin")
    with store.open("a/b.bin") as file:
        assert file.read(2) == b"01"


def test_the_last_writer_wins(store: Store) -> None:
    store.publish("a", b"long ago")
    store.publish("a", b"now")
    assert store.read("a") == b"now"


def test_names_are_listed_in_order_and_nothing_is_listed_where_nothing_is(store: Store) -> None:
    for name in ("f/b", "f/a", "f/sub/c"):
        store.publish(name, b"")
    assert store.list("f") == ["a", "b", "sub"]
    assert store.list("nowhere") == []
    assert list(store.walk()) == ["f/a", "f/b", "f/sub/c"]


def test_a_sub_store_sees_the_same_files(store: Store) -> None:
    store.publish("f/a", b"x")
    assert store.sub("f").read("a") == b"x"
    store.sub("f").publish("b", b"y")
    assert store.read("f/b") == b"y"


def test_missing_files_are_file_not_found_and_removing_them_is_nothing(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("nowhere")
    store.remove("nowhere")
    store.publish("a", b"")
    store.remove("a")
    assert not store.exists("a")


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b"]), min_size=1, max_size=6))
def test_no_name_leaves_its_root(parts: list[str]) -> None:
    store, name = Store("/data/root"), "/".join(parts)
    if ".." in parts or name.startswith("/"):
        with pytest.raises(OutsideRoot):
            store.path(name)
    else:
        assert os.path.normpath(store.path(name)).startswith("/data/root")


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_write_that_fails_leaves_neither_a_partial_file_nor_its_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    store = Store(str(tmp_path))
    store.publish("a", b"before")

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(OSError, match="no space"):
        store.publish("a", b"after")
    assert store.read("a") == b"before"
    assert store.list() == ["a"]


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_killed_write_leaves_the_old_file_and_an_attempt_that_can_be_swept(tmp_path: Path, where: str) -> None:
    store = Store(str(tmp_path))
    store.publish("f/a", b"before")
    code = (
        "import os, sys; from manifests.storage import Store; "
        f"os.{where} = lambda *_: os._exit(137); Store(sys.argv[1]).publish('f/a', b'after')"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 137
    assert store.read("f/a") == b"before"
    assert sweep_attempts(store, "f") == 1
    assert store.list("f") == ["a"]


def test_sweeping_touches_only_attempts(store: Store) -> None:
    store.publish("a", b"")
    assert sweep_attempts(store, "") == 0
    assert store.list() == ["a"]


def test_a_local_path_in_full_is_the_same_place_for_every_process_and_a_url_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of/them")
    assert in_full("data/../out/") == f"{tmp_path}/out"
    assert in_full("file://out") == f"file://{tmp_path}/out"
    assert in_full("~/out") == "/home/of/them/out"
    for kept in ("/data/out", "s3://bucket/out", "https://", "hf://datasets/org/name"):
        assert in_full(kept) == kept


def test_a_folder_is_the_same_place_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    for name in ("data", "./data/", "link", f"file://{tmp_path}/data", "data/../data"):
        assert same_place(name, str(tmp_path / "data")), name
    assert not same_place("data", "data/out")
    assert same_place("s3://bucket/data/", "s3://bucket/data")
    assert not same_place("s3://bucket/data", "/bucket/data")
