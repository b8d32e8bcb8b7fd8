"""``repair``: whatever byte is damaged, exactly what was hit is made anew, and the dataset is the undisturbed one again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from manifests.recipe import parse
from manifests.storage import Store
from pipelines.data import opened
from pipelines.repair.repair import Repaired, RepairError, planned_repair, repair
from pipelines.status import status
from tests.faults.command import ROOT
from tests.small_corpus import fingerprints, write_corpus

QUIET = Console(quiet=True)
SETTINGS = {
    "plan": {"unit_seconds": 4}, "speech": {"codebook_size": 16, "fit_seconds": 4, "iterations": 2}, "text": {"vocab_size": 300},
    "mask": {"block": 8, "sets": {"plain": {"views": 2, "mix": [{"noise": "bernoulli"}]}}}, "run": {"workers": 0},
}  # fmt: skip


def make(out: str, corpus: Path) -> None:
    recipe = parse({**SETTINGS, "corpus": {"layout": "table", "root": str(corpus)}})
    with opened(recipe, out, QUIET) as run:
        run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset beside its corpus."""
    folder = tmp_path_factory.mktemp("whole")
    make(str(folder / "out"), write_corpus(folder / "corpus", 16))
    return folder / "out"


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged; the corpus stays where it is."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def name_of(out: Path, stage: str, name: str) -> Path:
    return next(out.glob(f"{stage}-*")) / name


def flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place if place >= 0 else len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def stamps(out: Path) -> dict[str, int]:
    """Inode of each shard, index and receipt: what is written again has another."""
    names = [p for p in out.rglob("*") if p.suffix in (".tar", ".idx") or p.parent.name == "receipts"]
    return {str(p.relative_to(out)): p.stat().st_ino for p in names}


def mended(out: Path, whole: Path, **options: int) -> Repaired:
    """The repair of a root; what it ends with is checked: verified, balanced, bytes of the undisturbed run."""
    done = repair(str(out), QUIET, **options)
    assert done.ok, (done.different, done.verdict)
    assert done.verdict is not None
    assert not [str(f) for f in done.verdict.faults]
    assert fingerprints(out) == fingerprints(whole)
    seen = status(str(out))
    assert seen.ledger is not None
    assert seen.finished
    assert seen.ledger.settled
    return done


def parts(done: Repaired) -> list[tuple[str, int | None]]:
    return [(part.stage, part.unit) for part in done.parts if part.stage != "dataset.json"]


def test_a_sound_dataset_has_nothing_to_make_anew_and_is_left_as_it_is(out: Path, whole: Path) -> None:
    before = stamps(out)
    assert mended(out, whole).parts == ()
    assert stamps(out) == before


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink], ids=["flipped", "truncated", "missing"])
@pytest.mark.parametrize("name", ["shard-000001.tar", "shard-000001.idx", "receipts/unit-000001.json"])
def test_a_damaged_token_unit_alone_is_made_anew_with_what_was_made_of_it(
    name: str, damage: Callable[[Path], None], out: Path, whole: Path
) -> None:
    damage(name_of(out, "tokens", name))
    before = stamps(out)
    told = planned_repair(str(out))
    assert parts(told) == [("tokens", 1), ("masks", 1)]
    assert any(name in what for what in told.parts[0].what), "the file is not named"
    assert stamps(out) == before, "a dry run changed something"
    assert parts(mended(out, whole)) == [("tokens", 1), ("masks", 1)]
    after = stamps(out)
    touched = {n for n, inode in after.items() if before.get(n) != inode}
    assert touched
    assert all("00001." in n for n in touched), touched


@pytest.mark.parametrize("name", ["shard-000000.tar", "shard-000000.idx", "receipts/unit-000000.json"])
def test_a_damaged_side_shard_costs_no_tokens(name: str, out: Path, whole: Path) -> None:
    flip(name_of(out, "masks", name))
    assert parts(mended(out, whole)) == [("masks", 0)]


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink], ids=["flipped", "truncated", "missing"])
def test_a_damaged_description_is_folded_anew_and_no_unit_is_touched(
    damage: Callable[[Path], None], out: Path, whole: Path
) -> None:
    damage(out / "dataset.json")
    before = stamps(out)
    assert parts(mended(out, whole)) == []
    assert stamps(out) == before


@pytest.mark.parametrize(
    ("stage", "name"),
    [("cuts", "cuts.json"), ("cuts", "cuts.jsonl.gz"), ("plan", "plan.json"), ("plan", "unit-000001.jsonl"), ("fit", "text.json"),
     ("fit", "speech.safetensors"), ("fit", "receipts/unit-000000.json")],
)  # fmt: skip
def test_damaged_inputs_are_made_anew_and_no_token_with_them(stage: str, name: str, out: Path, whole: Path) -> None:
    cut(out / "cuts" / name if stage == "cuts" else name_of(out, stage, name))
    before = {n: inode for n, inode in stamps(out).items() if not n.startswith("fit")}
    assert {s for s, _ in parts(mended(out, whole))} == {stage}
    after = stamps(out)
    assert {n: after[n] for n in before} == before


