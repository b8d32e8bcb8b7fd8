"""An export to CosyVoice, read the way its loader reads: a list of parquet files, batches of 64 rows, each row a dict."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from manifests.fingerprint import content_hash
from tests.pipelines.exported import IDS, contents, exported, make_dialogues, samples
from tests.pipelines.finished import make_dataset

FOLDERS = {"train": "train", "dev": "dev", "held_out_1": "held.out-1"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dialogues(tmp_path_factory.mktemp("dialogues"))


@pytest.fixture(scope="module")
def dest(root: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(root, "cosyvoice", tmp_path_factory.mktemp("cosyvoice") / "export")


def lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text("utf-8").splitlines()]


def rows(dest: Path, words: dict[str, str] = FOLDERS) -> Iterator[tuple[str, dict[str, Any]]]:
    """(split, row) of every row, through the lists."""
    for word, split in words.items():
        for name in lines(dest / word / "data.list"):
            for batch in pq.ParquetFile(name).iter_batches(batch_size=64):
                frame = batch.to_pandas()
                yield from ((split, dict(frame.loc[i])) for i in range(len(frame)))


def test_every_utterance_comes_back_with_its_text_tokens_and_sound(root: str, dest: Path) -> None:
    wanted, seen = samples(root), []
    for split, row in rows(dest):
        sample = wanted[row["utt"]]
        seen.append(row["utt"])
        meta, query = sample.meta, sample.meta.get("query")
        assert (split, row["text"], row["spk"]) == (meta["split"], meta["text"], meta["speaker"])
        token_T = torch.tensor(row["speech_token"])
        assert token_T.dtype == torch.int64
        assert np.array_equal(token_T.numpy(), sample.arrays["speech"][:, 0])
        pcm_T, rate = soundfile.read(io.BytesIO(row["audio_data"]), dtype="int16")
        assert (rate, content_hash(pcm_T.tobytes())) == (16_000, meta["audio"]["pcm_hash"])
        if query is None:
            assert pandas.isna(row["query_text"])
            assert row["query_speech_token"] is None
        else:
            assert row["query_text"] == query["text"]
            assert np.array_equal(row["query_speech_token"], sample.arrays["query"][:, 0])
    assert sorted(seen) == sorted(IDS)


def test_the_lists_of_utterances_and_speakers_lead_to_the_files_that_hold_them(dest: Path) -> None:
    for word in FOLDERS:
        files = {
            name: {row["utt"]: row["spk"] for row in pq.read_table(name).to_pylist()}
            for name in lines(dest / word / "data.list")
        }
        for listing, wanted in (("utt2data.list", dict.keys), ("spk2data.list", dict.values)):
            led: dict[str, str] = {}
            for name in lines(dest / word / listing):
                led.update(json.loads(Path(name).read_text("utf-8")))
            assert led
            assert all(thing in wanted(files[name]) for thing, name in led.items())
            assert set(led) == {thing for rows_of in files.values() for thing in wanted(rows_of)}


def test_lists_name_the_place_they_are_told(root: str, tmp_path: Path) -> None:
    to = exported(root, "cosyvoice", tmp_path / "to", sound=False, place="/mnt/elsewhere/x")
    assert all(name.startswith("/mnt/elsewhere/x/train/parquet_0") for name in lines(to / "train" / "data.list"))
    again = exported(root, "cosyvoice", tmp_path / "again", sound=False, place="/mnt/elsewhere/x")
    assert contents(to) == contents(again), "where an export lies enters nothing but its lists"


def test_without_sound_the_column_is_not_there(root: str, tmp_path: Path) -> None:
    found = list(rows(exported(root, "cosyvoice", tmp_path / "to", sound=False)))
    assert len(found) == len(IDS)
    assert not any("audio_data" in row for _, row in found)


def test_a_corpus_without_speakers_or_queries_is_exported_too(tmp_path: Path) -> None:
    found = list(rows(exported(make_dataset(tmp_path), "cosyvoice", tmp_path / "to"), {"train": "train", "dev": "dev"}))
    assert len(found) == 16
    assert all(row["query_speech_token"] is None for _, row in found)
