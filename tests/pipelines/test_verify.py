"""What ``verify`` finds: nothing in a sound dataset; in a damaged one the file, and the key where one is to blame."""

from __future__ import annotations

import gzip
import io
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from manifests.fingerprint import canonical, pretty
from manifests.ledger import Outcome
from manifests.receipt import FileEntry, read_receipt, write_receipt
from manifests.shards import npy
from manifests.shards.reader import Shard
from manifests.shards.writer import pack
from manifests.storage import Store
from pipelines.verify.findings import RERUN
from pipelines.verify.samples import Owners
from pipelines.verify.verify import Verdict, verify
from tests.pipelines.finished import FOLDERS, make_dataset

TAR = "tokens-0/shard-000001.tar"
PARTLY_FREE = ("cuts/cuts.json", "run.json")  # they also say what decides no byte: how and when it was run


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("made"))


@pytest.fixture
def out(pristine: str, tmp_path: Path) -> Path:
    """A copy that may be damaged; the corpus stays where it is."""
    return Path(shutil.copytree(pristine, tmp_path / "out"))


def places(verdict: Verdict) -> set[str]:
    return {fault.where for fault in verdict.faults}


def files(root: str) -> list[str]:
    return [name for name in Store(root).walk() if name not in PARTLY_FREE]


def test_a_sound_dataset_has_no_fault_and_every_sample_was_read_and_made_again(pristine: str) -> None:
    verdict = verify(pristine)
    assert (verdict.faults, verdict.notes, verdict.ok) == ((), (), True)
    assert verdict.samples == verdict.reencoded == 16


def test_progress_counts_units_and_samples_up_to_their_number(pristine: str) -> None:
    seen: list[tuple[str, int, int]] = []
    verify(pristine, 3, lambda what, done, of: seen.append((what, done, of)))
    assert seen[-1] == ("encoded again", 3, 3)
    assert [done for what, done, _ in seen if what == "units"] == list(range(1, 1 + len(seen) - 3))


