"""`speechmill data` with neural codecs: weights decide bytes and their place does not, kills change nothing, codes become sound again."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console

from manifests.dataset import Dataset
from manifests.fingerprint import sha256
from manifests.receipt import receipts
from manifests.recipe import Recipe, parse
from manifests.storage import Store
from pipelines.data import opened
from pipelines.engine.contract import Task
from pipelines.reporting import make_report
from pipelines.say import say_into
from pipelines.subject import Subject
from pipelines.verify.verify import verify
from pipelines.voice.manner import Manner
from tests.faults import command
from tests.pipelines.tiny_run import make_run
from tests.small_corpus import fingerprints, write_corpus
from tests.tokenization import checkpoints
from tokenization.adapter import Codes, TokenizerError, Wave
from tokenization.codecs.neural import NeuralTokenizer

QUIET = Console(quiet=True)
CODECS = {"encodec": (4, 320), "mimi": (4, 1_920), "dac": (3, 320)}  # codebooks, samples of a frame
WRITTEN = 10  # of 12: one file is empty, one silent


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 12)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The ``speech`` block of a recipe for each codec, its weights on disk."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("weights")
    made = {name: checkpoints.save(folder, name).model_dump(mode="json", exclude_defaults=True) for name in CODECS}
    return {name: {"name": name, **block} for name, block in made.items()}


def recipe(corpus: Path, speech: dict[str, Any]) -> Recipe:
    return parse({
        "name": "corpus", "corpus": {"layout": "table", "root": str(corpus)}, "plan": {"unit_seconds": 4},
        "text": {"vocab_size": 300}, "speech": speech, "run": {"workers": 0, "drain_seconds": 10},
    })  # fmt: skip


def made(corpus: Path, speech: dict[str, Any], out: Path) -> Dataset:
    with opened(recipe(corpus, speech), str(out), QUIET) as run:
        run()
    return Dataset.open(str(out))


@pytest.fixture(scope="module")
def finished(corpus: Path, speech: dict, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An undisturbed dataset of each codec."""
    roots = {name: tmp_path_factory.mktemp(name) / "out" for name in CODECS}
    for name, out in roots.items():
        made(corpus, speech[name], out)
    return roots


def sets(speech: dict[str, Any]) -> dict[str, Any]:
    """As ``--set`` values, in place of those of the embedded tokenizer."""
    return {"speech.fit_seconds": None, "speech.codebook_size": None} | {f"speech.{k}": v for k, v in speech.items()}


@pytest.mark.parametrize("name", CODECS)
def test_a_corpus_becomes_a_dataset_that_verifies_and_names_its_weights(
    name: str, finished: dict[str, Path], speech: dict
) -> None:
    data, verdict = Dataset.open(str(finished[name])), verify(str(finished[name]), reencode=4)
    assert verdict.ok, [str(fault) for fault in verdict.faults]
    assert verdict.reencoded == 4
    spec = data.description["speech"]
    weights = Path(speech[name]["weights"]) / "model.safetensors"
    assert spec["checksum"] == data.description["recipe"]["speech"]["checksum"]
    assert spec["checksum"] == sha256(weights.read_bytes())
    assert "weights" not in data.description["recipe"]["speech"]
    assert len(data) == WRITTEN
    codes = np.concatenate([sample.arrays["speech"] for sample in data])
    assert codes.shape[1] == spec["codebooks"] == CODECS[name][0]
    assert len(np.unique(codes[:, 0])) > 20
    assert data.description["parity"]["mismatched"] == 0


def test_a_run_that_is_killed_twice_and_resumed_makes_the_same_bytes(
    corpus: Path, speech: dict, finished: dict[str, Path], tmp_path: Path
) -> None:
    out, asked = tmp_path / "out", {**sets(speech["encodec"]), "run.workers": 0}
    for point in ("after-receipt", "before-receipt"):  # once after the fit, once within the tokens
        code, output = command.run(corpus, out, {"SPEECHMILL_CRASH_AT": f"{point}:{tmp_path / point}"}, **asked)
        assert code == 137, output
        assert not (out / "dataset.json").exists()
    assert list(out.glob("tokens-*/*.tar")), "the second kill came while tokens were made"
    made(corpus, speech["encodec"], out)
    assert fingerprints(out) == fingerprints(finished["encodec"])


