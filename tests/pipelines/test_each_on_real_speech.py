"""Each speech tokenizer and each recogniser on real speech, with a recipe of its own: killed on the way and resumed, it makes the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from manifests.dataset import Dataset
from manifests.recipe import parse
from pipelines.data import opened
from pipelines.verify.verify import verify
from tests.corpora import corpus as real
from tests.faults.forked import killed
from tests.small_corpus import fingerprints
from tests.tokenization import checkpoints, whispers

QUIET = Console(quiet=True)
SPEECH = ("patches", *checkpoints.CODECS)
RECOGNISERS = ("pocketsphinx", "whisper", "whisper of transformers", "faster-whisper")
PATCHES = {"name": "patches", "codebook_size": 16, "pca": 8, "iterations": 2, "fit_seconds": 10}
POINTS = ("after-receipt", "before-receipt")


def digits(folder: Path, count: int, query: bool = False, text: bool = True) -> Path:
    """So many spoken digits of two speakers, by turns; with ``query``, a spoken order for coffee before each."""
    folder.mkdir(parents=True)
    rows = [line.split("\t") for line in (real("fsdd") / "manifest.tsv").read_text(encoding="utf-8").splitlines()]
    place, words, speaker = (rows[0].index(name) for name in ("path", "transcript", "speaker"))
    voices = [[row for row in rows[1:] if row[speaker] == name] for name in ("jackson", "theo")]
    asked = sorted((real("voice_queries") / "picovoice_barista").rglob("*.wav")) if query else []
    lines = ["id\taudio\ttext\tspeaker\tlanguage" + "\tquery_audio" * query]
    for i in range(count):
        row = voices[i % 2][i * 3 % len(voices[i % 2])]
        shutil.copy(real("fsdd") / row[place], folder / f"d{i}.wav")
        lines.append(f"d{i}\td{i}.wav\t{row[words] if text else ''}\t{row[speaker]}\ten")
        if query:
            shutil.copy(asked[i], folder / f"q{i}.wav")
            lines[-1] += f"\tq{i}.wav"
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def recipe(root: Path, speech: dict[str, Any], **blocks: Any) -> dict[str, Any]:
    return {
        "name": "digits", "corpus": {"layout": "table", "root": str(root)}, "plan": {"unit_seconds": 0.8}, "speech": speech,
        "clean": {"min_seconds": 0.1}, "text": {"vocab_size": 300}, "mask": None, "run": {"workers": 0}, **blocks,
    }  # fmt: skip


def made(values: dict[str, Any], out: Path) -> Dataset:
    with opened(parse(values), str(out), QUIET) as run:
        run()
    return Dataset.open(str(out))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("each")


@pytest.fixture(scope="module")
def spoken(folder: Path) -> Path:
    return digits(folder / "spoken", 8)


@pytest.mark.parametrize("name", SPEECH)
def test_a_speech_tokenizer_killed_twice_and_resumed_makes_the_same_bytes(
    name: str, spoken: Path, tmp_path: Path
) -> None:
    asked = PATCHES
    if name != "patches":
        settings = checkpoints.save(tmp_path, name)
        asked = {"name": settings.name, **settings.model_dump(mode="json", exclude_defaults=True)}  # type: ignore[attr-defined]
    values = recipe(spoken, asked)
    data, out = made(values, tmp_path / "whole"), tmp_path / "out"
    assert len(data) == 8
    assert len(data.description["tokens"]["shards"]) > 2
    assert data.description["parity"]["mismatched"] == 0
    spec = data.description["speech"]
    codes = np.concatenate([sample.arrays["speech"] for sample in data])
    assert codes.shape[1] == spec["codebooks"]
    assert len(np.unique(codes[:, 0])) > 8
    verdict = verify(str(tmp_path / "whole"), reencode=2)
    assert verdict.ok, [str(fault) for fault in verdict.faults]
    for point in POINTS:  # once after the fit, once within the tokens
        assert killed(values, out, point) == 137
        assert not (out / "dataset.json").exists()
    assert list(out.glob("tokens-*/*.tar")), "the second kill came while tokens were made"
    made(values, out)
    assert fingerprints(out) == fingerprints(tmp_path / "whole")


@pytest.fixture(scope="module")
def wordless(folder: Path) -> Path:
    return digits(folder / "wordless", 5, text=False)


@pytest.fixture(scope="module")
def listeners(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The ``recogniser`` block of a recipe for each that is installed."""
    made: dict[str, dict[str, Any]] = {"pocketsphinx": {"name": "pocketsphinx"}}
    checkpoint = whispers.trained(tmp_path_factory)
    made["whisper"] = {"name": "whisper", "weights": str(checkpoint)}
    place = whispers.as_transformers(checkpoint, folder / "transformers")
    made["whisper of transformers"] = {"name": "whisper", "weights": str(place)}
    return made


@pytest.mark.parametrize("name", RECOGNISERS)
def test_a_recogniser_killed_twice_and_resumed_makes_the_same_bytes(
    name: str, wordless: Path, listeners: dict[str, dict[str, Any]], tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    if name == "faster-whisper":
        pytest.importorskip("faster_whisper")
        place = whispers.converted(whispers.trained(tmp_path_factory), tmp_path / "ct2")
        listeners = {**listeners, name: {"name": name, "weights": str(place)}}
    listen = {"recogniser": listeners[name], "batch_seconds": 60}
    values = recipe(wordless, PATCHES, transcribe=listen, verify_text={"max_repeats": 200, "max_compression_ratio": None,
                    "max_no_speech": None, "min_avg_logprob": None, "max_chars_per_second": None})  # fmt: skip
    data, out = made(values, tmp_path / "whole"), tmp_path / "out"
    ledger = data.description["ledger"]
    assert ledger["pending"] == 0
    assert ledger["written"] + sum(ledger["filtered"].values()) == 5
    assert set(ledger["filtered"]) <= {"heard_nothing", "wrong_language"}
    for sample in data:
        assert sample.meta["heard"]["text"] == sample.meta["text"] != ""
    verdict = verify(str(tmp_path / "whole"), reencode=1)
    assert verdict.ok, [str(fault) for fault in verdict.faults]
    for point in ("between-files", "before-receipt"):
        assert killed(values, out, point) == 137
        assert list(out.glob("transcripts-*"))
        assert not list(out.glob("fit-*")), "it died in this stage"
    made(values, out)
    assert fingerprints(out) == fingerprints(tmp_path / "whole")


def test_features_of_orders_killed_and_resumed_are_the_same_bytes_from_either_form_of_weights(
    listeners: dict[str, dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    root, shards = digits(folder / "asked", 3, query=True), {}
    for name in ("whisper", "whisper of transformers"):
        values, out = recipe(root, PATCHES, features=listeners[name]), tmp_path / name
        data = made(values, out)
        assert [sample.meta["frames"] > 50 for sample in data.side("features")] == [True] * 3
        verdict = verify(str(out), reencode=1)
        assert verdict.ok, [str(fault) for fault in verdict.faults]
        before = fingerprints(out)
        shards[name] = {Path(k).name: v for k, v in before.items() if k.startswith("features-")}
        shutil.rmtree(next(out.glob("features-*")))
        (out / "dataset.json").unlink()
        assert killed(values, out, "before-receipt") == 137
        assert list(out.glob("features-*/*.tar")), "it died in this stage"
        made(values, out)
        assert fingerprints(out) == before
    assert shards["whisper"] == shards["whisper of transformers"]
