"""Bytes made to mislead, before every reader of bytes: what comes out is the reader's own error, or something well formed.

CI tries each property some hundred times; ``make fuzz SECONDS=600`` goes on with new seeds until time is up.
"""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.corpora.members import BrokenTar, members
from manifests.fingerprint import canonical, pretty, sha256
from manifests.ledger import Outcome
from manifests.receipt import FileEntry, Receipt, ReceiptError
from manifests.shards import npy
from manifests.shards.reader import Sample, Shard, ShardError
from manifests.shards.scan import scan
from manifests.shards.writer import build_index, pack
from manifests.storage import Store
from pipelines.stages.s40_clean import REASONS
from tests.manifests.corpus_trees import read

BLOCK = 512
MEMORY = 32 * 2**20  # what reading some kilobytes may take at most
KEYS = ("a", "b-1", "c" * 80)

calm = settings(
    settings.default, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def shard(key: str) -> tuple[str, dict[str, bytes]]:
    arrays = {"speech.npy": np.arange(6, dtype=np.uint16).reshape(3, 2), "text.npy": np.arange(4, dtype=np.int32)}
    return key, {"json": canonical({"id": key}), **{name: npy.dump(a) for name, a in arrays.items()}}


PACKED = pack(shard(key) for key in KEYS)
RECEIPT = Receipt(
    "tokens", 7, (FileEntry.of("shard-000007.tar", b"x"),), (Outcome("a", "written"), Outcome("b", "filtered", "silent", "no sound")), {"n": 1.5}
).to_bytes()  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn, whole: bytes, block: int = 1) -> bytes:
    """``whole`` with a few edits: bytes changed, parts cut out, doubled or swapped for others, an end lost or added."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0))) // block * block
        length = draw(st.integers(0, 3 * block if block > 1 else 40))
        how = draw(st.sampled_from(["set", "cut", "double", "insert", "end"]))
        if how == "set":
            new = draw(
                st.one_of(
                    st.binary(min_size=1, max_size=24),
                    st.sampled_from([b"\xff" * 8, b"\0" * 12, b"7" * 12, b"\x80" + b"\xff" * 11]),
                )
            )
            data[at : at + len(new)] = new
        elif how == "cut":
            del data[at : at + length]
        elif how == "double":
            data[at:at] = data[at : at + length]
        elif how == "insert":
            data[at:at] = draw(st.binary(max_size=64))
        else:
            del data[at:]
    return bytes(data)


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """A tar whose headers say anything, most of them with a checksum that is right; spoiled after that, sometimes."""
    out = bytearray()
    for _ in range(draw(st.integers(0, 5))):
        info = tarfile.TarInfo(
            draw(
                st.one_of(
                    st.sampled_from(["a.json", "../a.json", "/a.wav", "a", "a.b.c", "", "././@LongLink"]),
                    st.text(max_size=30),
                )
            )
        )
        info.type = draw(
            st.sampled_from(
                [b"0", b"\0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"L", b"K", b"S", b"x", b"g", b"V", b"Z"]
            )
        )
        info.size = draw(
            st.one_of(st.integers(0, 700), st.sampled_from([8**11 - 1, 2**40, 2**63 - 1, 2**70, -1, -512, -1024]))
        )
        info.linkname = draw(st.sampled_from(["", "/etc/passwd", "../x"]))
        try:
            out += info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")
        except ValueError:  # a number that no header holds
            continue
        content = draw(
            st.one_of(
                st.binary(max_size=600),
                st.sampled_from(
                    [b"30 path=../../etc/passwd12345\n", b"25 GNU.sparse.size=1e99\n\n", b"19 size=1234567890\n"]
                ),
            )
        )
        out += content + bytes(-len(content) % BLOCK)
    out += bytes(draw(st.sampled_from([0, 512, 1024, 10240])))
    return draw(spoiled(bytes(out), BLOCK)) if draw(st.booleans()) else bytes(out)


@contextmanager
def modest() -> Iterator[None]:
    """What happens here may take no more memory than :data:`MEMORY`."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@contextmanager
def or_refused(kind: type[Exception], name: str) -> Iterator[None]:
    """An error of this kind may be raised, if it names this file; nothing else may."""
    said = name
    try:
        yield
    except kind as error:
        said = str(error)
    assert said.startswith(name)


def well_formed(sample: Sample) -> None:
    assert isinstance(sample.meta, dict)
    assert all(not a.flags.writeable and not a.dtype.hasobject for a in sample.arrays.values())


ANY_TAR = st.one_of(tars(), spoiled(PACKED.tar, BLOCK), spoiled(PACKED.tar))


@calm
@given(ANY_TAR)
def test_the_scan_of_a_tar_gives_members_inside_it_or_its_own_error(data: bytes) -> None:
    with modest(), or_refused(ShardError, "x.tar: "):
        for _, spans in scan(data, "x.tar"):
            assert all(0 <= start <= start + size <= len(data) for start, size in spans.values())