def test_a_worker_on_ray_that_dies_changes_nothing(
    corpus: Path, speech: dict, finished: dict[str, Path], tmp_path: Path
) -> None:
    marker = tmp_path / "crashed"
    asked = {**sets(speech["mimi"]), "run.workers": 2}
    code, output = command.run(corpus, tmp_path / "out", {"SPEECHMILL_CRASH_AT": f"between-files:{marker}"}, **asked)
    assert code == 0, output
    assert marker.exists()
    assert fingerprints(tmp_path / "out") == fingerprints(finished["mimi"])


def test_where_the_weights_lie_decides_nothing_and_other_weights_make_another_dataset(
    corpus: Path, speech: dict, finished: dict[str, Path], tmp_path: Path
) -> None:
    moved = shutil.copytree(speech["mimi"]["weights"], tmp_path / "moved")
    out = shutil.copytree(finished["mimi"], tmp_path / "out")
    with opened(recipe(corpus, {**speech["mimi"], "weights": str(moved)}), str(out), QUIET) as run:
        assert run().nothing_to_do
    assert fingerprints(out) == fingerprints(finished["mimi"])
    model = checkpoints.mimi()
    model.encoder.encoder_seanet.layers[0].conv.bias.data.add_(1.0)
    model.save_pretrained(moved)
    again = made(corpus, {**speech["mimi"], "weights": str(moved)}, out)
    before = Dataset.open(str(finished["mimi"])).description
    assert again.description["folders"]["plan"] == before["folders"]["plan"]
    assert again.description["folders"]["tokens"] != before["folders"]["tokens"]


def test_weights_that_are_not_there_are_refused_before_anything_is_done(
    corpus: Path, speech: dict, tmp_path: Path
) -> None:
    asked = recipe(corpus, {**speech["mimi"], "weights": "/no/such/weights"})
    with (
        pytest.raises(TokenizerError, match=r"/no/such/weights is no file or folder"),
        opened(asked, str(tmp_path / "out"), QUIET),
    ):
        pass
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", CODECS)
def test_the_report_and_a_talker_make_sound_of_the_codes(name: str, finished: dict[str, Path], tmp_path: Path) -> None:
    page = Path(make_report(str(finished[name]), QUIET)).read_text(encoding="utf-8")
    assert "resynthesised" in page
    run, tells = make_run(tmp_path / "run", str(finished[name])), Console(file=io.StringIO(), width=200)
    files = {stream: tmp_path / f"{stream}.wav" for stream in (False, True)}
    manner, (codebooks, hop) = Manner(max_seconds=1.0), CODECS[name]
    whole, streamed = (
        say_into(str(run), "this is sentence", manner, str(path), stream, tells) for stream, path in files.items()
    )
    assert whole.codes_FQ.shape[1] == codebooks
    assert np.array_equal(whole.codes_FQ, streamed.codes_FQ)
    assert whole.samples == streamed.samples == len(whole.codes_FQ) * hop
    at_once_T, in_blocks_T = (soundfile.read(path, dtype="int16")[0].astype(int) for path in files.values())
    assert np.ptp(at_once_T) > 100
    assert np.abs(at_once_T - in_blocks_T).max() <= 1, "the same sound, but for rounding"
    assert streamed.first.talker < streamed.times.talker, "sound left before all was decided"
    assert tells.file.getvalue().count("first sound after") == 1  # type: ignore[attr-defined]


# Batches that change codes


class Leaking(NeuralTokenizer):
    """A codec whose batches change the last code of every utterance."""

    def encode(self, waves: list[Wave]) -> list[Codes]:  # pyright: ignore[reportIncompatibleMethodOverride]
        codes = super().encode(waves)
        for codes_FQ in codes if len(waves) > 1 else []:
            codes_FQ[-1, 0] ^= 1
        return codes


def test_a_unit_whose_batches_change_codes_is_encoded_one_by_one_and_says_so(
    finished: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject.open(str(finished["encodec"]))
    monkeypatch.setattr("pipelines.stages.s60_tokenize._drawn", lambda _: True)
    worker = subject.worker()
    honest = worker.tokenizer
    assert isinstance(honest, NeuralTokenizer)
    worker.tokenizer = Leaking(honest.spec, honest.network, honest.device)
    stored = {r.unit: r for r in receipts(Store(subject.store("tokens").root), len(subject.units))}
    for unit in subject.units[:2]:
        did = worker.process(Task(unit), lambda _: None)
        kept = stored[unit.index]
        assert [f.sha256 for f in kept.files] == [sha256(d) for d in did.files.values()]
        assert did.facts["parity"]["rate"] == 0
        assert did.facts["parity"]["one_by_one"] == 1
        assert did.facts["parity"]["batched_mismatched"] > 0
