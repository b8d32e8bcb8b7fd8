"""A corpus made to do harm: every line of it ends as written or set aside with a reason; nothing runs, nothing outside is touched."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from manifests.dataset import Dataset
from manifests.keys import MAX_KEY, key_of
from manifests.recipe import parse
from pipelines.data import opened
from pipelines.status import quarantine
from pipelines.verify.verify import verify
from tests.child import bounded
from tests.manifests.corpus_trees import tar, wav, write
from tests.small_corpus import RATE, tone, write_corpus

SMALL = {
    "speech": {"codebook_size": 16, "fit_seconds": 4, "iterations": 2}, "text": {"vocab_size": 300}, "run": {"workers": 0},
    "mask": {"block": 8, "sets": {"plain": {"views": 1, "mix": [{"noise": "bernoulli"}]}}}, "clean": {"min_seconds": 0.05},
}  # fmt: skip
GOOD = wav(0.6)


def make(corpus: Path, out: Path, **layout: object) -> tuple[Dataset, dict[str, str]]:
    """The dataset and the reason of each utterance set aside; it verifies and its ledger balances."""
    with opened(parse({**SMALL, "corpus": {"root": str(corpus), **layout}}), str(out), Console(quiet=True)) as run:
        run()
    verdict = verify(str(out), reencode=2)
    assert verdict.ok, [str(f) for f in verdict.faults]
    data, aside = Dataset.open(str(out)), {o.id: o.reason or "" for o in quarantine(str(out))}
    ledger = data.description["ledger"]
    assert ledger["planned"] == ledger["written"] + len(aside)
    return data, aside


def outside(tmp_path: Path, *own: str) -> dict[str, bytes]:
    """All files that are not below the folders named."""
    found = (p for p in tmp_path.rglob("*") if p.is_file() and p.relative_to(tmp_path).parts[0] not in own)
    return {str(p): p.read_bytes() for p in found}


class Exploit:
    """A pickle that leaves a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def exploits(mark: Path) -> dict[str, bytes]:
    """One pickle under every name that some reader would load it by."""
    data = pickle.dumps(Exploit(mark))
    boxed = io.BytesIO()
    np.save(boxed, np.array([Exploit(mark)], dtype=object), allow_pickle=True)
    names = ("pyd", "pickle", "pkl", "pth", "pt", "bin", "ckpt", "joblib", "npy", "safetensors", "json", "txt", "wav")
    return dict.fromkeys(names, data) | {"npy": boxed.getvalue()}


def test_pickles_under_any_name_in_a_tar_are_never_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    members: list[tuple[str, bytes]] = []
    for name, data in exploits(mark).items():
        members += [(f"with-{name}.{name}", data), *([] if name == "wav" else [(f"with-{name}.wav", GOOD)])]
    write(tmp_path / "corpus", {"t.tar": tar([*members, ("good.wav", wav(0.7))])})
    data, aside = make(tmp_path / "corpus", tmp_path / "out", layout="tars")
    assert not mark.exists()
    assert data.find(key_of("t/good")) is not None
    assert aside["t/with-wav"] == "not_audio"
    assert aside["t/with-json"] in ("bad_line", "bad_encoding")


def entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT)


