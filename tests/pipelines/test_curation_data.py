"""`speechmill data` over real speech with scores, filters and copies: each utterance ends as it should, and kills change no byte."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from rich.console import Console
from typer.testing import CliRunner

from manifests.dataset import Dataset
from manifests.fingerprint import sha256
from manifests.ledger import Outcome
from manifests.recipe import Recipe, RecipeError, load
from pipelines import cli
from pipelines.data import opened
from pipelines.engine.contract import Task
from pipelines.inspect import find, originals
from pipelines.preview import Preview, preview
from pipelines.repair.repair import repair
from pipelines.reporting import make_report
from pipelines.stages.s35_copies import CopiesJob, prints_name, unpacked
from pipelines.stages.s40_clean import REASONS
from pipelines.status import quarantine, status
from pipelines.subject import Subject
from pipelines.verify.verify import verify
from pipelines.workspace import Workspace
from tests.corpora import corpus
from tests.faults import command
from tests.small_corpus import fingerprints, overrides
from tests.tokenization.test_scores import write_model

QUIET = Console(quiet=True)
SECONDS = 4.0
SENTENCE = "This is what the woman at the lake had always wanted to say, or nearly so."
ENDS = {
    "broken": ("quarantined", "not_audio"), "foreign": ("filtered", "other_language"), "rated": ("filtered", "badly_rated"),
    "narrow": ("filtered", "telephone"), "noisy": ("filtered", "too_noisy"), "fast": ("filtered", "fast"),
}  # fmt: skip
PAIRS = {("said", "said-again"): "near_duplicate_text", ("heard", "heard-again"): "near_duplicate_audio"}
ALONE = ("plain-1", "plain-2")
FILTERS = {
    "too_noisy": "snr_db < 8", "telephone": "bandwidth_hz < 5000", "fast": "characters_per_second > 30 and seconds > 2",
    "other_language": 'language not in ("en", "de")', "badly_rated": "extra.rating < 3",
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    corpus: Path
    out: Path
    sets: Mapping[str, Any]

    def recipe(self, **more: object) -> Recipe:
        return load("corpus", overrides(self.corpus, **{**self.sets, "run.workers": 0, **more}))


def write_corpus(folder: Path) -> Path:
    """Ten real sentences: some spoiled, some there twice; the names say how."""
    folder.mkdir()
    root = corpus("librispeech_mini") / "LibriSpeech/train-clean-5"
    files = [*sorted(root.glob("118/*/*.flac")), *sorted(root.glob("1737/*/*.flac"))]
    rate = soundfile.info(files[0]).samplerate
    waves = [soundfile.read(file, dtype="float32")[0][: round(SECONDS * rate)] for file in files[:10]]
    noise_T = np.random.default_rng(0).standard_normal(len(waves[1])).astype(np.float32)
    rows = [
        ("plain-1", waves[0], "one that nobody minds", "en", "5"), ("plain-2", waves[4], None, None, None),
        ("noisy", waves[1] + waves[1].std() * noise_T, "one in a gale", "en", "4"),
        ("narrow", soxr.resample(soxr.resample(waves[2], rate, 8000), 8000, rate), "one from a telephone", "en", "4"),
        ("fast", waves[3], "too much to be said in so short a time " * 5, "de", "4"),
        ("foreign", waves[5], "one of elsewhere", "fr", "4"), ("rated", waves[6], "one that somebody minds", "en", "2"),
        ("said", waves[7], SENTENCE, "en", "4"), ("said-again", waves[8], SENTENCE.upper(), "en", "4"),
        ("heard", waves[9], "one that is there twice", "en", "4"),
    ]  # fmt: skip
    lines = ["id\taudio\ttext\tspeaker\tlanguage\trating"]
    for n, (name, wave_T, text, language, rating) in enumerate(rows):
        soundfile.write(folder / f"{name}.wav", wave_T, rate, subtype="PCM_16")
        lines.append("\t".join((name, f"{name}.wav", text or "", f"s{n % 3}", language or "", rating or "")))
    soundfile.write(folder / "heard-again.mp3", 0.3 * waves[9][round(0.28 * rate) :], rate)
    (folder / "broken.wav").write_bytes(b"RIFF, and nothing that is sound")
    lines += [
        "heard-again\theard-again.mp3\tthe same in other words\ts0\ten\t4",
        "broken\tbroken.wav\tno sound\ts0\ten\t4",
    ]
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The dataset, made undisturbed in one process."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("curation")
    model = write_model(folder / "sig_bak_ovr.onnx")
    sets = {
        "corpus.keep": "[rating]", "plan.unit_seconds": 15, "plan.near_text": 0.9, "copies": "{}", "speech.fit_seconds": 20,
        "scores.dnsmos.model": model, **{f"filters.{reason}": text for reason, text in FILTERS.items()},
        "mask": "null", "split.by": "recording", "speech.iterations": 3,
    }  # fmt: skip
    made = Made(write_corpus(folder / "corpus"), folder / "out", sets)
    with opened(made.recipe(), str(made.out), QUIET) as run:
        run()
    return made


def ends(out: Path) -> dict[str, Outcome]:
    return {outcome.id: outcome for outcome in quarantine(str(out))}


def test_each_utterance_ends_as_the_recipe_says_and_the_ledger_balances(made: Made) -> None:
    found = ends(made.out)
    for name, (how, reason) in ENDS.items():
        assert (found[name].status, found[name].reason) == (how, reason)
    for pair, reason in PAIRS.items():
        [left_out] = [name for name in pair if name in found]
        [stays] = [name for name in pair if name not in found]
        assert (found[left_out].status, found[left_out].reason) == ("filtered", reason)
        assert stays in str(found[left_out].error)
    assert len(found) == len(ENDS) + len(PAIRS)
    data = Dataset.open(str(made.out))
    assert {sample.meta["id"] for sample in data} == {*ALONE, *(n for pair in PAIRS for n in pair)} - found.keys()
    ledger = data.description["ledger"]
    assert ledger["planned"] == ledger["written"] + sum(ledger["filtered"].values()) + sum(
        ledger["quarantined"].values()
    )
    assert ledger["pending"] == 0


def test_the_ledger_says_the_expression_with_its_numbers(made: Made) -> None:
    found = ends(made.out)
    assert found["foreign"].error == 'language not in ("en", "de"): language is \'fr\''
    assert found["rated"].error == "extra.rating < 3: extra.rating is '2'"
    assert str(found["noisy"].error).startswith("snr_db < 8: snr_db is ")
    assert "characters_per_second is" in str(found["fast"].error)


def test_what_was_asked_of_a_sound_stands_in_its_sample(made: Made) -> None:
    for sample in Dataset.open(str(made.out)):
        scores = sample.meta["scores"]
        assert scores["snr_db"] >= 8
        assert scores["bandwidth_hz"] >= 5000
        assert {"dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl"} <= scores.keys()
        assert ("characters_per_second" in scores) == bool(sample.meta.get("text"))


def test_it_verifies_and_what_is_made_again_of_its_sound_is_the_same(made: Made) -> None:
    verdict = verify(str(made.out), reencode=4)
    assert verdict.ok, [str(fault) for fault in verdict.faults]
    assert verdict.reencoded == 4


def test_the_dataset_names_its_model_by_checksum_and_not_by_place(made: Made) -> None:
    said = Dataset.open(str(made.out)).description["recipe"]["scores"]["dnsmos"]
    assert said == {"checksum": sha256(Path(made.sets["scores.dnsmos.model"]).read_bytes()), "personalised": False}


def test_without_its_model_a_dataset_still_verifies_and_says_what_was_not_looked_at(made: Made, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made.out, tmp_path / "out"))
    run = out / "run.json"
    run.write_text(run.read_text(encoding="utf-8").replace("sig_bak_ovr.onnx", "gone.onnx"), encoding="utf-8")
    verdict = verify(str(out), reencode=2)
    assert verdict.ok, [str(fault) for fault in verdict.faults]
    assert any("a score cannot be computed" in note for note in verdict.notes)
    assert originals(Subject.open(str(out)), find(str(out))).keys() == {"speech-original"}


def test_the_reasons_of_the_recipe_are_told_wherever_others_are(made: Made, tmp_path: Path) -> None:
    shown = status(str(made.out))
    assert shown.finished
    assert shown.ledger is not None
    assert shown.ledger.filtered["too_noisy"] == 1
    assert [s.stage for s in shown.stages if s.folder and s.units == s.done] == [
        "ingest",
        "plan",
        "copies",
        "fit",
        "tokens",
    ]
    page = Path(make_report(str(shutil.copytree(made.out, tmp_path / "out")), QUIET)).read_text(encoding="utf-8")
    assert "a rule of the recipe: snr_db &lt; 8" in page
    assert "DNSMOS P.835, overall" in page
    assert "no description of this reason" not in page


def test_runs_that_are_killed_and_resumed_make_the_same_bytes(made: Made, tmp_path: Path) -> None:
    asked = {**made.sets, "run.workers": 0}
    for point in (
        "after-receipt",
        "before-marked-plan",
        "before-receipt",
    ):  # among fingerprints, before their fold, in the fit
        crash = {"SPEECHMILL_CRASH_AT": f"{point}:{tmp_path / point}"}
        code, output = command.run(made.corpus, tmp_path / "out", crash, **asked)
        assert code == 137, output
        assert not (tmp_path / "out" / "dataset.json").exists()
    code, output = command.run(made.corpus, tmp_path / "out", **asked)
    assert code == 0, output
    assert fingerprints(tmp_path / "out") == fingerprints(made.out)


def test_a_worker_on_ray_that_dies_changes_nothing(made: Made, tmp_path: Path) -> None:
    marker, asked = tmp_path / "crashed", {**made.sets, "run.workers": 2}
    crash = {"SPEECHMILL_CRASH_AT": f"between-files:{marker}"}
    code, output = command.run(made.corpus, tmp_path / "out", crash, **asked)
    assert code == 0, output
    assert marker.exists()
    assert fingerprints(tmp_path / "out") == fingerprints(made.out)


def test_a_changed_rule_makes_other_tokens_of_the_same_plan_and_a_run_without_changes_has_nothing_to_do(
    made: Made, tmp_path: Path
) -> None:
    out = shutil.copytree(made.out, tmp_path / "out")
    with opened(made.recipe(), str(out), QUIET) as run:
        assert run().nothing_to_do
    with opened(made.recipe(**{"filters.too_noisy": "snr_db < -15"}), str(out), QUIET) as run:
        run()
    before, after = (Dataset.open(str(root)).description for root in (made.out, out))
    assert after["folders"]["plan"] == before["folders"]["plan"]
    assert after["folders"]["tokens"] != before["folders"]["tokens"]
    assert after["ledger"]["written"] == before["ledger"]["written"] + 1


@pytest.mark.parametrize("name", ["unit-000000.npy", "unit-000001.jsonl", "plan.json"])
def test_a_damaged_file_of_the_search_for_copies_is_found_and_made_anew(name: str, made: Made, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made.out, tmp_path / "out"))
    file = next(out.glob("copies-*")) / name
    file.write_bytes(file.read_bytes()[:-3])
    assert any(name in fault.where for fault in verify(str(out), reencode=0).faults)
    repaired = repair(str(out), QUIET)
    assert repaired.ok, repaired
    assert fingerprints(out) == fingerprints(made.out)


def test_poison_in_the_search_for_copies_costs_itself_alone(made: Made, tmp_path: Path) -> None:
    subject = Subject.open(str(made.out))
    job = CopiesJob(str(tmp_path), subject.store("plan").root, str(made.corpus), subject.recipe, subject.units)
    worker, unit = job.open(), subject.units[0]
    whole = worker.process(Task(unit), lambda _: None)
    assert whole.files[prints_name(0)] == subject.store("copies").read(prints_name(0))
    position = next(i for i, outcome in enumerate(whole.outcomes) if outcome.status == "written")
    did = worker.process(Task(unit, skip={position: ("worker_died", "it died")}), lambda _: None)
    assert did.outcomes[position].reason == "worker_died"
    prints = [list(unpacked(made.files[prints_name(0)])) for made in (whole, did)]
    assert [n for n in range(unit.count) if prints[0][n].size != prints[1][n].size] == [position]
    assert worker.process(Task(unit, only=(1, 3)), lambda _: None).outcomes == whole.outcomes[1:3]


def test_scores_go_along_where_a_dataset_is_exported(made: Made, tmp_path: Path) -> None:
    import pyarrow.parquet

    dest = str(tmp_path / "hf")
    shown = CliRunner().invoke(cli.app, ["export", str(made.out), dest, "--to", "hf", "--no-audio", "--workers", "0"])
    assert shown.exit_code == 0, shown.output
    rows = [row for file in Path(dest).rglob("*.parquet") for row in pyarrow.parquet.read_table(file).to_pylist()]
    kept = {sample.meta["id"]: sample.meta["scores"] for sample in Dataset.open(str(made.out))}
    assert {row["id"] for row in rows} == kept.keys()
    for row in rows:
        assert {name: row[name] for name in kept[row["id"]]} == kept[row["id"]]
    assert "| `snr_db` | signal to noise ratio, dB |" in (Path(dest) / "README.md").read_text(encoding="utf-8")


# Before anything is made


def previewed(made: Made, out: Path, sample: int) -> Preview:
    with opened(made.recipe(copies="null"), str(out), QUIET) as run:
        _, plan, units = run.planned(str(made.corpus), {})
        return preview(run.recipe, str(made.corpus), run.space.store.sub(plan), units, run.mapper, sample)


def test_a_sample_of_all_says_exactly_what_the_dataset_says(made: Made, tmp_path: Path) -> None:
    seen, ledger = previewed(made, tmp_path, 100), Dataset.open(str(made.out)).description["ledger"]
    filtered = {r.rule.reason: round(r.in_order.utterances.value) for r in seen.rules}
    cleaned = {reason: round(cost.utterances.value) for _, reason, cost in seen.cleaning}
    by_ear = {"near_duplicate_audio": 1}
    assert filtered | cleaned | by_ear == {**ledger["filtered"], **ledger["quarantined"]}
    assert round(seen.written.utterances.value) == ledger["written"] + 1
    costs = [seen.written, *(r.in_order for r in seen.rules), *(cost for *_, cost in seen.cleaning)]
    assert sum(cost.hours.value for cost in costs) == pytest.approx(seen.hours)
    assert all(e.low == e.value == e.high for cost in costs for e in (cost.utterances, cost.hours))


def test_a_smaller_sample_leaves_room_for_what_it_has_not_seen(made: Made, tmp_path: Path) -> None:
    seen = previewed(made, tmp_path, 4)
    assert seen.sample == 4
    for rule in seen.rules:
        assert rule.alone.utterances.low <= rule.alone.utterances.value < rule.alone.utterances.high
        assert rule.in_order.utterances.value <= rule.alone.utterances.value


def test_the_command_shows_it_and_makes_nothing(made: Made, tmp_path: Path) -> None:
    sets = [part for value in overrides(made.corpus, **{**made.sets, "run.workers": 0}) for part in ("--set", value)]
    shown = CliRunner().invoke(
        cli.app, ["plan", "corpus", "-o", str(tmp_path / "o"), "--filters", "--sample", "50", "--json", *sets]
    )
    assert shown.exit_code == 0, shown.output
    assert '"reason": "too_noisy"' in shown.output
    table = CliRunner().invoke(cli.app, ["plan", "corpus", "-o", str(tmp_path / "o"), "--filters", *sets])
    assert "too_noisy: snr_db < 8" in table.output
    assert not list((tmp_path / "o").glob("tokens-*"))


# Refusals


@pytest.mark.parametrize("reason", ["silent", "query_silent", "near_duplicate_text"])
def test_a_reason_of_the_pipeline_is_refused_to_a_rule(reason: str, tmp_path: Path) -> None:
    assert reason.removeprefix("query_") in REASONS
    recipe = load("corpus", overrides(tmp_path, **{f"filters.{reason}": "seconds < 1"}))
    with pytest.raises(RecipeError, match="the pipeline's own"):
        Workspace.of(recipe, str(tmp_path))