@calm
@given(ANY_TAR)
def test_members_of_a_corpus_tar_that_are_whole_lie_inside_it(data: bytes) -> None:
    with modest(), or_refused(BrokenTar, "x.tar "):
        for member in members(io.BytesIO(data), "x.tar"):
            assert not member.whole or 0 <= member.offset <= member.offset + member.size <= len(data)


@calm
@given(data=ANY_TAR)
def test_whatever_is_in_a_corpus_tar_is_listed_under_ids_of_its_own_that_can_be_written(
    data: bytes, tmp_path: Path
) -> None:
    (tmp_path / "t.tar").write_bytes(data)
    with modest():
        found = read("tars", tmp_path)
    assert len({u.id for u in found}) == len(found)
    for u in found:
        assert json.loads(canonical({"id": u.id, "text": u.text, "fault": u.fault}))["id"] == u.id
        assert u.fault is None or u.fault[0] in REASONS
        assert u.audio is None or 0 <= (u.audio.offset or 0) <= len(data)


@calm
@given(
    tar=st.one_of(st.just(PACKED.tar), spoiled(PACKED.tar), tars()),
    index=st.one_of(st.just(PACKED.index), spoiled(PACKED.index)),
)
def test_a_shard_gives_well_formed_samples_or_its_own_error(tar: bytes, index: bytes, tmp_path: Path) -> None:
    with modest(), or_refused(ShardError, "s."):
        found = published(tmp_path, tar, index)
        for i in range(min(len(found), 50)):
            well_formed(found[i])


def published(folder: Path, tar: bytes, index: bytes) -> Shard:
    (folder / "s.tar").write_bytes(tar)
    (folder / "s.idx").write_bytes(index)
    return Shard(Store(str(folder)), "s")


@pytest.mark.parametrize(
    ("kind", "size"),
    [(kind, size) for kind in (tarfile.REGTYPE, b"Z") for size in (-1, -511, -512, -1024)] + [(tarfile.GNUTYPE_SPARSE, -512)],
)  # fmt: skip
def test_a_member_of_negative_size_ends_the_tar_and_no_reader_goes_round_for_ever(kind: bytes, size: int) -> None:
    header = bytearray(tarfile.TarInfo("a.json").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = size.to_bytes(12, "big", signed=True)  # base 256, as GNU tar writes what octal cannot
    header[156:157], header[148:156] = kind, b" " * 8
    header[483:495] = b"00000001000\0"  # what a sparse file says it holds
    header[148:156] = b"%06o\0 " % sum(header)
    data = PACKED.tar[: 2 * BLOCK] + bytes(header) + bytes(1024)  # -512 leads back to what was read before
    with pytest.raises(ShardError, match=r"^x\.tar: "):
        scan(data, "x.tar")
    with pytest.raises(BrokenTar, match=r"^x\.tar "):
        list(members(io.BytesIO(data), "x.tar"))


SPANS = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@calm
@given(spans=st.lists(SPANS, min_size=1, max_size=3))
def test_an_index_of_any_numbers_reads_nothing_outside_its_tar(spans: list[tuple[int, int]], tmp_path: Path) -> None:
    index = npy.dump(build_index([(f"k{i}", {"bin": span}) for i, span in enumerate(spans)]))
    with or_refused(ShardError, "s."):
        for sample in published(tmp_path, PACKED.tar, index):
            assert all(data in PACKED.tar for data in sample.raw.values())


@calm
@given(st.one_of(st.binary(max_size=300), spoiled(PACKED.index), spoiled(npy.dump(np.arange(7)))))
def test_an_array_is_read_only_and_plain_or_refused(data: bytes) -> None:
    with modest(), or_refused(npy.NpyError, ""):
        array = npy.load(data)
        assert not array.flags.writeable
        assert not array.dtype.hasobject
        assert array.nbytes <= len(data)


NESTED = st.integers(1, 3000).map(lambda n: b'{"seal":"x","stage":' + b"[" * n + b"]" * n + b"}")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8,
)  # fmt: skip


@st.composite
def sealed(draw: st.DrawFn) -> bytes:
    """A receipt whose seal is right, and whose parts are of any type."""
    value = {name: draw(VALUES) for name in ("stage", "unit", "files", "outcomes", "facts", "made")}
    return pretty({**value, "seal": sha256(canonical(value))})


@calm
@given(st.one_of(st.binary(max_size=200), spoiled(RECEIPT), NESTED, sealed()))
def test_a_receipt_is_read_or_refused_by_name(data: bytes) -> None:
    with modest(), or_refused(ReceiptError, "unit-7: not a receipt"):
        Receipt.from_bytes(data, "unit-7")