def test_members_that_would_escape_link_or_open_devices_touch_nothing_and_each_is_accounted_for(tmp_path: Path) -> None:
    sound = GOOD + bytes(-len(GOOD) % 512)
    parts: list[bytes] = []
    for name in ("../../escaped.wav", "/absolute.wav", "a/../../b.wav", "./c.wav", "d\\..\\..\\e.wav"):
        parts += [entry(name, size=len(GOOD)), sound]
    parts += [
        entry("l.wav", tarfile.SYMTYPE, link="/etc/passwd"),
        entry("h.wav", tarfile.LNKTYPE, link="../../../etc/passwd"),
    ]
    parts += [entry(f"{k.decode()}.wav", k) for k in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Q")]
    parts += [
        entry("f.wav", tarfile.DIRTYPE),
        entry("notes", tarfile.SYMTYPE, link="/etc/passwd"),
    ]  # no sounds, whatever they are
    write(tmp_path / "corpus", {"t.tar": b"".join(parts) + bytes(10240)})
    write(tmp_path, {"beside/secret.txt": "mine"})
    before = outside(tmp_path, "corpus", "out")
    data, aside = make(tmp_path / "corpus", tmp_path / "out", layout="tars")
    assert outside(tmp_path, "corpus", "out") == before
    linked = {key for key, reason in aside.items() if reason == "not_a_file"}
    assert linked == {f"t/{name}" for name in ("l", "h", "3", "4", "6", "Q")}
    assert len(data) + len(aside) == 5 + len(linked)
    assert set(aside.values()) - {"not_a_file"} <= {"duplicate_audio", "duplicate_id"}
    assert not list(tmp_path.rglob("escaped*")) + list(tmp_path.rglob("b.wav"))


@pytest.mark.parametrize("size", [10**11, 2**62, 2**63 + 5])
def test_a_tar_that_declares_more_than_it_holds_is_a_broken_one_and_costs_no_memory(size: int, tmp_path: Path) -> None:
    sound = entry("good.wav", size=len(GOOD)) + GOOD + bytes(-len(GOOD) % 512)
    write(tmp_path / "corpus", {"t.tar": sound + entry("huge.wav", size=size) + b"RIFF", "u.tar": sound + bytes(1024)})
    _, aside = make(tmp_path / "corpus", tmp_path / "out", layout="tars")
    assert "broken_tar" in aside.values()


def test_a_sparse_member_of_a_terabyte_is_not_unpacked(tmp_path: Path) -> None:
    info = tarfile.TarInfo("s.wav")
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(10**12),
        "GNU.sparse.name": "s.wav",
    }
    info.size = 512
    head = info.tobuf(tarfile.PAX_FORMAT)
    good = entry("good.wav", size=len(GOOD)) + GOOD + bytes(-len(GOOD) % 512)
    write(tmp_path / "corpus", {"t.tar": head + b"1\n0\n512\n".ljust(512, b"\0") + good + bytes(1024)})
    data, aside = make(tmp_path / "corpus", tmp_path / "out", layout="tars")
    assert data.find(key_of("t/good")) is not None
    assert aside == {"t/s": "not_a_file"}


def test_a_transcript_that_is_a_link_costs_its_utterance_alone_and_says_where_it_leads(tmp_path: Path) -> None:
    parts = [
        entry("a.txt", tarfile.SYMTYPE, link="/etc/passwd\n"),
        entry("a.wav", size=len(GOOD)) + GOOD + bytes(-len(GOOD) % 512),
    ]
    more = tar([("b.txt", b"words"), ("b.wav", wav(0.7))])
    write(tmp_path / "corpus", {"t.tar": b"".join(parts) + more})
    data, aside = make(tmp_path / "corpus", tmp_path / "out", layout="tars")
    assert [s.meta["text"] for s in data] == ["words"]
    assert aside == {"t/a": "unreadable_text"}
    (told,) = quarantine(str(tmp_path / "out"))
    assert told.error == "t.tar: a.txt is a symbolic link to '/etc/passwd\\n'"


def table(corpus: Path, rows: Iterable[dict[str, str]]) -> Path:
    """A JSONL list beside one good sound."""
    write(corpus, {"list.jsonl": "".join(json.dumps(row) + "\n" for row in rows), "good.wav": GOOD})
    return corpus


PLACES = {
    "/etc/passwd": "outside_root", "../outside.wav": "outside_root", "x/../../outside.wav": "outside_root", "file:///etc/passwd": "outside_root",
    "/dev/zero": "outside_root", "/proc/self/environ": "outside_root", "http://127.0.0.1:9/a.wav": "outside_root", "s3://bucket/a.wav": "outside_root",
    "simplecache::http://127.0.0.1:9/a.wav": "outside_root", "zero.wav": "not_a_file", "pipe.wav": "not_a_file", "folder": "not_a_file",
    "gone.wav": "missing_audio", "a\0b.wav": "unreadable_file", "x" * 5000: "unreadable_file",
}  # fmt: skip


def test_a_list_that_points_elsewhere_reads_nothing_there(tmp_path: Path) -> None:
    corpus = table(
        tmp_path / "corpus", [{"id": f"n{i}", "audio": p, "text": "t"} for i, p in enumerate([*PLACES, "good.wav"])]
    )
    (corpus / "zero.wav").symlink_to("/dev/zero")
    (corpus / "folder").mkdir()
    os.mkfifo(corpus / "pipe.wav")
    write(tmp_path, {"outside.wav": GOOD})
    data, aside = make(corpus, tmp_path / "out", layout="table")
    assert aside == {f"n{i}": reason for i, reason in enumerate(PLACES.values())}
    assert [s.meta["id"] for s in data] == [f"n{len(PLACES)}"]


