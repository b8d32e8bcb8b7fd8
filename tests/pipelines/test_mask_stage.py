"""The mask stage: side shards beside the token shards, drawn again by verify, renamed by what they depend on and nothing else."""

from __future__ import annotations

import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from rich.console import Console

from manifests.dataset import Dataset, DatasetError
from manifests.fingerprint import pretty
from manifests.keys import key_of
from manifests.receipt import FileEntry, read_receipt, receipt_name, write_receipt
from manifests.recipe import parse
from manifests.settings.mask import MaskSettings
from manifests.shards import npy
from manifests.shards.reader import Shard
from manifests.shards.writer import pack
from manifests.storage import Store
from pipelines.data import Result, opened
from pipelines.engine.contract import Task
from pipelines.stages.s70_mask import MaskError, MaskJob, Tally, draw_masks, forget_outdated, tally_of
from pipelines.stages.s90_dataset import Unbalanced, describe_masks
from pipelines.verify import masks as verify_masks
from pipelines.verify.verify import Verdict, verify
from tests.pipelines.finished import FOLDERS, SETS, do_units, make_dataset
from tests.small_corpus import write_corpus
from training.noise.grid import Grid, Key
from training.noise.packing import unpack
from training.noise.views import draw_views

TAR = "masks-0/shard-000001.tar"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("made"))


@pytest.fixture
def out(pristine: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "out"))


def job_of(root: str, folder: str = "masks-0") -> MaskJob:
    """The job that made the masks under ``root``."""
    from pipelines.subject import Subject

    subject = Subject.open(root)
    assert subject.recipe.mask is not None
    return MaskJob(subject.out.sub(folder).root, subject.store("tokens").root, subject.recipe.mask, subject.units)


# What it makes.


def test_every_sample_has_its_masks_at_the_same_index_under_the_same_key(pristine: str) -> None:
    data = Dataset.open(pristine)
    assert len(data.masks) == len(data) == 16
    assert [m.key for m in data.masks] == [s.key for s in data]
    for i in (0, 7, -1):
        masks, sample = data.masks[i], data[i]
        assert masks.meta["id"] == sample.meta["id"]
        assert masks.meta["frames"] == sample.meta["frames"]
        assert masks.meta["blocks"] == sample.meta["frames"] // 8 + 1


def test_the_masks_in_a_shard_are_those_that_the_seed_draws(pristine: str) -> None:
    data, settings = Dataset.open(pristine), MaskSettings.model_validate({"block": 8, "sets": SETS})
    for masks in data.masks:
        grid = Grid(masks.meta["frames"], 1, 8)
        for name, mask_set in settings.sets.items():
            noise, scheme_V = draw_views(mask_set, grid, Key.of(0, masks.meta["id"]))
            stored = unpack(masks.arrays[name], grid)
            assert (stored.masked_VLQ == noise.masked_VLQ).all()
            assert (stored.replaced_VLQ == noise.replaced_VLQ).all()
            assert masks.meta["schemes"][name] == [mask_set.names[i] for i in scheme_V]


def test_any_webdataset_reader_and_plain_numpy_read_them(pristine: str) -> None:
    """As docs/data-format.md says."""
    import webdataset

    shard = next(Path(pristine, "masks-0").glob("shard-*.tar"))
    for sample in webdataset.WebDataset(str(shard), shardshuffle=False).decode():
        packed = sample["mixed.npy"]
        cells = sample["json"]["blocks"] * sample["json"]["block"] * sample["json"]["codebooks"]
        bits = np.unpackbits(packed, axis=-1)[..., :cells].astype(bool)
        assert bits.shape == (4, 2, cells)
        assert not (bits[:, 0] & bits[:, 1]).any(), "what is masked is not replaced"
        assert (bits[0, 0] ^ bits[1, 0]).all(), "a pair masks every cell once"


def test_the_description_says_what_a_reader_must_know(pristine: str) -> None:
    about = Dataset.open(pristine).description["masks"]
    assert {k: about[k] for k in ("folder", "block", "seed")} == {"folder": "masks-0", "block": 8, "seed": 0}
    assert about["sets"]["mixed"] == {
        "views": 4, "planes": 2, "complementary": True, "schemes": ["hierarchical", "full_block", "left_to_right"],
    }  # fmt: skip
    tar = Path(pristine, TAR).read_bytes()
    assert about["shards"][1]["bytes"] == len(tar)