def test_a_folder_without_a_dataset_is_one_fault(tmp_path: Path) -> None:
    verdict = verify(str(tmp_path))
    assert places(verdict) == {"dataset.json"}
    assert not verdict.ok


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_changed_byte_anywhere_is_found_and_the_file_is_named(pristine: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files(pristine)))
    before = Path(pristine, name).read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    after = bytearray(before)
    after[place] ^= data.draw(st.integers(1, 255))
    assume(not name.endswith(".gz") or not same_once_unpacked(before, bytes(after)))
    assert name in places(verify_with(pristine, name, bytes(after)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_cut_short_file_is_found_and_named(pristine: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files(pristine)))
    before = Path(pristine, name).read_bytes()
    length = data.draw(st.integers(0, len(before) - 1))
    assert name in places(verify_with(pristine, name, before[:length]))


def test_any_missing_file_is_found_and_named(pristine: str) -> None:
    for name in files(pristine):
        assert name in places(verify_with(pristine, name, None)), name


def verify_with(root: str, name: str, content: bytes | None) -> Verdict:
    """The verdict on a dataset one of whose files has other bytes (or is gone), which it gets back afterwards."""
    path = Path(root, name)
    before = path.read_bytes()
    try:
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return verify(root, reencode=0)
    finally:
        path.write_bytes(before)


def same_once_unpacked(before: bytes, after: bytes) -> bool:
    """Whether a change hit nothing but the unused bits at the end of the compressed stream."""
    try:
        return before[:10] == after[:10] and gzip.decompress(before) == gzip.decompress(after)
    except (OSError, EOFError, zlib.error):
        return False


def test_run_json_with_another_recipe_is_a_fault_of_both_files(out: Path) -> None:
    run = orjson.loads((out / "run.json").read_bytes())
    run["recipe"]["plan"]["seed"] = 5
    (out / "run.json").write_bytes(pretty(run))
    assert {"run.json", "dataset.json"} <= places(verify(str(out), 0))


def test_a_manifest_receipt_with_another_count_is_a_fault(out: Path) -> None:
    cuts = orjson.loads((out / "cuts/cuts.json").read_bytes())
    (out / "cuts/cuts.json").write_bytes(pretty({**cuts, "utterances": 19}))
    assert "cuts/cuts.json" in places(verify(str(out), 0))


# What no hash can show: a writer that made, hashed and described the wrong thing.


def rewrite(out: Path, change: Callable[[str, dict[str, bytes]], dict[str, bytes]], unit: int = 1) -> None:
    """Write a shard anew with ``change`` applied to each sample's members; receipt and description follow suit."""
    store = Store(str(out / FOLDERS["tokens"]))
    stem = f"shard-{unit:06d}"
    shard = Shard(store, stem)
    members = [
        (key, {e: bytes(m) for e in shard.extensions if (m := shard.member(i, e)) is not None})
        for i, key in enumerate(shard.keys)
    ]
    packed = pack((key, change(key, sample)) for key, sample in members)
    publish_shard(out, stem, unit, packed.tar, packed.index)


def publish_shard(out: Path, stem: str, unit: int, tar: bytes, index: bytes) -> None:
    store = Store(str(out / FOLDERS["tokens"]))
    store.publish(f"{stem}.tar", tar)
    store.publish(f"{stem}.idx", index)
    receipt = read_receipt(store, unit)
    assert receipt is not None
    entries = (FileEntry.of(f"{stem}.tar", tar), FileEntry.of(f"{stem}.idx", index))
    write_receipt(store, replace(receipt, files=entries))
    side = read_receipt(masks := Store(str(out / FOLDERS["masks"])), unit)
    assert side is not None
    write_receipt(masks, replace(side, facts={**side.facts, "beside": entries[0].sha256}))
    description = orjson.loads((out / "dataset.json").read_bytes())
    entry = description["tokens"]["shards"][unit]
    entry |= {"bytes": len(tar), "sha256": entries[0].sha256, "index_sha256": entries[1].sha256}
    (out / "dataset.json").write_bytes(pretty(description))


def first_only(out: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> str:
    """``rewrite`` for the first sample of the shard alone; returns its key."""
    first = Shard(Store(str(out / FOLDERS["tokens"])), "shard-000001").keys[0]
    rewrite(out, lambda key, sample: change(sample) if key == first else sample)
    return first


def with_meta(**changes: object) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda sample: {**sample, "json": canonical({**orjson.loads(sample["json"]), **changes})}


def with_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda sample: {**sample, name: npy.dump(change(npy.load(sample[name]).copy()))}


WRONG = {
    "a code beyond the vocabulary": (with_array("speech.npy", lambda a: a * 0 + 16), "vocabulary"),
    "codes of another type": (with_array("speech.npy", lambda a: a.astype(np.int64)), "int64"),
    "codes of another shape": (with_array("speech.npy", lambda a: a[:, 0]), "shape"),
    "another number of frames": (with_meta(frames=1), "frames"),
    "another split": (with_meta(split="test"), "belongs in"),
    "another id": (with_meta(id="sp9/u9"), "names"),
    "another speaker": (with_meta(speaker="sp9"), "speaker"),
    "text tokens beyond the vocabulary": (with_array("text.npy", lambda a: a + 9999), "outside"),
    "tokens of another text": (with_array("text.npy", lambda a: a[::-1]), "not the tokens"),
    "JSON that is none": (lambda sample: {**sample, "json": b"{"}, "json"),
    "an array that is none": (lambda sample: {**sample, "text.npy": b"\x93NUMPY"}, "text.npy"),
    "a pickle in an array": (lambda sample: {**sample, "text.npy": pickled()}, "text.npy"),
    "no speech": (lambda sample: {e: m for e, m in sample.items() if e != "speech.npy"}, "speech"),
}


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_sample_is_named_by_shard_and_key(out: Path, wrong: str) -> None:
    change, said = WRONG[wrong]
    key = first_only(out, change)
    faults = [f for f in verify(str(out), reencode=0).faults if f.key == key]
    assert {f.where for f in faults} == {TAR}
    assert any(said in f.what for f in faults), faults


def test_codes_that_the_sound_does_not_give_are_found_by_making_them_again(out: Path) -> None:
    key = first_only(out, with_array("speech.npy", lambda a: (a + 1) % 16))
    assert verify(str(out), reencode=0).ok
    [fault] = verify(str(out), reencode=20).faults
    assert (fault.where, fault.key) == (TAR, key)
    assert "speech.npy" in fault.what


def test_a_sound_that_is_gone_is_the_corpus_fault_and_not_its_shards(out: Path, tmp_path: Path) -> None:
    run = orjson.loads((out / "run.json").read_bytes())
    corpus = shutil.copytree(run["root"], tmp_path / "moved")
    (out / "run.json").write_bytes(pretty({**run, "root": str(corpus)}))
    for sound in corpus.rglob("*.wav"):
        sound.rename(sound.with_suffix(".gone"))
    [fault, *_] = verify(str(out), reencode=1).faults
    assert (fault.where.startswith("tokens-"), fault.remedy) == (True, "restore the corpus, or make the dataset anew")
    assert "the corpus no longer gives this sample (there is no file" in fault.what


def test_a_flipped_code_in_a_shard_is_traced_to_its_key(out: Path) -> None:
    shard = Shard(Store(str(out / "tokens-0")), "shard-000001")
    offset, size = shard.index["speech.npy"][2].tolist()
    data = bytearray((out / TAR).read_bytes())
    data[offset + size - 2] ^= 1
    (out / TAR).write_bytes(data)
    verdict = verify(str(out), reencode=1)
    assert {f.key for f in verdict.faults if f.where == TAR} == {None, shard.keys[2]}


def test_samples_out_of_order_or_missing_are_found(out: Path) -> None:
    store = Store(str(out / "tokens-0"))
    shard = Shard(store, "shard-000001")
    rows = [(k, {e: bytes(m) for e in shard.extensions if (m := shard.member(i, e))}) for i, k in enumerate(shard.keys)]
    turned = pack(reversed(rows))
    publish_shard(out, "shard-000001", 1, turned.tar, turned.index)
    assert any("order" in f.what for f in verify(str(out), 0).faults)
    fewer = pack(rows[1:])
    publish_shard(out, "shard-000001", 1, fewer.tar, fewer.index)
    assert (TAR, rows[0][0]) in {(f.where, f.key) for f in verify(str(out), 0).faults}


def test_an_index_that_points_elsewhere_is_a_fault_of_the_index(out: Path) -> None:
    shard = Shard(Store(str(out / "tokens-0")), "shard-000001")
    index = shard.index.copy()
    index["text.npy"][0], index["text.npy"][1] = shard.index["text.npy"][1], shard.index["text.npy"][0]
    publish_shard(out, "shard-000001", 1, (out / TAR).read_bytes(), npy.dump(index))
    assert "tokens-0/shard-000001.idx" in places(verify(str(out), 0))


@pytest.mark.parametrize("change", ["lost", "twice", "invented"])
def test_a_ledger_that_does_not_balance_is_a_fault_of_its_receipt(out: Path, change: str) -> None:
    store = Store(str(out / "tokens-0"))
    receipt = read_receipt(store, 0)
    assert receipt is not None
    o = receipt.outcomes
    outcomes = {"lost": o[1:], "twice": (*o, o[0]), "invented": (*o, Outcome("x", "filtered", "silent"))}[change]
    write_receipt(store, replace(receipt, outcomes=outcomes))
    verdict = verify(str(out), 0)
    assert {"tokens-0/receipts/unit-000000.json", "dataset.json"} <= places(verdict)


def test_a_file_that_no_receipt_names_is_a_warning_and_no_failure(out: Path) -> None:
    (out / "tokens-0/shard-000099.tar").write_bytes(b"")
    verdict = verify(str(out), 0)
    assert [(f.where, f.warning) for f in verdict.faults] == [("tokens-0/shard-000099.tar", True)]
    assert verdict.ok


def test_without_the_corpus_all_but_the_encoding_is_checked_and_a_note_says_so(out: Path) -> None:
    run = orjson.loads((out / "run.json").read_bytes())
    (out / "run.json").write_bytes(pretty({**run, "root": str(out / "nowhere")}))
    verdict = verify(str(out))
    assert (verdict.ok, verdict.reencoded, verdict.samples) == (True, 0, 16)
    assert "nowhere" in verdict.notes[0]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{}", b'{"format":"speechmill-dataset/1"}', b"\xff\x00", b'{"format":1}']
)
def test_a_description_of_any_other_kind_is_a_fault(out: Path, content: bytes) -> None:
    (out / "dataset.json").write_bytes(content)
    assert "dataset.json" in places(verify(str(out), 0))


def every_part(out: Path) -> Iterator[tuple[str, object]]:
    for part in orjson.loads((out / "dataset.json").read_bytes()):
        for value in (None, [], {}, 7, "x"):
            yield part, value


def test_no_part_of_the_description_can_be_of_another_type_unnoticed(out: Path) -> None:
    whole = (out / "dataset.json").read_bytes()
    for part, value in every_part(out):
        (out / "dataset.json").write_bytes(pretty({**orjson.loads(whole), part: value}))
        assert "dataset.json" in places(verify(str(out), 0)), (part, value)


def test_a_speaker_in_two_splits_clashes_with_the_split_seen_first() -> None:
    owners = Owners("speaker")
    metas = [
        {"speaker": "a", "split": "train"},
        {"speaker": "b", "split": "dev"},
        {"split": "test"},
        {"speaker": "a", "split": "dev"},
    ]
    assert [owners.clash(meta) for meta in metas] == [None, None, None, "train"]
    assert Owners(None).clash(metas[3]) is None


def test_where_there_is_no_description_nobody_is_told_to_delete_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    [fault] = verify(str(tmp_path)).faults
    assert fault.remedy == RERUN