def test_damage_everywhere_at_once_is_mended(out: Path, whole: Path) -> None:
    for stage, name in (("fit", "receipts/unit-000000.json"), ("tokens", "receipts/unit-000002.json"), ("tokens", "shard-000000.tar"),
                        ("plan", "plan.json"), ("masks", "receipts/unit-000001.json")):  # fmt: skip
        cut(name_of(out, stage, name))
    flip(out / "dataset.json", 3)
    (out / "cuts/cuts.json").write_bytes(b"{")
    mended(out, whole)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_damage_to_any_file_is_mended(whole: Path, data: st.DataObject) -> None:
    kept = (".lock", "events.jsonl", "run.json")
    names = sorted(str(p.relative_to(whole)) for p in whole.rglob("*") if p.is_file() and p.name not in kept)
    with fresh(whole) as out:
        for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True)):
            path, place = out / name, data.draw(st.integers(0, 10**6))
            before = path.read_bytes()
            kind = data.draw(st.sampled_from(["flip", "cut", "gone"]))
            if kind == "gone":
                path.unlink()
            elif kind == "cut":
                path.write_bytes(before[: place % len(before)])
            else:
                flip(path, place % len(before))
        mended(out, whole)


@contextmanager
def fresh(whole: Path) -> Iterator[Path]:
    """A copy for one example of a property."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(whole, Path(folder) / "out"))


def test_files_that_nobody_names_are_left_alone(out: Path, whole: Path) -> None:
    mine = name_of(out, "tokens", "notes.txt")
    mine.write_text("mine")
    flip(name_of(out, "tokens", "shard-000000.tar"))
    repair(str(out), QUIET)
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("recorded", [None, b"{", b"[]", b'{"root": 1}'])
def test_without_a_record_of_how_it_was_made_nothing_is_removed(recorded: bytes | None, out: Path) -> None:
    flip(name_of(out, "tokens", "shard-000000.tar"))
    (out / "run.json").unlink()
    if recorded is not None:
        (out / "run.json").write_bytes(recorded)
    before = stamps(out)
    with pytest.raises(RepairError, match=r"run\.json is (missing|damaged).*run `speechmill data`"):
        repair(str(out), QUIET)
    assert stamps(out) == before


def test_a_dataset_of_another_recipe_than_the_recorded_one_is_left_alone(out: Path) -> None:
    value = orjson.loads((out / "run.json").read_bytes())
    value["recipe"]["plan"]["seed"] = 5
    (out / "run.json").write_bytes(orjson.dumps(value))
    before = stamps(out)
    with pytest.raises(RepairError, match="another recipe"):
        repair(str(out), QUIET)
    assert stamps(out) == before
    assert (out / "dataset.json").exists()


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_without_the_corpus_it_was_made_of_nothing_is_removed(change: str, tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", 8), tmp_path / "out"
    make(str(out), corpus)
    flip(name_of(out, "tokens", "shard-000000.tar"))
    if change == "gone":
        corpus.rename(tmp_path / "elsewhere")
    else:
        shutil.copy(corpus / "u001.wav", corpus / "u002.wav")
    before = stamps(out)
    with pytest.raises(RepairError, match="nothing was removed"):
        repair(str(out), QUIET)
    assert stamps(out) == before
    if change == "gone":
        (tmp_path / "elsewhere").rename(corpus)
        assert repair(str(out), QUIET).ok


def test_a_repair_that_is_killed_while_it_removes_is_finished_by_the_next(
    out: Path, whole: Path, tmp_path: Path
) -> None:
    flip(name_of(out, "tokens", "shard-000001.tar"))
    marker = tmp_path / "died"
    environment = {**os.environ, "SPEECHMILL_CRASH_AT": f"repair-removing:{marker}"}
    code = "from pipelines.cli import main; main()"
    died = subprocess.run([sys.executable, "-c", code, "repair", str(out)], env=environment, cwd=ROOT, check=False)
    assert died.returncode == 137
    assert not (out / "dataset.json").exists()
    mended(out, whole)


def test_an_output_on_object_storage_is_mended_too(whole: Path) -> None:
    root, memory = "memory://repair", fsspec.filesystem("memory")
    make(root, whole.parent / "corpus")
    store = Store(root)
    [tokens] = [n for n in store.list() if n.startswith("tokens-")]
    name = f"{tokens}/shard-000001.tar"
    memory.pipe_file(store.path(name), store.read(name)[:1000])
    done = repair(root, QUIET)
    assert done.ok
    assert parts(done) == [("tokens", 1), ("masks", 1)]
    assert {n: store.read(n) for n in fingerprints(whole)} == fingerprints(whole)