def test_the_order_of_the_sets_in_the_recipe_changes_no_byte() -> None:
    one, other = (MaskSettings.model_validate({"sets": dict(order(SETS.items()))}) for order in (list, reversed))
    assert list(one.sets) != list(other.sets)
    assert list(draw_masks(one, "u", 40, 1, Tally()).items()) == list(draw_masks(other, "u", 40, 1, Tally()).items())


def test_receipts_add_up_to_the_bits_in_the_shards(pristine: str) -> None:
    job, data = job_of(pristine), Dataset.open(pristine)
    made = [receipt for unit in job.units if (receipt := read_receipt(Store(job.folder), unit.index))]
    tally = tally_of(made)
    assert tally.blocks.total() == 16
    for name in SETS:
        noises = [unpack(m.arrays[name], Grid(m.meta["frames"], 1, 8)) for m in data.masks]
        cells = tally.sets[name].counts_K @ np.arange(9)
        assert cells == sum(int(n.masked_VLQ.sum()) for n in noises)
        assert tally.sets[name].replaced == sum(int(n.replaced_VLQ.sum()) for n in noises)


def test_a_unit_made_again_in_any_order_has_the_same_bytes(pristine: str, tmp_path: Path) -> None:
    job = job_of(pristine)
    again = replace(job, folder=str(tmp_path / "again"))
    worker = again.open()
    for unit in reversed(job.units):
        for name, data in worker.process(Task(unit), lambda _: None).files.items():
            assert Store(job.folder).read(name) == data


# What it refuses.


def test_a_side_shard_of_other_samples_is_refused_by_name(out: Path) -> None:
    wanted = Shard(Store(str(out / "tokens-0")), "shard-000001").keys[0]
    shutil.copy(out / "masks-0/shard-000000.tar", out / TAR)
    shutil.copy(out / "masks-0/shard-000000.idx", out / "masks-0/shard-000001.idx")
    data = Dataset.open(str(out))
    first = len(Shard(data.tokens, "shard-000000"))
    assert data.masks[0].key == data[0].key
    for _ in range(2):  # also when it was looked at before
        with pytest.raises(DatasetError, match=rf"shard-000001\.tar: holds .* where the sample beside it is {wanted}"):
            data.masks[first]


def test_another_number_of_samples_is_refused(out: Path) -> None:
    description = orjson.loads((out / "dataset.json").read_bytes())
    description["masks"]["shards"].pop()
    (out / "dataset.json").write_bytes(pretty(description))
    with pytest.raises(DatasetError, match=r"masks-0: .* lie beside 16"):
        Dataset.open(str(out)).masks[0]


def test_a_dataset_without_masks_says_so(out: Path) -> None:
    description = orjson.loads((out / "dataset.json").read_bytes())
    del description["masks"]
    (out / "dataset.json").write_bytes(pretty(description))
    with pytest.raises(DatasetError, match="has no masks"):
        _ = Dataset.open(str(out)).masks


def test_poison_is_never_left_out_for_it_would_move_the_others(pristine: str) -> None:
    job = job_of(pristine)
    with pytest.raises(MaskError, match=r"'sp\d/.*worker_died"):
        job.open().process(Task(job.units[0], skip={0: ("worker_died", "signal 9")}), lambda _: None)


def test_masks_without_their_tokens_are_not_drawn(pristine: str, tmp_path: Path) -> None:
    job = replace(job_of(pristine), tokens=str(tmp_path))
    with pytest.raises(MaskError, match="unit 0 has no tokens"):
        job.open().process(Task(job.units[0]), lambda _: None)


def test_a_missing_side_shard_makes_no_dataset(out: Path) -> None:
    (out / "masks-0" / receipt_name(1)).unlink()
    shards = Dataset.open(str(out)).description["tokens"]["shards"]
    with pytest.raises(Unbalanced, match="masks-0"):
        describe_masks(Store(str(out / "masks-0")), "masks-0", job_of(str(out)).settings, shards)


def test_masks_of_a_token_shard_that_was_made_anew_are_forgotten(out: Path) -> None:
    job, tokens = job_of(str(out)), Store(str(out / FOLDERS["tokens"]))
    assert forget_outdated(Store(job.folder), tokens, job.units) == 0
    receipt = read_receipt(tokens, 1)
    assert receipt is not None
    write_receipt(tokens, replace(receipt, files=(FileEntry.of("shard-000001.tar", b"other"), receipt.files[1])))
    assert forget_outdated(Store(job.folder), tokens, job.units) == 1
    assert read_receipt(Store(job.folder), 1) is None