IDS = [
    "a/b", "a\\b", "../../../etc/passwd", "/absolute", "..", ".", " ", "\t", "a\nb", "a\0b", "\x1b[31mred\x1b[0m", "a.b.c", "a~b", "%2E",
    "id\u202egnp.exe", "раypal", "paypal", "é", "e\u0301", "ﬁ", "fi", "I", "i", "İ", "ı", "A" * 10_000, "A" * 9_999 + "B", "\U0001f600",
    "con", "NUL", "-rf", "$(touch ran)", "`touch ran`", "'; drop table", "{0}", "%s%n", "<script>alert(1)</script>", "\ufeffx", "x",
]  # fmt: skip


def test_ids_of_any_kind_keep_their_utterance_apart_and_make_no_path(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    rows = [{"id": name, "audio": f"{i}.wav", "text": f"line {i}"} for i, name in enumerate(IDS)]
    table(
        corpus,
        [*rows, {"id": "x", "audio": "0.wav", "text": "again"}, {"id": "x", "audio": "1.wav", "text": "once more"}],
    )
    import soundfile

    for i in range(len(IDS)):
        soundfile.write(corpus / f"{i}.wav", tone(i, 0.5), RATE, subtype="PCM_16")
    before = outside(tmp_path, "corpus", "out")
    data, aside = make(corpus, tmp_path / "out", layout="table")
    assert outside(tmp_path, "corpus", "out") == before
    ids = [s.meta["id"] for s in data]
    assert len(set(ids)) == len(ids)
    assert set(ids) | set(aside) >= set(IDS)
    assert set(aside.values()) <= {"bad_line", "duplicate_id"}, aside
    assert sorted(aside.values()).count("duplicate_id") == 2
    assert all(len(s.key) <= MAX_KEY and s.key.isascii() and not set(s.key) & set("./\\\0\n ") for s in data)
    names = [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert all(name.replace("-", "").replace(".", "").isalnum() or name in (".lock",) for name in names), names


DEEP = {
    "lists": b"[" * 200_000, "lists that close": b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "objects": b'{"a":' * 100_000,
    "digits": b'{"text": ' + b"9" * 900_000 + b"}", "a float of many digits": b'{"duration": 1' + b"0" * 100_000 + b".5}", "infinity": b'{"duration": Infinity, "text": NaN}',
    "no object": b'"text"', "half a pair": b'{"text": "\\ud800"}', "two megabytes": b'{"text": "' + b"x" * 2_000_000 + b'"}',
}  # fmt: skip


def test_json_made_to_do_harm_costs_its_own_utterance_at_most(tmp_path: Path) -> None:
    sounds = [wav(0.6 + 0.01 * i) for i in range(len(DEEP) + 1)]
    members = [m for i, text in enumerate(DEEP.values()) for m in ((f"n{i}.json", text), (f"n{i}.wav", sounds[i]))]
    write(
        tmp_path / "corpus", {"t.tar": tar([*members, ("good.json", b'{"text": "words"}'), ("good.wav", sounds[-1])])}
    )
    data, aside = make(tmp_path / "corpus", tmp_path / "out", layout="tars")
    assert len(data) + len(aside) == len(DEEP) + 1
    assert set(aside.values()) <= {"bad_line", "bad_encoding"}, aside
    good = data.find(key_of("t/good"))
    assert good is not None
    lines = b"\n".join(text for text in DEEP.values()) + b'\n{"id": "good", "audio": "good.wav", "text": "words"}\n'
    write(tmp_path / "listed", {"list.jsonl": lines, "good.wav": GOOD})
    data, aside = make(tmp_path / "listed", tmp_path / "other", layout="table")
    assert [s.meta["id"] for s in data] == ["good"]
    assert len(aside) == len(DEEP)


BOMBS = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{n}: &{n} [*{m},*{m},*{m},*{m},*{m},*{m},*{m},*{m},*{m}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)),
    "one alias": "corpus: &c {layout: folder, root: .}\nname: *c\n",
    "deep": "name: " + "[" * 20_000,
    "deep and closed": "name: " + "[" * 5_000 + "]" * 5_000,
    "a date that is none": "name: 2020-99-99",
    "a number of a million digits": "plan: {seed: " + "9" * 900_000 + "}",
    "large": "name: " + "x" * 3_000_000,
    "python": "name: !!python/object/apply:os.system ['touch ran']",
    "binary": "name: !!binary ////////",
    "a mapping of lists": "corpus: [1, 2]\nplan: 3\nspeech: [patches]\nmask: yes\nrun: {workers: many}\n",
    "keys that are none": "1: 2\n? [a, b]\n: c\n",
    "merge": "<<: [1]\n",
    "infinities": "corpus: {layout: folder, root: .}\nplan: {unit_seconds: .inf, batch_seconds: .nan}\nclean: {min_seconds: -.inf}\n",
}  # fmt: skip


