"""What ``inspect`` tells of one utterance, by id, by key, or drawn."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from manifests.dataset import DatasetError
from pipelines.inspect import Inspection, find, write_audio
from tests.pipelines.finished import make_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("made"))


def test_an_id_and_its_key_find_the_same_utterance(root: str) -> None:
    by_id, by_key = find(root, "sp2/u1"), find(root, "sp2%2Fu1")
    assert by_id.id == by_key.id == "sp2/u1"
    assert by_id.status == "written"
    assert by_id.to_json() == by_key.to_json()


def test_text_tokens_are_read_back_as_the_text(root: str) -> None:
    seen = find(root, "sp2/u1")
    assert seen.texts["text"] == seen.meta["text"] == "speaker 2 says line 1"


def test_the_shard_that_is_named_holds_it(root: str) -> None:
    seen = find(root, "sp2/u1")
    assert f"{seen.key}.json".encode() in Path(root, "tokens-0", str(seen.shard)).read_bytes()


def test_without_a_name_one_is_drawn_always_the_same_for_a_seed(root: str) -> None:
    assert find(root, None).id == find(root, None).id
    assert len({find(root, None, seed).id for seed in range(30)}) > 5


@pytest.mark.parametrize(
    ("name", "status"), [("sp0/silent", "filtered"), ("sp1/broken", "quarantined"), ("sp0%2Fsilent", "filtered")]
)
def test_what_was_not_written_comes_with_its_reason(root: str, name: str, status: str) -> None:
    seen = find(root, name)
    assert seen.status == status
    assert seen.outcome is not None
    assert seen.outcome.reason
    assert write_audio(seen, "unused") == []


def test_an_unknown_id_comes_with_the_nearest_ones(root: str) -> None:
    seen = find(root, "sp2/u9")
    assert (seen.status, seen.codes) == ("unknown", {})
    assert any(near.startswith("sp2/u") for near in seen.nearest)


def test_an_unfinished_root_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        find(str(tmp_path), "x")


def test_it_is_json(root: str) -> None:
    value = json.loads(json.dumps(find(root, "sp2/u1").to_json()))
    assert len(value["codes"]["speech"]) == value["meta"]["frames"]


def test_the_table_of_codes_holds_each_code_in_order() -> None:
    codes_FQ = np.arange(50, dtype=np.uint16).reshape(25, 2)
    lines = Inspection("", "a", "a", "written", codes={"speech": codes_FQ}).table(width=10)
    assert sum(len(line.split(":", 1)[1].split()) - 1 for line in lines) == 50


def test_its_sound_is_written_from_codes_and_from_the_original(root: str, tmp_path: Path) -> None:
    files = write_audio(find(root, "sp2/u1"), tmp_path / "new")
    assert [f.name for f in files] == ["sp2%2Fu1.speech-from-codes.wav", "sp2%2Fu1.speech-original.wav"]
    for path in files:
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
            assert file.getnframes() / 16_000 == pytest.approx(1.0, abs=0.05)
            assert np.frombuffer(file.readframes(-1), "<i2").std() > 100


def test_without_the_corpus_the_codes_can_still_be_heard(root: str, tmp_path: Path) -> None:
    alone = shutil.copytree(root, tmp_path / "out")
    (alone / "run.json").unlink()
    files = write_audio(find(str(alone), "sp2/u1"), tmp_path / "new")
    assert [f.name for f in files] == ["sp2%2Fu1.speech-from-codes.wav"]
