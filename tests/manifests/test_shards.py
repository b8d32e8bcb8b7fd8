"""Shards: a WebDataset tar that anyone's reader opens, the same bytes every time, seekable through its index."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.fingerprint import canonical
from manifests.keys import key_of
from manifests.shards import npy
from manifests.shards.reader import Shard, ShardError
from manifests.shards.scan import scan
from manifests.shards.writer import BLOCK, Packed, build_index, pack
from manifests.storage import Store

Samples = list[tuple[str, dict[str, bytes]]]
IDS = [
    "spk1.utt1",
    "spk1.utt2",
    "a/b",
    "ünï cödé",
    "话语",
    "🎤",
    "x" * 10_000,
    "x" * 9_999 + "y",
    "~",
    "%2E",
    "__a__",
    "-",
]


def sample(utterance_id: str, frames: int) -> tuple[str, dict[str, bytes]]:
    speech_FQ = (np.arange(frames, dtype=np.uint16) * 7 % 1000)[:, None]
    text_L = np.arange(frames // 3, dtype=np.int32)
    meta = canonical({"id": utterance_id, "frames": frames})
    return key_of(utterance_id), {"json": meta, "speech.npy": npy.dump(speech_FQ), "text.npy": npy.dump(text_L)}


def samples(ids: list[str]) -> Samples:
    return [sample(i, 3 * n) for n, i in enumerate(ids)]


def write(folder: Path, packed: Packed) -> Shard:
    store = Store(str(folder))
    store.publish("shard-000000.tar", packed.tar)
    store.publish("shard-000000.idx", packed.index)
    return Shard(store, "shard-000000")


Plain = list[tuple[str, dict, list, list]]


def plain(key: str, meta: dict, speech: np.ndarray, text: np.ndarray) -> tuple[str, dict, list, list]:
    assert (speech.dtype, text.dtype) == (np.uint16, np.int32)
    return key, meta, speech.tolist(), text.tolist()


def by_shard(shard: Shard) -> Plain:
    return [plain(s.key, s.meta, s.arrays["speech"], s.arrays["text"]) for s in shard]


def by_tarfile(data: bytes) -> Plain:
    members: dict[str, dict[str, bytes]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            file = tar.extractfile(member)
            assert file is not None
            members.setdefault(key, {})[extension] = file.read()

    def array(data: bytes) -> np.ndarray:
        return np.load(io.BytesIO(data), allow_pickle=False)

    return [plain(k, json.loads(m["json"]), array(m["speech.npy"]), array(m["text.npy"])) for k, m in members.items()]


def by_webdataset(path: Path) -> Plain:
    from webdataset.compat import WebDataset

    dataset: Any = WebDataset(str(path), shardshuffle=False, empty_check=False).decode()
    return [plain(s["__key__"], s["json"], s["speech.npy"], s["text.npy"]) for s in dataset]


def test_webdataset_tarfile_and_our_reader_give_the_same_samples(tmp_path: Path) -> None:
    packed = pack(samples(IDS))
    shard = write(tmp_path, packed)
    ours = by_shard(shard)
    assert [row[1]["id"] for row in ours] == IDS
    assert ours == by_tarfile(packed.tar) == by_webdataset(tmp_path / "shard-000000.tar")


def test_access_at_random_gives_what_reading_in_order_gives(tmp_path: Path) -> None:
    shard = write(tmp_path, pack(samples(IDS)))
    in_order = by_shard(shard)
    for i in reversed(range(len(shard))):
        s = shard[i]
        assert plain(s.key, s.meta, s.arrays["speech"], s.arrays["text"]) == in_order[i]
        assert shard.position(s.key) == i
    assert shard.position("nobody") is None


def test_arrays_are_views_of_the_file_not_copies(tmp_path: Path) -> None:
    speech_FQ = write(tmp_path, pack(samples(IDS)))[3].arrays["speech"]
    assert not speech_FQ.flags.owndata
    assert not speech_FQ.flags.writeable


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=8))
def test_the_bytes_are_a_function_of_the_samples_alone(ids: list[str]) -> None:
    assert pack(samples(ids)) == pack(iter(samples(ids)))


def test_no_time_owner_or_machine_is_in_the_tar() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(samples(IDS)).tar)) as tar:
        seen = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in tar}
    assert seen == {(0, 0, 0, "", "", 0o644, tarfile.REGTYPE)}


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=8))
def test_the_index_is_what_a_scan_of_the_tar_finds(ids: list[str]) -> None:
    packed = pack(samples(ids))
    assert npy.dump(build_index(scan(packed.tar, "x.tar"))) == (packed.index if ids else npy.dump(build_index([])))
    assert packed.samples == len(ids)


def test_members_beyond_four_gigabytes_are_found(tmp_path: Path) -> None:
    """The file has a hole before its only sample: offsets do not wrap at 2^32."""
    packed, start = pack([sample("far", 9)]), 2**32 + BLOCK
    with (tmp_path / "shard-000000.tar").open("wb") as file:
        file.write(b"\1" * (BLOCK + len(packed.tar)))  # where offsets that wrapped would point to
        file.seek(start)
        file.write(packed.tar)
    [(key, spans)] = scan(packed.tar, "x.tar")
    far = {extension: (start + offset, size) for extension, (offset, size) in spans.items()}
    store = Store(str(tmp_path))
    store.publish("shard-000000.idx", npy.dump(build_index([(key, far)])))
    shard, (_, wanted) = Shard(store, "shard-000000"), sample("far", 9)
    assert shard.index["json"][0, 0] > 2**32
    assert (
        plain(key, shard[0].meta, *(shard[0].arrays[name] for name in ("speech", "text"))) == by_tarfile(packed.tar)[0]
    )
    assert {e: bytes(shard.member(0, e) or b"") for e in shard.extensions} == wanted


def test_samples_may_lack_members_and_may_have_others(tmp_path: Path) -> None:
    shard = write(
        tmp_path,
        pack([("a", {"json": b"{}", "query.npy": npy.dump(np.zeros(2))}), ("b", {"json": b"{}", "txt": b"hi"})]),
    )
    assert (set(shard[0].arrays), shard[0].raw) == ({"query"}, {})
    assert (set(shard[1].arrays), shard[1].raw) == (set(), {"txt": b"hi"})
    assert shard.member(0, "txt") is None


def test_an_empty_shard_is_one_of_no_samples(tmp_path: Path) -> None:
    shard = write(tmp_path, pack([]))
    assert (len(shard), list(shard)) == (0, [])


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "a\0b", "ü", "x" * 200])
def test_keys_that_a_reader_could_not_split_again_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        pack([(key, {"json": b"{}"})])


@pytest.mark.parametrize("extension", ["", ".npy", "npy.", "a/b", "NPY", "a..b", "key", "x" * 40])
def test_extensions_that_a_reader_could_not_split_again_are_refused(extension: str) -> None:
    with pytest.raises(ValueError, match="extension"):
        pack([("a", {extension: b""})])


def test_a_repeated_key_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' is repeated"):
        pack([("a", {"json": b"{}"}), ("b", {"json": b"{}"}), ("a", {"json": b"{}"})])


@given(data=st.data())
def test_a_tar_cut_short_anywhere_is_refused_by_name(data: st.DataObject) -> None:
    whole = pack(samples(IDS)).tar
    last = max(offset + size for _, spans in scan(whole, "x") for offset, size in spans.values())
    with pytest.raises(ShardError, match=r"^x\.tar: "):
        scan(whole[: data.draw(st.integers(0, last))], "x.tar")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_header_is_refused_or_gives_other_rows_but_is_never_passed_over(data: st.DataObject) -> None:
    whole = bytearray(pack(samples(IDS[:4])).tar)
    rows = scan(bytes(whole), "x.tar")
    header = data.draw(st.sampled_from([offset - 512 for _, spans in rows for offset, _ in spans.values()]))
    place = header + data.draw(st.integers(0, 263))  # beyond are device numbers and padding
    whole[place] ^= data.draw(st.integers(1, 255))
    with named("x.tar: "):
        assert scan(bytes(whole), "x.tar") != rows or _means_the_same(place - header)


@contextmanager
def named(name: str) -> Iterator[None]:
    """A ShardError may be raised, if it names this file; nothing else may."""
    said = name
    try:
        yield
    except ShardError as error:
        said = str(error)
    assert said.startswith(name)


def _means_the_same(place: int) -> bool:
    """The checksum's own field, whose digits tarfile also takes in other spellings."""
    return 148 <= place < 156