# What verify finds.


def faults_at(verdict: Verdict, where: str) -> dict[str | None, str]:
    return {fault.key: fault.what for fault in verdict.faults if fault.where == where}


@pytest.mark.parametrize("name", sorted(SETS))
@pytest.mark.parametrize("place", [0, -1])
def test_one_flipped_bit_is_found_and_traced_to_its_key_set_and_view(out: Path, name: str, place: int) -> None:
    shard = Shard(Store(str(out / "masks-0")), "shard-000001")
    member = npy.load(shard.member(1, f"{name}.npy"))  # type: ignore[arg-type]
    offset, size = shard.index[f"{name}.npy"][1].tolist()
    data = bytearray((out / TAR).read_bytes())
    data[offset + size - member.nbytes if place == 0 else offset + size - 1] ^= 0x80
    (out / TAR).write_bytes(data)
    found = faults_at(verify(str(out), reencode=0), TAR)
    view = 0 if place == 0 else len(member) - 1
    assert set(found) == {None, shard.keys[1]}
    assert f"{name}.npy" in found[shard.keys[1]]
    assert f"(view {view} of {len(member)})" in found[shard.keys[1]]


def rewrite(out: Path, change: dict[str, bytes]) -> str:
    """Write shard 1 anew with other members in its first sample, receipt and description following suit; returns its key."""
    store = Store(str(out / "masks-0"))
    shard, receipt = Shard(store, "shard-000001"), read_receipt(store, 1)
    assert receipt is not None
    rows = [(k, {e: bytes(m) for e in shard.extensions if (m := shard.member(i, e))}) for i, k in enumerate(shard.keys)]
    rows[0] = (rows[0][0], {**rows[0][1], **change})
    packed = pack(rows)
    entries = (FileEntry.of("shard-000001.tar", packed.tar), FileEntry.of("shard-000001.idx", packed.index))
    store.publish("shard-000001.tar", packed.tar)
    store.publish("shard-000001.idx", packed.index)
    write_receipt(store, replace(receipt, files=entries))
    description = orjson.loads((out / "dataset.json").read_bytes())
    description["masks"]["shards"][1] |= {
        "bytes": len(packed.tar),
        "sha256": packed.sha256,
        "index_sha256": packed.index_sha256,
    }
    (out / "dataset.json").write_bytes(pretty(description))
    return rows[0][0]


def changed_bit(out: Path, name: str) -> dict[str, bytes]:
    packed = Shard(Store(str(out / "masks-0")), "shard-000001")[0].arrays[name].copy()
    packed[1, 0, 0] ^= 0x10
    return {f"{name}.npy": npy.dump(packed)}


def test_a_writer_that_hashes_wrong_masks_truly_is_found_out(out: Path) -> None:
    key = rewrite(out, changed_bit(out, "plain"))
    verdict = verify(str(out), reencode=0)
    found = faults_at(verdict, TAR)
    assert found[key] == "plain.npy is not what the recipe's seed draws (view 1 of 3)"
    assert {fault.where for fault in verdict.faults} == {TAR}


def test_of_a_large_dataset_some_units_are_drawn_again_and_a_note_says_how_many(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_masks, "DRAWN_AGAIN", 8)
    verdict = verify(str(out), reencode=0)
    [note] = verdict.notes
    assert verdict.ok
    assert "of 16 samples were drawn again" in note
    assert 0 < int(note.split()[3]) < 16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"plain.npy": npy.dump(np.zeros((3, 1, 1), np.uint8))}, "bytes a plane"),
        ({"json": b'{"frames": 1, "codebooks": 1}'}, "its JSON or its sets"),
        ({"more.npy": npy.dump(np.zeros(1))}, "its JSON or its sets"),
    ],
)
def test_what_is_not_drawn_again_has_to_fit_its_utterance(
    out: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, bytes], said: str
) -> None:
    monkeypatch.setattr(verify_masks, "DRAWN_AGAIN", 0)
    key = rewrite(out, change)
    assert said in faults_at(verify(str(out), reencode=0), TAR)[key]


def test_a_description_of_other_masks_is_a_fault(out: Path) -> None:
    description = orjson.loads((out / "dataset.json").read_bytes())
    description["masks"]["sets"]["plain"]["views"] = 4
    (out / "dataset.json").write_bytes(pretty(description))
    assert "dataset.json" in {fault.where for fault in verify(str(out), reencode=0).faults}


