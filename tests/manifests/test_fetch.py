"""Workers read exactly what the corpus root and ``audio_roots`` allow, and every failure has a reason."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest

import manifests.patience
from manifests.corpora.table import Table
from manifests.fetch import Fetcher, FetchFailed, reading
from manifests.fingerprint import content_hash
from manifests.storage import Store
from manifests.utterance import AudioRef
from tests.corpora import corpus
from tests.manifests.corpus_trees import wav, write


def refusal(fetcher: Fetcher, ref: AudioRef) -> str:
    """The reason; the same from ``fetch`` and, for whole files, ``local_path``; its message is one line."""
    with pytest.raises(FetchFailed) as failed:
        fetcher.fetch(ref)
    assert failed.value.message
    assert "\n" not in failed.value.message
    return failed.value.reason


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", {"a.wav": wav(), "deep/b.bin": b"0123456789", "empty.wav": b""})


@pytest.fixture
def fetcher(root: Path) -> Fetcher:
    return Fetcher(Store(str(root)))


def test_whole_files_and_ranges_are_read(fetcher: Fetcher, root: Path) -> None:
    assert fetcher.fetch(AudioRef("a.wav")) == (root / "a.wav").read_bytes()
    assert fetcher.fetch(AudioRef(str(root / "a.wav"))) == (root / "a.wav").read_bytes()
    assert fetcher.fetch(AudioRef(f"file://{root}/a.wav")) == (root / "a.wav").read_bytes()
    assert fetcher.fetch(AudioRef("deep/b.bin", 2, 3)) == b"234"
    assert fetcher.fetch(AudioRef("deep/b.bin", 7)) == b"789"
    assert fetcher.fetch(AudioRef("deep/b.bin", 10, 0)) == b""
    assert fetcher.fetch(AudioRef("empty.wav")) == b""


@pytest.mark.parametrize(("offset", "size"), [(8, 3), (11, 0), (-1, 2), (0, -1), (2**62, 1)])
def test_ranges_beyond_the_file_are_refused(fetcher: Fetcher, offset: int, size: int) -> None:
    assert refusal(fetcher, AudioRef("deep/b.bin", offset, size)) == "bad_range"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone.wav", "missing_audio"),
        ("a.wav/b", "missing_audio"),
        ("deep", "not_a_file"),
        ("../outside.wav", "outside_root"),
        ("deep/../../outside.wav", "outside_root"),
        ("/etc/passwd", "outside_root"),
        ("{root}/../outside.wav", "outside_root"),
        ("{root}2/x.wav", "outside_root"),
        ("file:///etc/passwd", "outside_root"),
        ("https://example.org/a.wav", "outside_root"),
        ("s3://bucket/a.wav", "outside_root"),
        ("simplecache::https://example.org/a.wav", "outside_root"),
        ("a\0b.wav", "unreadable_file"),
        ("x" * 5000, "unreadable_file"),
    ],
)
def test_what_was_not_named_is_not_read(fetcher: Fetcher, root: Path, path: str, reason: str) -> None:
    write(root.parent, {"outside.wav": b"secret", "root2/x.wav": b"secret"})
    assert refusal(fetcher, AudioRef(path.format(root=root))) == reason
    assert fetcher.scan(AudioRef(path.format(root=root))).fault is not None
    fetcher.snapshot(AudioRef(path.format(root=root)))


def test_other_roots_can_be_named(root: Path) -> None:
    write(root.parent, {"more/x.wav": b"more", "more2/y.wav": b"secret"})
    assert Table(audio_roots=(str(root.parent / "more"),)).audio_roots == (str(root.parent / "more"),)
    fetcher = Fetcher(Store(str(root)), (str(root.parent / "more"), "memory://allowed"))
    assert fetcher.fetch(AudioRef(str(root.parent / "more" / "x.wav"))) == b"more"
    assert refusal(fetcher, AudioRef(str(root.parent / "more2" / "y.wav"))) == "outside_root"
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/allowed/z.wav", b"0123")
    memory.pipe_file("/other/z.wav", b"0123")
    assert fetcher.fetch(AudioRef("memory://allowed/z.wav")) == b"0123"
    assert refusal(fetcher, AudioRef("memory://other/z.wav")) == "outside_root"
    assert refusal(fetcher, AudioRef("memory://allowed/../other/z.wav")) == "outside_root"
    assert Fetcher(Store(str(root)), ("memory://",)).fetch(AudioRef("memory://other/z.wav")) == b"0123"


def test_links_inside_the_root_are_followed(fetcher: Fetcher, root: Path) -> None:
    write(root.parent, {"elsewhere/x.wav": b"linked"})
    (root / "linked").symlink_to(root.parent / "elsewhere")
    (root / "gone.wav").symlink_to(root / "nowhere")
    assert fetcher.fetch(AudioRef("linked/x.wav")) == b"linked"
    assert refusal(fetcher, AudioRef("gone.wav")) == "missing_audio"


def test_devices_pipes_and_sockets_are_refused_unopened(fetcher: Fetcher, root: Path) -> None:
    os.mkfifo(root / "pipe.wav")
    (root / "zero.wav").symlink_to("/dev/zero")
    here = os.getcwd()
    os.chdir(root)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("socket.wav")
    finally:
        os.chdir(here)
    done = threading.Event()

    def all_refused() -> None:
        assert {refusal(fetcher, AudioRef(n)) for n in ("pipe.wav", "zero.wav", "socket.wav")} == {"not_a_file"}
        with pytest.raises(FetchFailed, match="not a sound file"):
            fetcher.local_path(AudioRef("pipe.wav"))
        done.set()

    threading.Thread(target=all_refused, daemon=True).start()
    assert done.wait(20), "reading a pipe waits for a writer for ever"


def test_what_is_too_big_is_refused_before_it_is_read(root: Path) -> None:
    with open(root / "big.wav", "wb") as file:
        file.truncate(1 << 40)
    fetcher = Fetcher(Store(str(root)), max_bytes=1000)
    assert refusal(fetcher, AudioRef("big.wav")) == "too_big"
    assert refusal(fetcher, AudioRef("big.wav", 0, 1001)) == "too_big"
    assert len(fetcher.fetch(AudioRef("big.wav", 1 << 39, 1000))) == 1000


def test_local_paths_are_given_for_whole_local_files_only(fetcher: Fetcher, root: Path) -> None:
    assert fetcher.local_path(AudioRef("a.wav")) == root / "a.wav"
    assert fetcher.local_path(AudioRef("a.wav", 0, 10)) is None
    assert fetcher.local_path(AudioRef("t.parquet", row=0, column="audio")) is None
    assert Fetcher(Store("memory://allowed")).local_path(AudioRef("z.wav")) is None
    with pytest.raises(FetchFailed, match="no file"):
        fetcher.local_path(AudioRef("gone.wav"))


def test_scanning_gives_header_and_content_or_the_fault(fetcher: Fetcher, root: Path) -> None:
    header = fetcher.scan(AudioRef("a.wav"))
    assert (header.sample_rate, header.frames, header.channels, header.fault) == (16_000, 1600, 1, None)
    assert header.content == content_hash((root / "a.wav").read_bytes())
    bad = fetcher.scan(AudioRef("deep/b.bin"))
    assert bad.fault is not None
    assert bad.content == content_hash(b"0123456789")
    assert fetcher.scan(AudioRef("empty.wav")).fault is not None


def test_scanning_real_and_hostile_files_never_raises() -> None:
    root = corpus("hostile")
    fetcher = Fetcher(Store(str(root)))
    refs = [AudioRef(str(p.relative_to(root))) for p in sorted(root.rglob("*")) if p.is_file()]
    headers = [fetcher.scan(ref) for ref in refs]
    assert all(h.content for h in headers)
    assert any(h.fault for h in headers)
    assert any(not h.fault for h in headers)


def test_snapshots_change_with_the_file(fetcher: Fetcher, root: Path) -> None:
    before = fetcher.snapshot(AudioRef("a.wav"))
    assert before == fetcher.snapshot(AudioRef("a.wav"))
    os.utime(root / "a.wav", ns=(1, 1))
    assert fetcher.snapshot(AudioRef("a.wav")) == (before[0], 1)
    assert fetcher.snapshot(AudioRef("gone.wav")) == ()


def parquet(path: Path, columns: dict[str, Any], rows: int = 2) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=rows)


def test_cells_are_read_across_row_groups_in_any_order(fetcher: Fetcher, root: Path) -> None:
    sounds = [f"sound {i}".encode() for i in range(7)]
    parquet(root / "t.parquet", {"audio": [{"bytes": s, "path": None} for s in sounds], "raw": sounds})
    for row in (6, 0, 3, 2, 5, 1, 4, 4):
        assert fetcher.fetch(AudioRef("t.parquet", row=row, column="audio")) == sounds[row]
        assert fetcher.fetch(AudioRef("t.parquet", row=row, column="raw")) == sounds[row]
    for row, column in ((7, "audio"), (-1, "audio"), (0, "none")):
        assert refusal(fetcher, AudioRef("t.parquet", row=row, column=column)) == "bad_cell"
    assert refusal(fetcher, AudioRef("t.parquet", row=0)) == "bad_cell"
    assert refusal(fetcher, AudioRef("gone.parquet", row=0, column="audio")) == "missing_audio"
    assert refusal(fetcher, AudioRef("deep", row=0, column="audio")) == "bad_cell"
    fetcher.close()


def test_paths_in_cells_obey_the_same_roots(fetcher: Fetcher, root: Path) -> None:
    parquet(root / "t.parquet", {"audio": ["a.wav", "/etc/passwd", None, "../x.wav"]})
    assert fetcher.fetch(AudioRef("t.parquet", row=0, column="audio")).startswith(b"RIFF")
    reasons = [refusal(fetcher, AudioRef("t.parquet", row=r, column="audio")) for r in (1, 2, 3)]
    assert reasons == ["outside_root", "missing_audio", "outside_root"]


def test_huge_cells_and_damaged_tables_are_refused(root: Path) -> None:
    parquet(root / "t.parquet", {"audio": [os.urandom(9000), b"x"]})
    parquet(root / "u.parquet", {"audio": [os.urandom(2100)]})
    small = Fetcher(Store(str(root)), max_bytes=2000)
    assert refusal(small, AudioRef("t.parquet", row=1, column="audio")) == "bad_cell"  # its row group
    assert refusal(small, AudioRef("u.parquet", row=0, column="audio")) == "too_big"
    data = bytearray((root / "t.parquet").read_bytes())
    data[4:60] = b"\xff" * 56
    write(root, {"d.parquet": bytes(data), "e.parquet": b"PAR1"})
    for name in ("d.parquet", "e.parquet"):
        assert refusal(Fetcher(Store(str(root))), AudioRef(name, row=0, column="audio")) == "bad_cell"


def test_few_files_stay_open_however_many_tars_are_read(root: Path) -> None:
    write(root, {f"{i}.tar": bytes([i]) * 10 for i in range(60)})
    fetcher = Fetcher(Store(str(root)))
    before = len(os.listdir("/proc/self/fd"))
    for i in (*range(60), *range(60)):
        assert fetcher.fetch(AudioRef(f"{i}.tar", 3, 1)) == bytes([i])
        assert len(os.listdir("/proc/self/fd")) <= before + 17
    fetcher.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_object_storage_is_read_and_asked_again_when_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/a.bin", b"0123456789")
    store = Store("memory://bucket")
    fetcher = Fetcher(store)
    assert fetcher.fetch(AudioRef("a.bin")) == b"0123456789"
    assert fetcher.fetch(AudioRef("a.bin", 2, 3)) == b"234"
    assert refusal(fetcher, AudioRef("a.bin", 8, 3)) == "bad_range"
    assert refusal(fetcher, AudioRef("gone.bin")) == "missing_audio"
    size, version = fetcher.snapshot(AudioRef("a.bin"))
    assert size == 10
    assert version
    assert fetcher.snapshot(AudioRef("gone.bin")) == ()
    tries = iter([ConnectionError("reset"), ConnectionError("reset")])

    def flaky(self: object, path: str, start: int | None = None, end: int | None = None) -> bytes:
        for error in tries:
            raise error
        return b"0123456789"

    monkeypatch.setattr(manifests.patience, "PAUSE", 0.0)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", flaky)
    assert fetcher.fetch(AudioRef("a.bin")) == b"0123456789"
    tries = iter([ConnectionError("reset")] * manifests.patience.ATTEMPTS)
    with pytest.raises(FetchFailed) as failed:
        fetcher.fetch(AudioRef("a.bin"))
    assert (failed.value.reason, failed.value.transient) == ("unreachable", True)


def test_a_file_that_a_listing_does_not_show_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe_file("/late/a.bin", b"0123456789")
    monkeypatch.setattr(Store, "stamps", lambda self: {})
    assert Fetcher(Store("memory://late")).snapshot(AudioRef("a.bin")) == (10,)


@pytest.mark.parametrize(
    "code", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EMFILE, errno.ENOTCONN, errno.EHOSTDOWN]
)
@pytest.mark.parametrize("call", ["stat", "open", "pread"])
def test_a_disk_that_fails_is_no_fault_of_the_file(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    def failing(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code), "/where/it/lies")

    refs = [AudioRef("a.wav"), AudioRef("deep/b.bin", 2, 3)]
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        for ref in refs:
            with pytest.raises(FetchFailed) as failed:
                fetcher.fetch(ref)
            assert (failed.value.reason, failed.value.transient) == ("unreachable", True)
            with pytest.raises(FetchFailed):
                fetcher.scan(ref)
    assert [fetcher.scan(ref).content for ref in refs].count(None) == 0


def test_a_disk_that_fails_under_a_table_is_no_fault_of_its_cells(
    fetcher: Fetcher, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet(root / "t.parquet", {"audio": [b"x" * 5000] * 4})
    ref = AudioRef("t.parquet", row=2, column="audio")

    def failing(self: Store, name: str) -> None:
        raise OSError(errno.EIO, "the disk fails", f"{root}/{name}")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "open", failing)
        with pytest.raises(FetchFailed) as failed:
            fetcher.fetch(ref)
    assert (failed.value.reason, failed.value.transient) == ("unreachable", True)
    assert fetcher.fetch(ref) == b"x" * 5000


@pytest.mark.parametrize("gone", [True, False])
def test_where_the_whole_corpus_is_missing_no_file_is(fetcher: Fetcher, root: Path, gone: bool) -> None:
    assert fetcher.fetch(AudioRef("deep/b.bin", 2, 3)) == b"234"
    root.rename(root.parent / "unmounted")
    if not gone:
        root.mkdir()
    for ask in (fetcher.fetch, fetcher.local_path, fetcher.scan):
        with pytest.raises(FetchFailed, match="is it mounted") as failed:
            ask(AudioRef("a.wav"))
        assert failed.value.transient


def test_what_was_read_when_the_corpus_was_listed_is_missing_for_now() -> None:
    for error in (FetchFailed("missing_audio", "there is no file a.wav"), FetchFailed("no_permission", "a.wav")):
        with pytest.raises(FetchFailed) as own, reading(AudioRef("a.wav"), listed=False):
            raise error
        assert not own.value.transient
        with (
            pytest.raises(FetchFailed, match=r"went away .*a\.wav.*run again") as lost,
            reading(AudioRef("a.wav"), True),
        ):
            raise error
        assert (lost.value.reason, lost.value.transient) == ("unreachable", True)
    with pytest.raises(FetchFailed, match="is not read to its end") as broken, reading(AudioRef("a.wav"), False):
        raise OSError(errno.EIO, "the disk fails", "/where/it/lies/a.wav")
    assert broken.value.transient


def test_messages_never_say_where_the_corpus_lies(fetcher: Fetcher, root: Path) -> None:
    os.mkfifo(root / "pipe.wav")
    (root / "loop.wav").symlink_to("loop.wav")
    parquet(root / "t.parquet", {"audio": ["gone.wav", "../x.wav"]})
    write(root, {"bad.parquet": b"PAR1", "saved/state.json": b'{"_data_files": [{"filename": "gone.arrow"}]}'})
    refs = [
        AudioRef(name)
        for name in (
            "gone.wav",
            "a.wav/b",
            "deep",
            "pipe.wav",
            "loop.wav",
            "../outside.wav",
            "/etc/passwd",
            "x" * 5000,
            "a\0b",
        )
    ]
    refs += [AudioRef("deep/b.bin", 8, 9), AudioRef("gone.tar", 8, 9), AudioRef("t.parquet", row=7, column="audio")]
    refs += [
        AudioRef(name, row=row, column="audio")
        for name in ("t.parquet", "gone.parquet", "bad.parquet", "saved", "deep")
        for row in (0, 1)
    ]
    for ref in refs:
        header = fetcher.scan(ref)
        assert header.fault, ref
        assert str(root) not in header.fault[1], header.fault
