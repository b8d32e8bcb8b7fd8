"""What the Hugging Face library finds in an export is what the dataset holds, to the last code and sample."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from datasets.exceptions import NonMatchingSplitsSizesError

from manifests.dataset import Dataset
from manifests.fingerprint import content_hash
from tests.pipelines.exported import IDS, exported, heard, make_dialogues, samples
from tests.pipelines.finished import make_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dialogues(tmp_path_factory.mktemp("dialogues"), codebooks=2)


@pytest.fixture(scope="module")
def dest(root: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(root, "hf", tmp_path_factory.mktemp("hf") / "export")


def loaded(dest: Path, cache: Path) -> datasets.DatasetDict:
    found = datasets.load_dataset(str(dest), cache_dir=str(cache))
    assert isinstance(found, datasets.DatasetDict)
    return found


def rows(found: datasets.DatasetDict) -> Iterator[tuple[str, dict[str, Any]]]:
    """(split, row) of every row, sounds undecoded."""
    for split, part in found.items():
        for name in {"audio", "query_audio"} & set(part.column_names):
            part = part.cast_column(name, datasets.Audio(decode=False))
        yield from ((str(split), row) for row in part)  # type: ignore[misc]


def test_every_utterance_comes_back_with_its_texts_codes_and_sounds(root: str, dest: Path, tmp_path: Path) -> None:
    wanted, seen = samples(root), set()
    for split, row in rows(loaded(dest, tmp_path)):
        sample = wanted[row["id"]]
        seen.add(row["id"])
        meta, query = sample.meta, sample.meta.get("query") or {}
        assert split == meta["split"].replace(".", "_").replace("-", "_")
        assert {k: row[k] for k in ("text", "speaker", "language", "corpus", "recording", "start", "duration")} == {
            k: meta[k] for k in ("text", "speaker", "language", "corpus", "recording", "start", "duration")
        }
        assert {k: row[f"query_{k}"] for k in ("text", "speaker")} == {k: query.get(k) for k in ("text", "speaker")}
        for column, array in (
            ("speech", "speech"),
            ("text_ids", "text"),
            ("query_speech", "query"),
            ("query_text_ids", "query_text"),
        ):
            stored = sample.arrays.get(array)
            assert row[column] == (None if stored is None else stored.tolist())
        for column, facts in (("audio", meta["audio"]), ("query_audio", query.get("audio"))):
            if facts is None:
                assert row[column] is None
                continue
            pcm_T, rate = heard(row[column]["bytes"])
            assert (rate, content_hash(pcm_T.tobytes())) == (16_000, facts["pcm_hash"])
    assert seen == set(wanted) == set(IDS)


def test_codes_are_frames_by_codebooks_and_features_say_what_is_what(dest: Path, tmp_path: Path) -> None:
    part = loaded(dest, tmp_path)["train"]
    assert part.features["audio"] == datasets.Audio(sampling_rate=16_000)
    assert part.features["speech"] == datasets.List(datasets.List(datasets.Value("uint16")))
    assert {len(frame) for frame in part.select_columns("speech")[0]["speech"]} == {2}


def test_without_sound_there_are_no_columns_for_it(root: str, tmp_path: Path) -> None:
    found = loaded(exported(root, "hf", tmp_path / "to", sound=False), tmp_path)
    assert {"audio", "query_audio"}.isdisjoint(found["train"].column_names)
    assert sum(len(part) for part in found.values()) == len(IDS)


def test_a_corpus_without_queries_has_empty_query_columns(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    found = loaded(exported(root, "hf", tmp_path / "to"), tmp_path)
    assert all(row["query_text"] is row["query_audio"] is row["query_speech"] is None for _, row in rows(found))
    assert {row["id"] for _, row in rows(found)} == set(samples(root))


def test_a_lost_file_is_found_by_the_library_itself(root: str, tmp_path: Path) -> None:
    to = exported(root, "hf", tmp_path / "to", sound=False)
    next((to / "data").glob("train-*.parquet")).unlink()
    with pytest.raises(NonMatchingSplitsSizesError):
        loaded(to, tmp_path)


def test_the_card_counts_what_is_there_and_names_tokenizer_and_recipe(root: str, dest: Path) -> None:
    _, head, page = (dest / "README.md").read_text("utf-8").split("---\n", 2)
    header, data = yaml.safe_load(head), Dataset.open(root)
    counts = {s["name"]: s["num_examples"] for s in header["dataset_info"]["splits"]}
    assert counts == {"train": 6, "dev": 5, "held_out_1": 5}
    assert header["license"] == "other"
    assert "patches" in page
    assert data.description["speech"]["checksum"] in page
    assert json.loads((dest / "export.json").read_bytes())["recipe"] in page
    hours = data.description["splits"]["train"]["seconds"] / 3600
    assert f"| train | 6 | {hours:.3f} |" in page
