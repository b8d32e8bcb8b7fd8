"""`speechmill data` on real corpora in their native layouts, good files and bad: it ends, and the ledger balances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from manifests.corpora.base import CorpusError
from manifests.dataset import Dataset
from manifests.recipe import parse
from pipelines.data import opened
from pipelines.status import quarantine
from pipelines.verify.verify import verify
from tests.corpora import corpus

SMALL = {
    "plan": {"unit_seconds": 60},
    "speech": {"codebook_size": 64, "fit_seconds": 120},
    "text": {"vocab_size": 300},
    "run": {"workers": 0},
}


def run(out: Path, **settings: Any) -> Dataset:
    """The dataset of a recipe, made in this process; its ledger balances and `verify` finds no fault."""
    with opened(parse({**SMALL, **settings}), str(out), Console(quiet=True)) as data:
        data()
    verdict = verify(str(out), reencode=5)
    assert verdict.ok, [str(f) for f in verdict.faults]
    dataset = Dataset.open(str(out))
    ledger = dataset.description["ledger"]
    aside = sum(ledger["filtered"].values()) + sum(ledger["quarantined"].values())
    assert ledger["planned"] == ledger["written"] + aside
    assert ledger["pending"] == 0
    assert len(dataset) == ledger["written"]
    return dataset


@pytest.mark.parametrize(
    ("folder", "settings", "written"),
    [
        ("librispeech_mini/LibriSpeech", {"layout": "librispeech"}, 26),
        ("ljspeech/LJSpeech-1.1", {"layout": "ljspeech"}, 8),
        ("commonvoice_6_1/cv-corpus-6.1-2020-12-11/de", {"layout": "common_voice"}, 6),
        ("commonvoice_6_1/cv-corpus-6.1-2020-12-11/zh-CN", {"layout": "common_voice"}, 6),
        ("aishell_sample/AISHELL_Sample_data", {"layout": "sidecar"}, 10),
        ("fsdd/recordings", {"layout": "folder"}, 80),
        ("hf_parquet_fsdd", {"layout": "hf"}, None),
        ("wenet_shards/test/resources/dataset/shards", {"layout": "tars"}, None),
    ],
)
def test_a_real_corpus_in_its_native_layout_becomes_a_dataset(
    folder: str, settings: dict, written: int | None, tmp_path: Path
) -> None:
    name, _, below = folder.partition("/")
    root = corpus(name) / below
    dataset = run(tmp_path, corpus={**settings, "root": str(root)}, clean={"min_seconds": 0.1, "max_silence": 0.95})
    ledger = dataset.description["ledger"]
    assert not ledger["quarantined"], list(quarantine(str(tmp_path)))
    assert len(dataset) == (written if written is not None else ledger["planned"]), list(quarantine(str(tmp_path)))
    assert len(dataset) > 0
    assert all(s.arrays["speech"].shape[1] == 1 for s in dataset)


@pytest.mark.parametrize(("name", "layout"), [("hostile", "folder"), ("zero_byte_librispeech", "librispeech")])
def test_bad_files_cost_themselves_only_and_each_has_a_reason(name: str, layout: str, tmp_path: Path) -> None:
    root = corpus(name) / {"hostile": "files", "zero_byte_librispeech": "librispeech"}[name]
    dataset = run(tmp_path, corpus={"layout": layout, "root": str(root)})
    aside = list(quarantine(str(tmp_path)))
    assert len(aside) + len(dataset) == dataset.description["ledger"]["planned"]
    assert all(o.reason and o.error and "\n" not in o.error for o in aside)
    if name == "zero_byte_librispeech":
        assert {o.reason for o in aside} == {"empty_file"}
        assert len(dataset) == 0
    else:
        assert len(dataset) >= 10
        assert {"empty_file", "not_audio"} <= {o.reason for o in aside}


def test_copies_and_repeated_ids_reach_the_ledger_under_their_own_reasons(tmp_path: Path) -> None:
    from tests.small_corpus import write_corpus

    root = write_corpus(tmp_path / "corpus", 8)
    (root / "copy.wav").write_bytes((root / "u001.wav").read_bytes())
    with (root / "list.tsv").open("a", encoding="utf-8") as file:
        file.write("copy\tcopy.wav\tthis is sentence number 1\ts1\nu002\tu004.wav\tthe same id again\ts2\n")
    dataset = run(tmp_path / "out", corpus={"layout": "table", "root": str(root)})
    reasons = {o.id: o.reason for o in quarantine(str(tmp_path / "out"))}
    assert reasons["copy"] == "duplicate_audio"
    assert reasons["u002~2"] == "duplicate_id"
    assert dataset.find("u002") is not None


def test_a_changed_setting_makes_anew_only_what_depends_on_it(tmp_path: Path) -> None:
    from tests.small_corpus import write_corpus

    root, out = write_corpus(tmp_path / "corpus", 8), tmp_path / "out"
    corpus_block = {"layout": "table", "root": str(root)}
    first = run(out, corpus=corpus_block).description["folders"]
    second = run(out, corpus=corpus_block, text={"vocab_size": 280}).description["folders"]
    assert second["plan"] == first["plan"]
    assert second["fit"] != first["fit"]
    third = run(out, corpus=corpus_block, run={"workers": 0, "attempts": 5}).description["folders"]
    assert third == first


def test_a_file_added_to_the_corpus_is_found_by_the_next_run(tmp_path: Path) -> None:
    from tests.small_corpus import tone, write_corpus

    root, out = write_corpus(tmp_path / "corpus", 8), tmp_path / "out"
    before = run(out, corpus={"layout": "table", "root": str(root)})
    import soundfile

    soundfile.write(root / "new.wav", tone(99, 1.0), 16_000)
    with (root / "list.tsv").open("a", encoding="utf-8") as file:
        file.write("new\tnew.wav\ta new one\ts1\n")
    after = run(out, corpus={"layout": "table", "root": str(root)})
    assert len(after) == len(before) + 1


def test_the_dataset_does_not_depend_on_where_the_corpus_lies(tmp_path: Path) -> None:
    import shutil

    from tests.small_corpus import fingerprints, write_corpus

    root = write_corpus(tmp_path / "here", 8)
    moved = shutil.copytree(root, tmp_path / "there")
    run(tmp_path / "a", corpus={"layout": "table", "root": str(root)})
    run(tmp_path / "b", corpus={"layout": "table", "root": str(moved)})
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_a_folder_without_sound_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    recipe = parse({**SMALL, "corpus": {"layout": "folder", "root": str(tmp_path / "corpus")}})
    with (
        opened(recipe, str(tmp_path / "out"), Console(quiet=True)) as data,
        pytest.raises(CorpusError, match=r"no sound files in .*; check corpus\.root"),
    ):
        data()


def test_an_empty_list_is_refused_and_makes_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("id\taudio\ttext\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"no row in list\.tsv"):
        run(tmp_path / "out", corpus={"layout": "table", "root": str(tmp_path)})
    assert not (tmp_path / "out" / "dataset.json").exists()
