"""An export to VocalNet, read the way its training loader reads: JSON as a whole, paths from one folder, an unpickled dict a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lhotse import CutSet

from manifests.corpora.safe_npy import read_units
from manifests.corpora.vocalnet import VocalNet
from manifests.dataset import Dataset
from manifests.fingerprint import content_hash
from manifests.recipe import parse
from manifests.storage import Store
from pipelines.engine.contract import RunFailed
from pipelines.export.errors import ExportError
from pipelines.export.registry import FORMATS
from pipelines.export.vocalnet import token_file
from tests.pipelines.exported import exported, heard, make_dialogues, samples
from tests.pipelines.finished import do_units, finish, make_dataset, make_until_tokens

LISTS = {"train": "train", "dev": "dev", "held_out_1": "held.out-1"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dialogues(tmp_path_factory.mktemp("dialogues"), unasked=0)


@pytest.fixture(scope="module")
def dest(root: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(root, "vocalnet", tmp_path_factory.mktemp("vocalnet") / "export")


def entries(dest: Path) -> dict[str, dict[str, Any]]:
    """Every dialogue by id, each with its split; ``speech_folder`` is ``dest``."""
    found = [
        {**entry, "split": s}
        for word, s in LISTS.items()
        for entry in json.loads((dest / f"{word}.json").read_text("utf-8"))
    ]
    assert len({entry["id"] for entry in found}) == len(found)
    return {entry["id"]: entry for entry in found}


def unpickled(path: Path) -> np.ndarray:
    """The targets, as the loader makes them: plainly refused first, then a dict of a 1 x T array and its length."""
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(path)
    value = np.load(path, allow_pickle=True).item()
    assert value["speech_token"].shape == (1, int(value["speech_token_len"][0]))
    assert value["speech_token"].dtype == np.int32
    return value["speech_token"].squeeze(0)


def test_every_dialogue_comes_back_with_its_question_answer_and_tokens(root: str, dest: Path) -> None:
    wanted, found = samples(root), entries(dest)
    assert set(found) == set(wanted)
    for name, sample in wanted.items():
        entry, meta = found[name], sample.meta
        assert entry["split"] == meta["split"]
        human, gpt = entry["conversations"]
        assert (human, gpt) == ({"from": "human", "value": "<speech>"}, {"from": "gpt", "value": meta["text"]})
        assert np.array_equal(unpickled(dest / entry["units"]), sample.arrays["speech"][:, 0])
        pcm_T, rate = heard((dest / entry["speech"]).read_bytes())
        assert (rate, content_hash(pcm_T.tobytes())) == (16_000, meta["query"]["audio"]["pcm_hash"])


def test_nothing_lies_there_that_no_list_names(dest: Path) -> None:
    named = {entry[part] for entry in entries(dest).values() for part in ("speech", "units")}
    lying = {
        str(path.relative_to(dest))
        for folder in ("audios", "cosyvoice2_tokens")
        for path in (dest / folder).rglob("*.*")
    }
    assert lying == named


def test_the_projects_own_layout_reads_it_again_without_unpickling(root: str, dest: Path) -> None:
    layout = VocalNet(layout="vocalnet", root=str(dest), list="train.json", audio="", units="")
    read, wanted = list(layout.utterances(Store(str(dest)))), samples(root)
    assert len(read) == 6
    for u in read:
        assert u.fault is None
        assert u.units is not None
        assert u.text == wanted[u.id].meta["text"]
        assert np.array_equal(read_units((dest / u.units.path).read_bytes()), wanted[u.id].arrays["speech"][:, 0])


def test_a_dataset_made_of_an_export_holds_the_same_tokens_and_is_exported_like_any_other(
    root: str, dest: Path, tmp_path: Path
) -> None:
    recipe = parse({
        "name": "again", "speech": {"name": "given", "vocab_size": 16}, "text": {"vocab_size": 270},
        "corpus": {"layout": "vocalnet", "root": str(dest), "list": "train.json", "audio": "", "units": ""},
        "mask": {"block": 8, "sets": {"plain": {"views": 1, "mix": [{"noise": "bernoulli"}]}}},
    })  # fmt: skip
    again, before = str(tmp_path / "out"), samples(root)
    job = make_until_tokens(again, recipe)
    do_units(job)
    finish(again, job)
    after = samples(again)
    assert len(after) == 6
    assert all(np.array_equal(after[name].arrays["speech"], before[name].arrays["speech"]) for name in after)
    for kind in FORMATS:
        exported(again, kind, tmp_path / kind, sound=True)
    split = next(s for s, n in Dataset.open(again).description["splits"].items() if n["utterances"])
    cut = next(iter(CutSet.from_shar(in_dir=tmp_path / "shar" / split)))
    assert not cut.has_recording, "the answer came as tokens, without a sound"
    assert cut.load_query_recording().shape[1] > 0


def test_without_sound_questions_are_text(root: str, tmp_path: Path) -> None:
    found = entries(exported(root, "vocalnet", tmp_path / "to", sound=False))
    for name, sample in samples(root).items():
        assert "speech" not in found[name]
        assert found[name]["conversations"][0]["value"] == sample.meta["query"]["text"]


def test_a_corpus_without_queries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"no query to answer.*export to hf, shar or cosyvoice"):
        exported(make_dataset(tmp_path), "vocalnet", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_several_codes_a_frame_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    root = make_dialogues(tmp_path, codebooks=2)
    for kind in ("vocalnet", "cosyvoice"):
        with pytest.raises(ExportError, match=r"one code a frame, and patches gives 2; export to hf or shar"):
            exported(root, kind, tmp_path / "to")
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "out"}


def test_equal_tokens_give_equal_bytes() -> None:
    units_T = np.arange(70, dtype=np.uint16)
    assert token_file(units_T) == token_file(units_T.copy())