def test_recipes_made_to_do_harm_are_refused_in_short_lines_and_bounded_memory(tmp_path: Path) -> None:
    for i, text in enumerate(BOMBS.values()):
        (tmp_path / f"{i}.yaml").write_text(text)
    code = (
        "import sys\nfrom manifests.recipe import RecipeError, load\nfor path in sys.argv[1:]:\n"
        "    try:\n        load(path)\n    except RecipeError as error:\n"
        "        print(max(map(len, str(error).splitlines())), str(error).splitlines()[0])\n    else:\n        print('0 accepted')"
    )
    done = bounded(code, *(str(tmp_path / f"{i}.yaml") for i in range(len(BOMBS))), megabytes=1024, seconds=60)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = dict(zip(BOMBS, done.stdout.splitlines(), strict=True))
    assert all(0 < int(line.split(" ", 1)[0]) < 800 for line in lines.values()), lines
    assert "alias" in lines["aliases"]
    assert not (tmp_path / "ran").exists()


BLOBS = {
    "a header of 2**60 bytes": (2**60).to_bytes(8, "little") + b"{}",
    "a header beyond the end": (4096).to_bytes(8, "little") + b"{}",
    "a deep header": (40_008).to_bytes(8, "little") + b'{"a":' + b"[" * 40_000 + b"{}}",
    "a tensor of 2**60 bytes": (len(b'{"x":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}')).to_bytes(8, "little")
    + b'{"x":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}',
    "a pickle": pickle.dumps({"weight": [1, 2, 3]}),
    "nothing": b"",
}  # fmt: skip


def test_weights_made_to_do_harm_are_refused_by_every_reader_in_bounded_memory(tmp_path: Path) -> None:
    for i, data in enumerate(BLOBS.values()):
        folder = tmp_path / f"{i}"
        write(folder, {"talker.safetensors": data, "state.json": b"[" * 5000 if i % 2 else b'{"format": 1}'})
    code = (
        "import sys\nfrom pathlib import Path\nfrom manifests.settings.speech import PatchesSettings\n"
        "from tokenization.patches.files import CodebookDamaged, load\nfrom training.checkpoint import Checkpoint, read\n"
        "from training.errors import CheckpointError\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    for kind, look in ((CodebookDamaged, lambda: load((path / 'talker.safetensors').read_bytes(), PatchesSettings())),\n"
        "                       (CheckpointError, lambda: Checkpoint(path, {}).tensors('talker')), (CheckpointError, lambda: read(path))):\n"
        "        try:\n            look()\n        except kind as error:\n            print(kind.__name__)\n"
    )
    done = bounded(code, *(str(tmp_path / f"{i}") for i in range(len(BLOBS))), megabytes=3072)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["CodebookDamaged", "CheckpointError", "CheckpointError"] * len(BLOBS)


def test_a_description_that_points_outside_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import cli

    make(write_corpus(tmp_path / "corpus", 6), tmp_path / "out", layout="table")
    value = json.loads((tmp_path / "out/dataset.json").read_text())
    whole = value["folders"]["tokens"]
    for name in ("../../etc", "/etc", f"{whole}/../../.."):
        value["folders"]["tokens"] = value["tokens"]["folder"] = name
        (tmp_path / "out/dataset.json").write_text(json.dumps(value))
        for command in ("verify", "inspect", "report"):
            monkeypatch.setattr("sys.argv", ["speechmill", command, str(tmp_path / "out")])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert ended.value.code, (command, name)
            said = capsys.readouterr()
            assert "Traceback" not in said.out + said.err