def test_masks_that_lie_beside_another_token_shard_are_found(out: Path) -> None:
    store = Store(str(out / "masks-0"))
    receipt = read_receipt(store, 1)
    assert receipt is not None
    write_receipt(store, replace(receipt, facts={**receipt.facts, "beside": "0" * 64}))
    assert "another token shard" in str(verify(str(out), reencode=0).faults[0])


# The whole pipeline.


def run(out: Path, root: Path, **settings: object) -> Result:
    recipe = parse({
        "corpus": {"layout": "table", "root": str(root)}, "plan": {"unit_seconds": 4}, "run": {"workers": 0},
        "speech": {"codebook_size": 32, "fit_seconds": 20}, "text": {"vocab_size": 300}, **settings,
    })  # fmt: skip
    with opened(recipe, str(out), Console(quiet=True)) as data:
        return data()


def test_masks_are_renamed_by_their_settings_and_by_the_tokens_and_tokens_by_no_mask(tmp_path: Path) -> None:
    root, out = write_corpus(tmp_path / "corpus", 8), tmp_path / "out"
    first = run(out, root)
    tokens = {p: p.stat().st_mtime_ns for p in out.glob("tokens-*/shard-*")}
    assert run(out, root).nothing_to_do
    seeded = run(out, root, mask={"seed": 1})
    assert (seeded.did["tokens"], seeded.did["masks"] > 0) == (0, True)
    folders, others = first.description["folders"], seeded.description["folders"]
    assert {stage for stage in folders if folders[stage] != others[stage]} == {"masks"}
    assert {p: p.stat().st_mtime_ns for p in out.glob("tokens-*/shard-*")} == tokens
    moved = run(out, root, text={"vocab_size": 280}).description["folders"]
    assert moved["masks"] not in (folders["masks"], others["masks"])
    without = run(out, root, mask=None)
    assert without.did["tokens"] == 0
    assert "masks" not in without.description
    assert "masks" not in without.description["folders"]
    assert verify(str(out)).ok


def test_the_masks_of_an_utterance_do_not_depend_on_its_unit_or_its_corpus(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus", 12)
    run(tmp_path / "a", root)
    run(tmp_path / "b", root, plan={"unit_seconds": 100, "seed": 4})
    a, b = (Dataset.open(str(tmp_path / name)).masks for name in "ab")
    assert len(a.shards) > len(b.shards)
    for one in a:
        other = b.find(one.key)
        assert other is not None
        assert one.meta == other.meta
        assert all((one.arrays[name] == other.arrays[name]).all() for name in ("bernoulli", "hierarchical"))


def test_tokens_made_anew_with_other_contents_get_masks_anew(tmp_path: Path) -> None:
    root, out = write_corpus(tmp_path / "corpus", 8), tmp_path / "out"
    first = run(out, root).description
    folder = out / first["folders"]["tokens"]
    receipt = read_receipt(Store(str(folder)), 0)
    assert receipt is not None
    shard = Shard(Store(str(folder)), "shard-000000")
    fewer = pack([(shard.keys[0], {e: bytes(m) for e in shard.extensions if (m := shard.member(0, e))})])
    keep = shard.keys[0]
    outcomes = tuple(o if o.status != "written" or key_of(o.id) == keep else replace(o, status="filtered", reason="silent")
                     for o in receipt.outcomes)  # fmt: skip
    store = Store(str(folder))
    store.publish("shard-000000.tar", fewer.tar)
    store.publish("shard-000000.idx", fewer.index)
    entries = (FileEntry.of("shard-000000.tar", fewer.tar), FileEntry.of("shard-000000.idx", fewer.index))
    write_receipt(store, replace(receipt, files=entries, outcomes=outcomes))
    again = run(out, root)
    assert again.did["masks"] == 1
    assert again.description["masks"]["shards"][0]["samples"] == 1


def test_tars_of_masks_are_as_plain_as_those_of_tokens(pristine: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(Path(pristine, TAR).read_bytes())) as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.uname) for m in members} == {(0, 0, "")}
    assert [m.name.partition(".")[2] for m in members[:3]] == ["json", "mixed.npy", "plain.npy"]


def test_a_unit_done_twice_leaves_the_same_bytes(pristine: str) -> None:
    job = job_of(pristine)
    before = {p: p.read_bytes() for p in Path(job.folder).glob("shard-*")}
    do_units(job)
    assert {p: p.read_bytes() for p in Path(job.folder).glob("shard-*")} == before
