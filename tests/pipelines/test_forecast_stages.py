"""What a recipe may ask for is foretold like the rest: recordings that are cut up, copies by ear, transcripts, features of queries."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

from manifests.dataset import Dataset
from manifests.receipt import read_receipt, write_receipt
from manifests.recipe import Recipe, parse
from manifests.storage import Store
from pipelines.forecast.answer import Answer
from pipelines.forecast.cluster_file import alike
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.predict import Spent
from pipelines.status import status
from tests.long_recordings import recording
from tests.pipelines.test_forecast import files, foretold, made
from tests.small_corpus import RATE, tone
from tests.tokenization import whispers

RECORDINGS, TURNS, TEXTED = 6, 5, 4
STAGES = [
    "ingest", "segments", "plan", "copies", "transcripts", "fit", "tokens", "features", "masks", "dataset",
]  # fmt: skip
OF_UNITS = ("segments", "copies", "transcripts", "tokens", "features", "masks")


def write_corpus(folder: Path) -> Path:
    """Recordings of 17 s without texts, turns of dialogues with queries, short sentences with texts, one of them at another level once more."""
    folder.mkdir()
    lines = ["id\taudio\ttext\tspeaker\tquery_audio"]
    for i in range(RECORDINGS):
        soundfile.write(folder / f"r{i}.flac", recording(i), RATE, subtype="PCM_16")
        lines.append(f"r{i}\tr{i}.flac\t\ts{i % 3}\t")
    for i in range(TURNS):
        soundfile.write(folder / f"d{i}.wav", tone(40 + i, 2.5), RATE, subtype="PCM_16")
        soundfile.write(folder / f"q{i}.wav", tone(60 + i, 1.2), RATE, subtype="PCM_16")
        lines.append(f"d{i}\td{i}.wav\t\ts{i % 3}\tq{i}.wav")
    soundfile.write(folder / "d0-again.wav", 0.4 * tone(40, 2.5), RATE, subtype="PCM_16")
    lines.append("again\td0-again.wav\t\ts0\t")
    for i in range(TEXTED):
        soundfile.write(folder / f"t{i}.wav", tone(80 + i, 0.5), RATE, subtype="PCM_16")
        lines.append(f"t{i}\tt{i}.wav\tnobody says this {i}\ts{i % 3}\t")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def asked(corpus: Path, weights: Path, **more: Any) -> Recipe:
    return parse({
        "corpus": {"layout": "table", "root": str(corpus)}, "plan": {"unit_seconds": 8}, "text": {"vocab_size": 270},
        "segment": {"max_seconds": 4.0, "unit_seconds": 24}, "copies": {}, "transcribe": {"use": "compare"}, "verify_text": {},
        "features": {"weights": str(weights)}, "speech": {"codebook_size": 16, "fit_seconds": 10, "iterations": 2, "pca": 8},
        "run": {"workers": 0}, **more,
    })  # fmt: skip


def rows(answer: Answer) -> dict[str, Spent]:
    return {spent.stage: spent for spent in answer.forecast.stages}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whispers.untrained(tmp_path_factory.mktemp("whisper") / "tiny.pt")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("asked") / "corpus")


@pytest.fixture(scope="module")
def run(corpus: Path, weights: Path) -> tuple[Path, Answer, set[str]]:
    """(an output that was foretold by all of its units, then made; the forecast; what lay there between the two)."""
    out = corpus.parent / "out"
    answer = foretold(asked(corpus, weights), out, minutes=30.0)
    between = files(out)
    made(asked(corpus, weights), out)
    return out, answer, between


def test_stages_stand_in_the_order_of_the_pipeline_and_nothing_is_cut_up_for_it(
    run: tuple[Path, Answer, set[str]],
) -> None:
    out, answer, between = run
    assert list(rows(answer)) == STAGES
    assert between == {".lock", "events.jsonl", "cuts", "segments", "forecast.json"}
    assert answer.before == ("ingest",)
    assert all(len(rows(answer)[stage].measured.pieces) > 1 for stage in OF_UNITS)
    assert status(str(out)).finished


def test_bytes_of_every_stage_are_those_of_the_run(run: tuple[Path, Answer, set[str]]) -> None:
    found = status(str(run[0])).forecast
    assert found is not None
    assert found.notes == ()
    by_stage = {row.stage: row for row in found.rows}
    assert set(by_stage) == {*STAGES, "whole"} - {"ingest"}
    for stage in OF_UNITS:
        weight = by_stage[stage].bytes
        assert weight is not None
        assert weight.ratio == pytest.approx(1.0, rel=0.05), stage
    out, spent = run[0], rows(run[1])
    kept = sum(p.stat().st_size for p in next(out.glob("segments-*")).rglob("*") if p.is_file())
    assert spent["segments"].bytes == pytest.approx(kept, rel=0.1)
    copies = sum(p.stat().st_size for p in next(out.glob("copies-*")).rglob("*") if p.is_file())
    assert spent["copies"].bytes == pytest.approx(copies, rel=0.1)


def test_hours_are_what_cuts_rules_and_copies_leave_of_them(run: tuple[Path, Answer, set[str]]) -> None:
    out, answer, _ = run
    about, spent = Dataset.open(str(out)).description, rows(answer)
    assert spent["segments"].hours == pytest.approx(about["cuts"]["seconds"] / 3600)
    for stage in ("plan", "copies", "transcripts", "tokens"):
        assert spent[stage].hours == pytest.approx(about["segments"]["seconds"] / 3600)
    left = spent["tokens"].measured.left
    assert left is not None
    written = sum(split["seconds"] for split in about["splits"].values())
    assert left.share * spent["tokens"].hours == pytest.approx(written / 3600, rel=0.01)
    ledger = about["ledger"]
    aside = {reason: count / ledger["planned"] for reason, count in ledger["filtered"].items()}
    assert left.aside == pytest.approx(aside)
    assert set(aside) >= {"text_mismatch", "near_duplicate_audio"}, "the corpus has both"
    copies = spent["copies"].measured.left
    assert copies is not None
    assert copies.aside == pytest.approx({"near_duplicate_audio": aside["near_duplicate_audio"]})


def test_some_units_are_enough_to_tell_what_recordings_become(
    run: tuple[Path, Answer, set[str]], weights: Path, tmp_path: Path
) -> None:
    plain = {"copies": None, "transcribe": None, "verify_text": None, "features": None, "mask": None}
    seen = foretold(asked(run[0].parent / "corpus", weights, **plain), tmp_path, hours=1000.0)
    whole = run[1].own.amount
    assert seen.forecast.amount.recordings is not None
    assert seen.forecast.amount.recordings.hours == pytest.approx(1000.0)
    share = whole.seconds / whole.listed.seconds
    assert seen.forecast.amount.hours == pytest.approx(1000.0 * share, rel=0.25)
    assert len(rows(seen)["segments"].measured.pieces) < len(rows(run[1])["segments"].measured.pieces)
    assert files(tmp_path) == {".lock", "events.jsonl", "cuts", "segments", "forecast.json"}


def test_receipts_stand_in_for_all_of_them_here_and_elsewhere(
    run: tuple[Path, Answer, set[str]], weights: Path, tmp_path: Path
) -> None:
    recipe = asked(run[0].parent / "corpus", weights)
    again = shutil.copytree(run[0], tmp_path / "again")
    for out, before in ((tmp_path / "new", ("ingest",)), (again, ("ingest", "segments", "plan"))):
        seen = foretold(recipe, out, source=str(run[0]))
        assert seen.before == before
        spent = rows(seen)
        assert {s: spent[s].measured.source for s in OF_UNITS} == dict.fromkeys(OF_UNITS, "receipts")
        for stage in STAGES:
            assert spent[stage].hours == pytest.approx(rows(run[1])[stage].hours), stage
            assert spent[stage].bytes == pytest.approx(rows(run[1])[stage].bytes, rel=0.1), stage
        assert not any("differ" in note for note in seen.notes), "a checksum that is found out is no difference"
    other = foretold(
        asked(run[0].parent / "corpus", weights, copies={"overlap": 0.9}), tmp_path / "other", source=str(run[0])
    )
    assert "copies differ" in other.notes[0]
    found = status(str(again)).forecast
    assert found is not None
    assert found.rows == ()
    assert "segments was begun before the forecast was made" not in found.notes, (
        "it was done before, and is not foretold"
    )


def test_without_the_stage_in_those_receipts_it_is_named(
    run: tuple[Path, Answer, set[str]], weights: Path, tmp_path: Path
) -> None:
    for stage in ("segments", "copies", "transcripts", "features"):
        source = shutil.copytree(run[0], tmp_path / stage)
        shutil.rmtree(next(source.glob(f"{stage}-*")))
        (source / "dataset.json").unlink()
        helps = f"--rate {stage}=HOURS" if stage != "segments" else "name an output whose recipe cuts up"
        with pytest.raises(ForecastError, match=f"no receipts of {stage} there.*{helps}"):
            foretold(asked(run[0].parent / "corpus", weights), tmp_path / f"{stage}-out", source=str(source))


RATES = ("copies=100", "transcripts=5", "tokens=20", "features=50", "masks=400")


def test_rates_are_of_the_audio_that_reaches_a_stage_and_gpu_hours_are_those_of_its_workers(
    run: tuple[Path, Answer, set[str]], weights: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(run[0], tmp_path / "out")  # its recordings are cut up: nobody has to be started
    stages = {"features": {"gpus": 1, "workers": 2}, "transcripts": {"gpus": 0.5, "workers": 1}}
    recipe = asked(run[0].parent / "corpus", weights, run={"workers": 3, "stages": stages})
    seen = foretold(recipe, out, source=str(out), rates=RATES, hours=1000.0, cluster=alike(1, 8, 2))
    spent, real = rows(seen), rows(run[1])
    hours = seen.forecast.amount.hours
    texted = TEXTED * 0.5 / (run[1].own.amount.hours * 3600)
    assert spent["copies"].worker_hours == pytest.approx(hours / 100)
    assert spent["transcripts"].worker_hours == pytest.approx(hours * texted / 5, rel=0.01)
    assert spent["tokens"].worker_hours == pytest.approx(hours / 20)
    assert {s.stage for s in seen.forecast.stages if s.gpu_hours} == {"features", "transcripts"}
    assert spent["features"].gpu_hours == pytest.approx(2 * spent["features"].seconds / 3600)
    assert spent["transcripts"].gpu_hours == pytest.approx(0.5 * spent["transcripts"].seconds / 3600)
    assert real["features"].gpu_hours == 0


def test_features_at_a_rate_weigh_what_their_width_says_and_nobody_listens_for_a_given_rate(
    run: tuple[Path, Answer, set[str]], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenization.recognisers.pocketsphinx import PocketsphinxRecogniser

    monkeypatch.setattr(PocketsphinxRecogniser, "recognise", lambda *_: pytest.fail("nobody is to listen"))
    out = shutil.copytree(run[0], tmp_path / "out")
    rates = ("transcripts=5", "features=50")
    seen = foretold(asked(run[0].parent / "corpus", weights), out, rates=rates, minutes=30.0)
    written, spent = Dataset.open(str(run[0])).description["splits"].values(), rows(seen)
    queries = sum(split["query_seconds"] for split in written)
    assert queries > 1.2
    assert spent["features"].bytes == pytest.approx(queries * 50 * whispers.WIDTH * 2, rel=0.05)
    assert spent["features"].worker_hours == pytest.approx(queries / 3600 / 50, rel=0.05)
    assert any(note.startswith("transcripts: nobody listened here") for note in seen.notes)
    assert spent["segments"].measured.source == "receipts"
    assert "masks" in {s for s in spent if spent[s].measured.source == "probe"}


def test_gpus_and_weights_that_are_not_here_are_not_made_up(
    run: tuple[Path, Answer, set[str]], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    corpus, heard = run[0].parent / "corpus", {"name": "whisper", "weights": str(weights), "device": "cuda"}
    recipe = asked(corpus, weights, transcribe={"recogniser": heard}, verify_text=None)
    with pytest.raises(ForecastError, match=r"transcripts: its workers ask for a GPU.*--rate transcripts=HOURS"):
        foretold(recipe, tmp_path / "out")
    nowhere = {"name": "whisper", "weights": str(tmp_path / "nowhere.pt")}
    recipe = asked(corpus, weights, transcribe={"recogniser": nowhere}, features={"weights": nowhere["weights"]})
    with pytest.raises(ForecastError, match=r"nowhere.*--rate transcripts=HOURS") as refusal:
        foretold(recipe, tmp_path / "out")
    assert "\n" not in str(refusal.value)
    with pytest.raises(ForecastError, match=r"nowhere.*--rate features=HOURS"):
        foretold(recipe, tmp_path / "out", rates=("transcripts=5",))
    assert not (tmp_path / "out").exists()
    out = shutil.copytree(run[0], tmp_path / "copy")
    seen = foretold(recipe, out, rates=("transcripts=5", "features=50"))
    assert rows(seen)["transcripts"].worker_hours > 0
    assert any(note.startswith("features: given") and "what it stores is not known" in note for note in seen.notes)


def test_a_changed_corpus_of_recordings_is_not_compared(run: tuple[Path, Answer, set[str]], tmp_path: Path) -> None:
    out = Path(shutil.copytree(run[0], tmp_path / "out"))
    text = (out / "forecast.json").read_text().replace(f'"count": {RECORDINGS + TURNS + TEXTED + 1}', '"count": 7')
    (out / "forecast.json").write_text(text)
    found = status(str(out)).forecast
    assert found is not None
    assert found.notes == ("the forecast is of 7 recordings, there are 16 now",)
    assert found.rows == ()


def test_a_busier_machine_foretells_the_same(run: tuple[Path, Answer, set[str]], weights: Path, tmp_path: Path) -> None:
    """Receipts of a run whose workers waited an hour for a core, unit by unit, say what those say that did not."""
    recipe, busy = asked(run[0].parent / "corpus", weights), Path(shutil.copytree(run[0], tmp_path / "busy"))
    for folder in busy.glob("*-*/receipts"):
        store = Store(str(folder.parent))
        for path in sorted(folder.glob("unit-*.json")):
            receipt = read_receipt(store, int(path.stem[5:]))
            assert receipt is not None
            how = {**receipt.made, "seconds": receipt.made["seconds"] + 3600.0}
            how["waited_seconds"] = receipt.made.get("waited_seconds", 0.0) + 3600.0
            object.__setattr__(receipt, "made", how)
            write_receipt(store, receipt)
    calm = foretold(recipe, tmp_path / "one", source=str(run[0]))
    seen = foretold(recipe, tmp_path / "two", source=str(busy))
    for stage in (*OF_UNITS, "fit"):
        assert rows(seen)[stage].worker_hours == pytest.approx(rows(calm)[stage].worker_hours), stage
    assert any("the machine was busy with other things" in note for note in seen.notes)
    waited = rows(seen)["tokens"].measured.waited
    assert waited is not None
    assert waited > 0.9