def test_a_link_in_a_tar_is_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("a.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(info)
    with pytest.raises(ShardError, match=r"a\.json.*not a plain file"):
        scan(out.getvalue(), "x.tar")


def test_members_of_a_sample_that_lie_apart_are_refused() -> None:
    whole, other = pack([("a", {"json": b"{}"}), ("b", {"json": b"{}"})]).tar, pack([("a", {"txt": b"x"})]).tar
    with pytest.raises(ShardError, match="together"):
        scan(whole[: 4 * 512] + other, "x.tar")


def test_a_shard_shorter_than_its_index_says_is_refused_by_name(tmp_path: Path) -> None:
    packed = pack(samples(IDS))
    with pytest.raises(ShardError, match=r"shard-000000\.tar: shorter"):
        write(tmp_path, Packed(packed.tar[:2000], packed.index, packed.samples))


def test_a_member_that_does_not_decode_is_named_with_its_key(tmp_path: Path) -> None:
    shard = write(
        tmp_path, pack([("good", {"json": b"{}"}), ("bad", {"json": b"{"}), ("worse", {"json": b"{}", "a.npy": b"x"})])
    )
    assert shard[0].meta == {}
    with pytest.raises(ShardError, match=r"shard-000000\.tar: bad\.json"):
        shard[1]
    with pytest.raises(ShardError, match=r"shard-000000\.tar: worse\.a\.npy"):
        shard[2]


@pytest.mark.parametrize(
    "index",
    [
        np.zeros(3),
        np.zeros(2, [("key", "S3"), ("json", "<i4")]),
        np.zeros(2, [("key", "<u8")]),
        np.zeros((1, 1), [("key", "S1")]),
    ],
)
def test_an_index_of_another_kind_is_refused_by_name(tmp_path: Path, index: np.ndarray) -> None:
    with pytest.raises(ShardError, match=r"shard-000000\.idx"):
        write(tmp_path, Packed(pack([]).tar, npy.dump(index), 0))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_shard_gives_samples_or_a_shard_error_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    packed = pack(samples(IDS[:3]))
    part = data.draw(st.sampled_from(["tar", "index"]))
    damaged = bytearray(getattr(packed, part))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    parts = {"tar": packed.tar, "index": packed.index, part: bytes(damaged)}
    with named("shard-000000"):
        list(write(tmp_path, Packed(parts["tar"], parts["index"], 3)))
