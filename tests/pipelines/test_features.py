"""Features of queries: those of Whisper's own encoder, beside the tokens, byte for byte the same whoever makes them and whenever."""

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

from manifests.dataset import Dataset, DatasetError
from manifests.recipe import Recipe, parse
from manifests.settings.features import FeaturesSettings
from pipelines.data import opened
from pipelines.query_features import query_features
from pipelines.repair.repair import repair
from pipelines.stages.s65_features import bytes_an_hour
from pipelines.status import quarantine, status
from pipelines.summary import featured
from pipelines.verify.verify import verify
from tests.faults import command
from tests.small_corpus import RATE, fingerprints, tone
from tests.tokenization import whispers

QUIET = Console(quiet=True)
SECONDS = {"short": 0.9, "more": 1.37, "long": 33.0}  # of the queries; the last is longer than a window
whisper = pytest.importorskip("whisper")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whispers.untrained(tmp_path_factory.mktemp("whisper") / "tiny.pt")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers with a query each; one has none, that of one is silent."""
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    folder.mkdir()
    lines = ["id\taudio\ttext\tspeaker\tquery_audio"]
    for i, name in enumerate([*SECONDS, "alone", "silent"]):
        soundfile.write(folder / f"{name}.wav", tone(i, 1.0), RATE, subtype="PCM_16")
        query = np.zeros(RATE, np.float32) if name == "silent" else tone(10 + i, SECONDS.get(name, 1.0))
        soundfile.write(folder / f"{name}-query.wav", query, RATE, subtype="PCM_16")
        lines.append(f"{name}\t{name}.wav\tanswer {i}\ts{i}\t{'' if name == 'alone' else f'{name}-query.wav'}")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def recipe(corpus: Path, **blocks: Any) -> Recipe:
    return parse({
        "name": "corpus", "corpus": {"layout": "table", "root": str(corpus)}, "plan": {"unit_seconds": 2}, "mask": None,
        "speech": {"codebook_size": 16, "fit_seconds": 10, "pca": 8, "iterations": 2}, "text": {"vocab_size": 300},
        "run": {"workers": 0}, **blocks,
    })  # fmt: skip


def asked(weights: Path) -> dict[str, str]:
    return {"name": "whisper", "weights": str(weights)}


@pytest.fixture(scope="module")
def finished(corpus: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "out"
    with opened(recipe(corpus, features=asked(weights)), str(out), QUIET) as run:
        run()
    return out


def test_every_query_has_fifty_frames_a_second_beside_its_tokens(finished: Path) -> None:
    data = Dataset.open(str(finished))
    side = data.side("features")
    assert [sample.key for sample in side] == [sample.key for sample in data]
    held = {sample.key: sample for sample in side}
    assert set(held) == {*SECONDS, "alone"}
    assert {o.id: o.reason for o in quarantine(str(finished))} == {"silent": "query_silent"}
    assert held["alone"].meta == {"id": "alone", "frames": 0}
    assert not held["alone"].arrays
    for name in SECONDS:
        features_FD, seconds = held[name].arrays["features"], data.find(name).meta["query"]["duration"]  # pyright: ignore[reportOptionalMemberAccess]
        assert features_FD.dtype == np.float16
        assert features_FD.shape[1] == whispers.WIDTH
        assert seconds * 50 <= len(features_FD) < seconds * 50 + 2
        assert held[name].meta["frames"] == len(features_FD)
        assert np.ptp(features_FD.astype(np.float32), axis=0).mean() > 0.01, "frames differ"


def test_they_are_the_encoders_own_states(finished: Path, corpus: Path, weights: Path) -> None:
    from manifests.storage import Store
    from pipelines.stages.s30_plan import unit_cuts
    from pipelines.subject import Subject

    subject, model = Subject.open(str(finished)), whisper.load_model(str(weights), device="cpu")
    side = {sample.key: sample for sample in Dataset.open(str(finished)).side("features")}
    cuts = {cut["id"]: cut for u in subject.units for cut in unit_cuts(Store(subject.store("plan").root), u.index)}
    heard: Any = subject.worker().ear.hear(cuts["more"])
    mel_ML = whisper.log_mel_spectrogram(whisper.pad_or_trim(torch.from_numpy(heard.query.wave_T)))
    with torch.inference_mode():
        states_FD = model.encoder(mel_ML[None])[0]
    features_FD = side["more"].arrays["features"].astype(np.float32)
    assert np.allclose(features_FD, states_FD[: len(features_FD)].numpy(), atol=5e-3)


def test_made_on_the_fly_they_are_the_same_bytes_with_or_without_side_shards(
    finished: Path, corpus: Path, weights: Path, tmp_path: Path
) -> None:
    with opened(recipe(corpus), str(tmp_path / "out"), QUIET) as run:
        run()
    stored = {sample.key: sample.arrays.get("features") for sample in Dataset.open(str(finished)).side("features")}
    for root, settings in ((finished, None), (tmp_path / "out", FeaturesSettings(weights=str(weights)))):
        made = dict(query_features(str(root), settings))
        assert list(made) == list(stored)
        for key, features_FD in made.items():
            kept = stored[key]
            assert (features_FD is None) == (kept is None)
            assert features_FD is None or (kept is not None and features_FD.tobytes() == kept.tobytes())
    with pytest.raises(DatasetError, match="has no features"):
        Dataset.open(str(tmp_path / "out")).side("features")


def test_it_verifies_and_other_features_do_not(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = verify(str(finished), reencode=2)
    assert verdict.ok, [str(fault) for fault in verdict.faults]
    assert not verdict.notes
    from pipelines.stages.s65_features import Encoder

    monkeypatch.setattr(Encoder, "features", lambda self, wave_T: np.zeros((1, whispers.WIDTH), np.float16))
    assert any(
        "made again from its sound its features differ" in fault.what for fault in verify(str(finished), 2).faults
    )


def test_a_damaged_shard_costs_its_unit_of_features_only(finished: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    tokens = {path.name: path.stat().st_ino for path in next(out.glob("tokens-*")).rglob("*")}
    path = next(out.glob("features-*/shard-000000.tar"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert any(fault.where.startswith("features-") for fault in verify(str(out), reencode=0).faults)
    assert repair(str(out), QUIET).ok
    assert {path.name: path.stat().st_ino for path in next(out.glob("tokens-*")).rglob("*")} == tokens
    assert fingerprints(out) == fingerprints(finished)


@pytest.mark.parametrize("point", ["between-files", "before-receipt"])
def test_killed_and_resumed_it_makes_the_same_bytes(
    point: str, finished: Path, corpus: Path, weights: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    shutil.rmtree(next(out.glob("features-*")))
    (out / "dataset.json").unlink()
    sets = {
        "name": "corpus", "plan.unit_seconds": 2, "mask": "null", "speech.codebook_size": 16, "speech.fit_seconds": 10, "speech.pca": 8,
        "speech.iterations": 2, "run.workers": 0, "features": f"{{name: whisper, weights: {weights}}}",
    }  # fmt: skip
    code, output = command.run(corpus, out, {"SPEECHMILL_CRASH_AT": f"{point}:{tmp_path / point}"}, **sets)
    assert code == 137, output
    assert list(out.glob("features-*")), "it died in this stage"
    code, output = command.run(corpus, out, **sets)
    assert code == 0, output
    assert fingerprints(out) == fingerprints(finished)


def test_their_size_is_told(finished: Path) -> None:
    assert bytes_an_hour(1_280) == 460_800_000
    value = Dataset.open(str(finished)).description
    assert featured(value).startswith(f"features of queries: 50 a second of {whispers.WIDTH}: ")
    assert "an hour of queries" in featured(value)
    stage = next(s for s in status(str(finished)).stages if s.stage == "features")
    assert stage.done == stage.units > 1
    page = io.StringIO()
    status(str(finished)).render(Console(file=page, width=200))
    assert "features-" in page.getvalue()
