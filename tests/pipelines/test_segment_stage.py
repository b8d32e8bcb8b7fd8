"""Segment: long recordings become utterances, every second of them is accounted for, and a dataset of them is one like any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import soundfile
from rich.console import Console

from manifests.audio.probe import probe
from manifests.dataset import Dataset
from manifests.recipe import Recipe, parse
from manifests.storage import Store
from pipelines import cli
from pipelines.data import Result, opened
from pipelines.folders import segments_folder
from pipelines.inspect import find, write_audio
from pipelines.repair.repair import repair
from pipelines.stages import s20_ingest, s25_segment
from pipelines.stages.s40_clean import REASONS
from pipelines.status import quarantine, status
from pipelines.verify.verify import verify
from pipelines.workspace import Workspace
from tests.corpora import corpus as real_corpus
from tests.faults.command import ROOT
from tests.long_recordings import SECONDS, SPOKEN, recording, write_long_corpus
from tests.manifests.sounds import untagged_mp3, voice
from tests.small_corpus import RATE, fingerprints, tone
from tokenization.voice_activity import silero
from tokenization.voice_activity.contract import DetectorError

NEEDS_VAD = pytest.mark.skipif(None in (find_spec("silero_vad"), find_spec("onnxruntime")), reason="no extra vad")
QUIET = Console(quiet=True)
SEGMENT = {"max_seconds": 4.0, "unit_seconds": 40}
SMALL = {
    "name": "long", "plan": {"unit_seconds": 15}, "speech": {"codebook_size": 16, "fit_seconds": 10, "iterations": 2},
    "text": {"vocab_size": 270}, "mask": None, "run": {"workers": 0},
}  # fmt: skip


def recipe(root: Path, **more: Any) -> Recipe:
    corpus = {"layout": "table", "root": str(root), **more.pop("corpus", {})}
    return parse({**SMALL, "corpus": corpus, "segment": {**SEGMENT, **more.pop("segment", {})}, **more})


def make(out: Path, root: Path, **more: Any) -> Result:
    with opened(recipe(root, **more), str(out), QUIET) as run:
        return run()


def segmented(out: Path) -> list[dict[str, Any]]:
    """The cuts of the manifest that the plan was made of."""
    return [orjson.loads(line) for line in s20_ingest.cut_lines(Store(str(next(out.glob("segments-*")))))]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_long_corpus(tmp_path_factory.mktemp("long") / "corpus")


@pytest.fixture(scope="module")
def made(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "out"
    make(out, corpus)
    return out


class TestTheDataset:
    def test_what_is_said_is_found_bounded_and_points_to_its_place_in_the_recording(self, made: Path) -> None:
        cuts = [c for c in segmented(made) if c["recording"]["id"] == "r1"]
        starts, ends = (
            [round(t, 6) for t in times]
            for times in zip(*((c["start"], c["start"] + c["duration"]) for c in cuts), strict=True)
        )
        assert len(cuts) == 6, "the third of four is over 4 s, and so three"
        for start, seconds in SPOKEN:
            assert any(abs(start - 0.15 - t) < 0.1 for t in starts)
            assert any(abs(start + seconds + 0.15 - t) < 0.1 for t in ends)
        for cut in cuts:
            assert 1.0 <= cut["duration"] <= 4.0
            assert (
                cut["id"] == f"r1-{round(1000 * cut['start']):08d}-{round(1000 * (cut['start'] + cut['duration'])):08d}"
            )
            assert (cut["recording"]["num_samples"], cut["supervisions"][0]["speaker"]) == (int(SECONDS * RATE), "s1")

    def test_every_recording_ends_as_something_and_the_ledger_balances(self, made: Path) -> None:
        ledger = Dataset.open(str(made)).description["ledger"]
        assert ledger["filtered"] == {"no_speech": 1, "text_without_times": 1, "duplicate_audio": 2}
        assert ledger["quarantined"] == {"not_audio": 1}
        assert ledger["written"] == 27 + 1
        assert (ledger["pending"], ledger["planned"]) == (0, 33)
        aside = {o.id: (o.reason, o.error) for o in quarantine(str(made))}
        assert aside["noise"] == ("no_speech", "the detector energy finds no speech in its 5.00 s")
        assert "set segment.text = drop" in str(aside["texted"][1])
        assert aside["copy"] == aside["again"] == ("duplicate_audio", "the same sound and text as r0")

    def test_every_second_that_was_heard_is_kept_or_dropped(self, made: Path) -> None:
        said = Dataset.open(str(made)).description["segments"]
        assert said["heard_ms"] == said["kept_ms"] + said["dropped_ms"] == 5 * 17_000 + 5_000
        assert said["kept_ms"] == sum(round(1000 * c["duration"]) for c in segmented(made) if "-" in c["id"])
        assert (said["segments"], said["cut_up"], said["left_whole"], said["detector"]) == (27, 5, 1, "energy")
        assert 0.8 * 51_500 < said["speech_ms"] < said["kept_ms"]

    def test_a_short_recording_with_a_text_stays_as_it_is(self, made: Path) -> None:
        [cut] = [c for c in segmented(made) if c["id"] == "short"]
        assert cut["supervisions"][0]["text"] == "a short sentence"
        assert "asked_seconds" not in cut["custom"]

    def test_it_verifies_and_its_sound_is_the_part_of_the_recording(
        self, made: Path, corpus: Path, tmp_path: Path
    ) -> None:
        verdict = verify(str(made), reencode=8)
        assert verdict.ok, [str(f) for f in verdict.faults]
        assert (verdict.samples, verdict.reencoded, verdict.notes) == (28, 8, ())
        found = find(str(made), next(c["id"] for c in segmented(made) if c["id"].startswith("r2-")))
        assert (found.meta["recording"], found.meta["start"] > 0) == ("r2", True)
        assert any("speech-original" in path.name for path in write_audio(found, tmp_path))

    def test_lhotse_takes_the_manifest(self, made: Path, corpus: Path) -> None:
        from lhotse import CutSet
        from lhotse.qa import validate

        path = next(made.glob("segments-*")) / "cuts.jsonl.gz"
        cuts = CutSet.from_jsonl_lazy(path).with_recording_path_prefix(str(corpus))
        found = {cut.id: cut for cut in cuts}
        assert len(found) == 33
        for cut in found.values():
            if "-" in cut.id:
                validate(cut)
                assert cut.load_audio().shape[1] == pytest.approx(cut.duration * RATE, abs=1)

    def test_status_knows_the_stage(self, made: Path) -> None:
        stage = next(s for s in status(str(made)).stages if s.stage == "segments")
        assert stage.units == stage.done == 4
        assert stage.audio_seconds == pytest.approx(8 * SECONDS + 5 + 2 + 1, abs=0.5)

    def test_a_second_run_has_nothing_to_do(self, made: Path, corpus: Path) -> None:
        assert make(made, corpus).nothing_to_do

    def test_other_recipes_know_nothing_of_it(self, corpus: Path, tmp_path: Path) -> None:
        plain = parse({**SMALL, "corpus": {"layout": "table", "root": str(corpus)}})
        assert "segment" not in plain.deciding()
        with opened(plain, str(tmp_path), QUIET) as run:
            found = run.manifests(str(corpus), {})
        assert found.planned == found.ingested
        assert found.segments is None
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["cuts"]


class TestSettings:
    def test_the_text_may_be_dropped_so_that_the_recording_is_cut(self, corpus: Path, tmp_path: Path) -> None:
        said = make(tmp_path, corpus, segment={"text": "drop"}).description
        assert "text_without_times" not in said["ledger"]["filtered"]
        cuts = [c for c in segmented(tmp_path) if c["id"].startswith("texted-")]
        assert len(cuts) >= 5
        assert all("text" not in c["supervisions"][0] for c in cuts)

    def test_a_text_is_not_lost_for_a_length_that_is_only_estimated(self, corpus: Path, tmp_path: Path) -> None:
        root = tmp_path / "corpus"
        root.mkdir()
        wave_T = np.concatenate(
            [np.zeros(24_000, np.float32), 0.3 * voice(2.0)]
        )  # quiet first: the guess is far too long
        (root / "a.mp3").write_bytes(data := untagged_mp3(wave_T))
        shutil.copy(corpus / "texted.flac", root)
        lines = ["id\taudio\ttext\tspeaker", "a\ta.mp3\ta short sentence\ts1", "b\ttexted.flac\ta long one\ts1"]
        (root / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert probe(data).seconds > SEGMENT["max_seconds"] > len(wave_T) / 16_000
        said = make(tmp_path / "out", root).description
        assert said["segments"]["left_whole"] == 1
        assert [o.id for o in quarantine(str(tmp_path / "out")) if o.reason == "text_without_times"] == ["b"]

    def test_only_what_decides_segments_gives_them_another_folder(self, made: Path, corpus: Path) -> None:
        def folder(**more: Any) -> str:
            manifest = Dataset.open(str(made)).description["cuts"]["sha256"]
            return segments_folder(Workspace.of(recipe(corpus, **more), str(made)), manifest)

        first = Dataset.open(str(made)).description["folders"]["segments"]
        assert (
            first
            == folder()
            == folder(plan={"seed": 7, "unit_seconds": 3}, clean={"max_seconds": 9.0}, run={"workers": 4})
        )
        others = [folder(segment={"pause_seconds": 1.5}), folder(clean={"channel": 0}), folder(plan={"dedup": False}),
                  folder(segment={"detector": {"name": "energy", "onset_db": 12}})]  # fmt: skip
        assert len({first, *others}) == 5

    def test_channels_are_cut_up_apart_where_asked_for(self, tmp_path: Path) -> None:
        left_T, right_T = recording(1), np.roll(recording(2), RATE * 2)
        (tmp_path / "calls").mkdir()
        soundfile.write(tmp_path / "calls" / "call.flac", np.stack([left_T, right_T]).T, RATE)
        said = make(
            tmp_path / "out", tmp_path / "calls", corpus={"layout": "folder"}, segment={"channels": "apart"}
        ).description
        cuts = segmented(tmp_path / "out")
        assert {c["channel"] for c in cuts} == {0, 1}
        assert sorted(c["id"].split("-")[1] for c in cuts) == ["c0"] * 6 + ["c1"] * 5
        assert said["segments"]["heard_ms"] == 2 * 17_000
        assert said["ledger"]["written"] == 11
        assert verify(str(tmp_path / "out")).ok

    def test_what_the_corpus_cut_already_keeps_its_text_and_is_cut_further_without_one(self, tmp_path: Path) -> None:
        (tmp_path / "corpus").mkdir()
        soundfile.write(tmp_path / "corpus" / "r.flac", recording(1), RATE)
        lines = ["id\taudio\ttext\tstart\tduration", "a\tr.flac\twhat is said\t0.8\t2.4", "b\tr.flac\t\t6.5\t10.5"]
        (tmp_path / "corpus" / "list.tsv").write_text("\n".join(lines) + "\n")
        make(tmp_path / "out", tmp_path / "corpus")
        cuts = {c["id"]: c for c in segmented(tmp_path / "out")}
        assert cuts["a"]["supervisions"][0]["text"] == "what is said"
        assert len([i for i in cuts if i.startswith("b-")]) == 4
        assert min(c["start"] for i, c in cuts.items() if i.startswith("b-")) == pytest.approx(6.85, abs=0.1)
        assert verify(str(tmp_path / "out")).ok

    def test_a_recording_that_breaks_off_is_not_cut_up(self, tmp_path: Path) -> None:
        (tmp_path / "corpus").mkdir()
        path = tmp_path / "corpus" / "r.wav"
        soundfile.write(path, recording(1), RATE, subtype="PCM_16")
        path.write_bytes(path.read_bytes()[: RATE * 2 * 9])
        make(tmp_path / "out", tmp_path / "corpus", corpus={"layout": "folder"})
        [outcome] = quarantine(str(tmp_path / "out"))
        assert (outcome.id, outcome.status, outcome.reason) == ("r", "quarantined", "truncated")

    @pytest.mark.parametrize(("other", "told"), [(-1, True), (0, False)])
    def test_channels_in_whose_mix_nobody_speaks_are_told_from_a_recording_without_speech(
        self, tmp_path: Path, other: int, told: bool
    ) -> None:
        (tmp_path / "corpus").mkdir()
        wave_T = recording(1) if told else np.zeros(RATE * 17)
        soundfile.write(tmp_path / "corpus" / "r.flac", np.stack([wave_T, other * wave_T]).T, RATE)
        make(tmp_path / "out", tmp_path / "corpus", corpus={"layout": "folder"})
        [outcome] = quarantine(str(tmp_path / "out"))
        assert (outcome.status, outcome.reason) == ("filtered", "no_speech")
        assert (outcome.error or "").endswith(
            "; its channels cancel each other out when mixed: choose one with clean.channel"
        ) is told

    def test_a_recording_shorter_than_any_utterance_is_filtered(self, tmp_path: Path) -> None:
        (tmp_path / "corpus").mkdir()
        soundfile.write(tmp_path / "corpus" / "r.wav", np.pad(tone(1, 0.5), 2_000), RATE, subtype="PCM_16")
        make(tmp_path / "out", tmp_path / "corpus", corpus={"layout": "folder"})
        [outcome] = quarantine(str(tmp_path / "out"))
        assert (outcome.status, outcome.reason) == ("filtered", "too_short")


def test_a_detector_that_is_not_installed_is_refused_before_anything_is_done(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    sets = [f"corpus.root={corpus}", "segment.detector.name=silero", "run.workers=0"]
    arguments = ["speechmill", "data", "corpus", "-o", str(tmp_path / "out"), *(p for s in sets for p in ("--set", s))]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "speechmill: the detector silero needs the packages silero-vad and onnxruntime" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_node_with_another_version_of_the_detector_is_told_of(corpus: Path) -> None:
    made = recipe(corpus)
    assert made.segment is not None
    job = s25_segment.SegmentJob("", str(corpus), made.corpus, made.segment, made.clean, (), "another")
    with pytest.raises(DetectorError, match=r"energy is of version 1 on .*, and of another where the run was started"):
        job.open()


@pytest.mark.parametrize("detector", ["energy", pytest.param("silero", marks=NEEDS_VAD)])
def test_bad_files_cost_themselves_only(detector: str, tmp_path: Path) -> None:
    """Every file of the hostile corpus ends with a reason, whoever listens."""
    root = real_corpus("hostile") / "files"
    with opened(
        recipe(root, corpus={"layout": "folder"}, segment={"detector": {"name": detector}}), str(tmp_path), QUIET
    ) as run:
        found = run.manifests(str(root), {})
    cuts = segmented(tmp_path)
    named = {c["recording"]["id"] for c in cuts}
    assert {
        c["recording"]["id"] for c in map(orjson.loads, s20_ingest.cut_lines(Store(str(tmp_path / "cuts"))))
    } == named
    aside = [
        c["custom"].get("fault") or c["custom"].get("filtered") for c in cuts if "asked_seconds" not in c["custom"]
    ]
    assert {"empty_file", "not_audio", "truncated", "no_speech"} <= {mark[0] for mark in aside if mark}
    assert all(mark[0] in REASONS for mark in aside if mark)
    assert found.segments is not None
    assert found.segments["heard_ms"] == found.segments["kept_ms"] + found.segments["dropped_ms"]


def test_transcripts_with_times_give_the_utterances_and_speakers_alone_are_cut_up(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    root.mkdir()
    for i in range(3):
        soundfile.write(root / f"r{i}.flac", recording(i), RATE, subtype="PCM_16")
    times = [(1.0, 3.0), (4.0, 5.5), (7.0, 13.0), (15.0, 16.0), (20.0, 22.0)]
    captions = [f"00:{a:06.3f} --> 00:{b:06.3f}\nsaid at {a:g}\n" for a, b in times]
    (root / "r0.vtt").write_text("WEBVTT\n\n" + "\n".join(captions), encoding="utf-8")
    (root / "r1.rttm").write_text("SPEAKER r1 1 0.5 13.5 <NA> <NA> Ann <NA> <NA>\n", encoding="utf-8")
    said = make(tmp_path / "out", root, corpus={"layout": "timed"}).description
    dataset = Dataset.open(str(tmp_path / "out"))
    found = {sample.meta["id"]: sample.meta for sample in dataset}
    assert {m["text"] for m in found.values() if m["recording"] == "r0"} == {"said at 1", "said at 4", "said at 15"}
    spoken = [m for m in found.values() if m["recording"] == "r1"]
    assert len(spoken) == 5
    assert {(m["speaker"], m["start"] < 14) for m in spoken} == {("r1/Ann", True)}
    assert len([m for m in found.values() if m["recording"] == "r2"]) == 5
    aside = {o.id: (o.status, o.reason) for o in quarantine(str(tmp_path / "out"))}
    assert aside == {
        "r0-00007000-00013000": ("filtered", "text_without_times"),
        "r0-00020000-00022000": ("quarantined", "no_samples"),
    }
    assert said["segments"]["left_whole"] == 4
    assert verify(str(tmp_path / "out"), reencode=4).ok


def run(root: Path, out: Path, crash: Mapping[str, str]) -> tuple[int, str]:
    """``speechmill data`` as a process of its own, without Ray."""
    path = out.parent / f"{out.name}.yaml"
    path.write_text(json.dumps(recipe(root).model_dump(mode="json", exclude_none=True)))
    code = "from pipelines.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "data", str(path), "-o", str(out), "--no-report"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **crash}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


class TestFaults:
    @pytest.mark.parametrize("point", ["between-files", "between-segments-and-receipt"])
    def test_killed_anywhere_it_resumes_to_the_same_bytes(
        self, point: str, corpus: Path, made: Path, tmp_path: Path
    ) -> None:
        crash = {"SPEECHMILL_CRASH_AT": f"{point}:{tmp_path / 'crashed'}"}
        code, output = run(corpus, tmp_path / "out", crash)
        assert code == 137, output
        assert not (tmp_path / "out" / "dataset.json").exists()
        assert make(tmp_path / "out", corpus).did["segments"] == (0 if "segments" in point else 4)
        assert fingerprints(tmp_path / "out") == fingerprints(made)

    @pytest.mark.parametrize(
        ("name", "described"),
        [("unit-000001.jsonl", True), ("receipts/unit-000001.json", True), ("cuts.json", True), ("cuts.jsonl.gz", False),
         ("recordings/plan.json", True), ("recordings/unit-000001.jsonl", True), ("unit-000001.jsonl", False)],
    )  # fmt: skip
    def test_what_is_damaged_is_found_and_made_anew(
        self, name: str, described: bool, made: Path, corpus: Path, tmp_path: Path
    ) -> None:
        out = Path(shutil.copytree(made, tmp_path / "out"))
        path = next(out.glob("segments-*")) / name
        path.write_bytes(path.read_bytes()[:100])
        if described:
            assert any(name in str(fault) for fault in verify(str(out), reencode=0).faults)
        else:
            (out / "dataset.json").unlink()
        result = repair(str(out), QUIET)
        assert result.ok, result
        assert {part.stage for part in result.parts} <= {"segments", "dataset.json", "plan"}
        assert fingerprints(out) == fingerprints(made)

    def test_other_segments_than_the_sound_gives_are_found_out(self, made: Path, corpus: Path, tmp_path: Path) -> None:
        root, out = Path(shutil.copytree(corpus, tmp_path / "corpus")), Path(shutil.copytree(made, tmp_path / "out"))
        (out / "run.json").write_bytes(
            (out / "run.json").read_bytes().replace(str(corpus).encode(), str(root).encode())
        )
        for i in range(5):
            soundfile.write(root / f"r{i}.flac", np.roll(recording(i), RATE), RATE, subtype="PCM_16")
        faults = [str(fault) for fault in verify(str(out), reencode=1).faults]
        assert any("cut up again, gives other utterances" in fault for fault in faults), faults
