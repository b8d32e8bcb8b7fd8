"""``speechmill plan --hours``: it probes with the stages themselves, foretells, leaves nothing behind, and is held against the run."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from manifests.corpora.base import CorpusError
from manifests.receipt import Receipt
from manifests.receipt_index import Brief
from manifests.recipe import Recipe, RecipeError, parse
from manifests.settings.run import RunSettings
from manifests.storage import Store
from pipelines import cli
from pipelines.data import opened
from pipelines.engine.contract import RunFailed, Unit
from pipelines.engine.progress import Events
from pipelines.engine.stopping import Interrupted, Stopping
from pipelines.forecast.answer import Answer, Question, answered
from pipelines.forecast.cluster_file import alike
from pipelines.forecast.compared import FORMAT, Stage, compared
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.record import keep, to_json
from pipelines.forecast.timing import FEWEST, MOST, Sampling, TimingEngine
from pipelines.made import Made
from pipelines.scratch import PREFIX
from pipelines.status import status
from tests.faults.toy import ToyJob
from tests.pipelines.test_cli import refused
from tests.pipelines.tiny_run import make_run
from tests.small_corpus import fingerprints, overrides, write_corpus

TALKER = {"layers": 1, "width": 16, "heads": 2, "ffn": 32, "block": 16, "anchors": 2}
QUIET = Console(quiet=True)


def small(root: Path, **more: Any) -> Recipe:
    return parse({
        "corpus": {"layout": "table", "root": str(root)}, "plan": {"unit_seconds": 4}, "text": {"vocab_size": 300},
        "speech": {"codebook_size": 32, "fit_seconds": 20, "iterations": 3}, "run": {"workers": 0}, **more,
    })  # fmt: skip


def files(out: Path) -> set[str]:
    return {str(p.relative_to(out)).split("/")[0].split("-")[0] for p in out.rglob("*") if p.is_file()}


def made(recipe: Recipe, out: Path) -> None:
    with opened(recipe, str(out), QUIET) as run:
        run()


def foretold(recipe: Recipe, out: Path, **question: Any) -> Answer:
    answer = answered(recipe, str(out), Question(**question), QUIET)
    keep(Store(str(out)), to_json(answer))
    return answer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("forecast") / "corpus", 24)


@pytest.fixture(scope="module")
def run(corpus: Path) -> tuple[Path, Answer, set[str]]:
    """(an output that was foretold, then made; the forecast; what lay there between the two)."""
    out = corpus.parent / "out"
    answer = foretold(small(corpus), out)
    between = files(out)
    made(small(corpus), out)
    return out, answer, between


def test_the_probe_leaves_the_plan_and_the_forecast_and_nothing_else(run: tuple[Path, Answer, set[str]]) -> None:
    assert run[2] == {".lock", "events.jsonl", "cuts", "plan", "forecast.json"}


def test_what_is_made_afterwards_is_what_is_made_without_it(run: tuple[Path, Answer, set[str]], tmp_path: Path) -> None:
    made(small(run[0].parent / "corpus"), tmp_path / "out")
    assert fingerprints(run[0]) == fingerprints(tmp_path / "out")


def test_every_stage_is_foretold_from_units_that_were_done(run: tuple[Path, Answer, set[str]]) -> None:
    stages = {s.stage: s for s in run[1].own.stages}
    assert list(stages) == ["ingest", "plan", "fit", "tokens", "masks", "dataset"]
    for name in ("tokens", "masks"):
        pieces = stages[name].measured.pieces
        assert len(pieces) == FEWEST
        assert all(p.seconds > 0 and p.bytes > 0 and p.core_seconds is not None for p in pieces)
    parts = stages["tokens"].measured.parts
    assert set(parts) >= {"fetch", "decode", "clean", "encode", "rest"}
    assert sum(parts.values()) == pytest.approx(1.0)
    assert run[1].bottleneck is not None


def test_status_holds_the_run_against_the_forecast(run: tuple[Path, Answer, set[str]]) -> None:
    found = status(str(run[0])).forecast
    assert found is not None
    assert found.notes == ()
    rows = {row.stage: row for row in found.rows}
    assert set(rows) == {"fit", "tokens", "masks", "dataset", "whole"}
    assert rows["whole"].seconds.foretold == pytest.approx(
        run[1].own.seconds - sum(s.seconds for s in run[1].own.stages if s.stage in run[1].before), abs=0.01
    )
    for name in ("tokens", "masks"):
        assert rows[name].seconds.took is not None
        assert rows[name].workers is not None
        assert rows[name].bytes is not None
        assert rows[name].bytes.ratio == pytest.approx(1.0, rel=0.3), "bytes depend on no clock"
    shown = CliRunner().invoke(cli.app, ["status", str(run[0])])
    assert "foretold, and as it came" in shown.output
    told = json.loads(CliRunner().invoke(cli.app, ["status", str(run[0]), "--json"]).output)["forecast"]
    assert [row["stage"] for row in told["stages"]] == list(rows)


def test_the_start_of_ray_is_told_apart_and_a_run_in_two_goes_is_summed(tmp_path: Path) -> None:
    stage = {"worker_hours": 1.0, "core_hours": None, "bytes": 10, "low": 90.0, "high": 110.0, "cpus": 1.0, "beside": 0}
    foretold = {
        "utterances": 5, "recordings": None, "ray": 6.0, "seconds": 216.0, "low": 190.0, "high": 230.0,
        "stages": [
            {**stage, "stage": "plan", "seconds": 10.0, "workers": 0}, {**stage, "stage": "tokens", "seconds": 100.0, "workers": 4},
            {**stage, "stage": "masks", "seconds": 100.0, "workers": 4},
        ],
    }  # fmt: skip
    (tmp_path / "forecast.json").write_text(
        json.dumps({"format": FORMAT, "made": 1000.0, "before": ["plan"], "corpus": foretold})
    )
    events: list[dict[str, Any]] = [
        {"time": 999.0, "event": "stage_ended", "stage": "tokens", "took_seconds": 1e6},
        {"time": 1010.0, "event": "stage_started", "stage": "tokens"},
        {"time": 1018.0, "event": "stage_staffed", "stage": "tokens", "workers": 2},
        {"time": 1060.0, "event": "stage_ended", "stage": "tokens", "took_seconds": 50.0},
        {"time": 2000.0, "event": "stage_started", "stage": "tokens"},
        {"time": 2004.0, "event": "stage_staffed", "stage": "tokens", "workers": 2},
        {"time": 2070.0, "event": "stage_ended", "stage": "tokens", "took_seconds": 70.0},
        {"time": 2080.0, "event": "run_ended", "took_seconds": 80.0, "did": {"tokens": 3}},
        {"time": 2090.0, "event": "run_ended", "took_seconds": 1.0, "did": {"tokens": 0}},
    ]  # fmt: skip
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"cut off')
    made = [Brief.of(0, Receipt("tokens", 0, (), (), {}, {"started": 1020.0, "seconds": 30.0}))]
    found = compared(
        Store(str(tmp_path)), [Stage("tokens", Made.of(made, ()), 1), Stage("masks", Made(), 1)], planned=5
    )
    assert found is not None
    took = {row.stage: (row.seconds.foretold, row.seconds.took) for row in found.rows}
    assert took == {"Ray": (6.0, 12.0), "tokens": (100.0, 120.0 - 12.0), "whole": (206.0, 80.0)}
    assert found.notes == ("tokens had 2 workers, and was foretold with 4",)


def test_a_changed_corpus_an_earlier_run_and_a_damaged_forecast_are_not_compared(
    run: tuple[Path, Answer, set[str]], tmp_path: Path
) -> None:
    out = shutil.copytree(run[0], tmp_path / "out")
    value = json.loads((out / "forecast.json").read_bytes())
    for change, said in (
        ({"corpus": {**value["corpus"], "utterances": 7}}, "the forecast is of 7 utterances, there are 24 now"),
        ({"made": time.time() + 60}, "tokens was begun before the forecast was made"),
    ):
        (out / "forecast.json").write_text(json.dumps({**value, **change}))
        found = status(str(out)).forecast
        assert found is not None
        assert said in found.notes
        assert not found.rows
    for wrong in (
        b"{",
        b"[]",
        json.dumps({**value, "corpus": {}}).encode(),
        json.dumps({**value, "format": "x"}).encode(),
    ):
        (out / "forecast.json").write_bytes(wrong)
        seen = status(str(out))
        assert seen.forecast is None
        assert any(fault.startswith("forecast.json: ") for fault in seen.faults)
    (out / "forecast.json").unlink()
    assert status(str(out)).forecast is None


def test_receipts_of_an_output_stand_in_for_the_probe(run: tuple[Path, Answer, set[str]], tmp_path: Path) -> None:
    seen = foretold(small(run[0].parent / "corpus"), tmp_path, source=str(run[0]), hours=10.0, cluster=alike(2, 4, 0))
    stages = {s.stage: s for s in seen.forecast.stages}
    assert all(stages[s].measured.source == "receipts" for s in ("fit", "tokens", "masks", "dataset"))
    receipts = [json.loads(p.read_bytes()) for p in run[0].glob("tokens-*/receipts/*.json")]
    pieces = stages["tokens"].measured.pieces
    took = sorted(p.seconds + (p.waited or 0.0) for p in pieces)
    assert took == pytest.approx(sorted(r["made"]["seconds"] for r in receipts))
    assert seen.forecast.bytes > 0
    assert not any("differ" in note for note in seen.notes)
    other = foretold(
        small(run[0].parent / "corpus", clean={"min_seconds": 0.2}), tmp_path / "other", source=str(run[0])
    )
    assert "clean differ" in other.notes[0]


def test_receipts_that_are_not_there_are_named(run: tuple[Path, Answer, set[str]], tmp_path: Path) -> None:
    with pytest.raises(ForecastError, match=r"--from .*: no run of `speechmill data` has left a plan there"):
        foretold(small(run[0].parent / "corpus"), tmp_path, source=str(tmp_path))
    out = shutil.copytree(run[0], tmp_path / "out")
    shutil.rmtree(next(out.glob("masks-*")))
    (out / "dataset.json").unlink()
    with pytest.raises(ForecastError, match=r"no receipts of masks there.*--rate masks=HOURS"):
        foretold(small(run[0].parent / "corpus"), tmp_path / "new", source=str(out))
    rated = foretold(small(run[0].parent / "corpus"), tmp_path / "new", source=str(out), rates=("masks=500",))
    assert [s.measured.source for s in rated.forecast.stages][-2:] == ["given", "receipts"]


def test_a_rate_that_is_given_is_reckoned_with_and_what_reads_its_tokens_is_measured(
    corpus: Path, tmp_path: Path
) -> None:
    seen = foretold(small(corpus), tmp_path, hours=10.0, rates=("tokens=20",))
    stages = {s.stage: s for s in seen.forecast.stages}
    assert stages["tokens"].worker_hours == pytest.approx(0.5)
    assert stages["tokens"].bytes > 0
    assert stages["masks"].measured.source == "probe"


def test_a_gpu_that_is_not_here_is_not_made_up(
    run: tuple[Path, Answer, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    recipe = small(run[0].parent / "corpus", run={"workers": 2, "stages": {"tokens": {"gpus": 0.5}}})
    with pytest.raises(
        ForecastError, match=r"tokens: its workers ask for a GPU, and this machine has none.*--rate tokens=HOURS"
    ):
        foretold(recipe, tmp_path / "out")
    assert not list(tmp_path.iterdir()), "refused before anything is done"
    measured = shutil.copytree(run[0], tmp_path / "out")  # its corpus is listed already: nobody has to be started
    elsewhere: dict[str, Any] = {"source": str(run[0]), "rates": ("tokens=9", "masks=9")}
    with pytest.raises(ForecastError, match=r"no node of 1 nodes of 4 CPUs and 0 GPUs has that"):
        foretold(recipe, measured, cluster=alike(1, 4, 0), **elsewhere)
    assert foretold(recipe, measured, cluster=alike(1, 4, 1), **elsewhere).forecast.total("gpu_hours") > 0


def test_a_codec_that_is_not_here_is_not_made_up(corpus: Path, tmp_path: Path) -> None:
    recipe = small(corpus, speech={"name": "mimi", "weights": str(tmp_path / "nowhere")})
    with pytest.raises(ForecastError, match=r"nowhere.*--rate tokens=HOURS --rate masks=HOURS") as refusal:
        foretold(recipe, tmp_path / "out")
    assert "\n" not in str(refusal.value)
    seen = foretold(recipe, tmp_path / "out", rates=("tokens=120", "masks=5000"), hours=100.0)
    stages = {s.stage: s for s in seen.forecast.stages}
    assert stages["tokens"].worker_hours == pytest.approx(100 / 120)


def test_a_teacher_is_timed_by_some_steps_and_every_store_is_weighed(tmp_path: Path) -> None:
    training = {"name": "t", "talker": TALKER, "train": {
        "stages": [{"name": "only", "layout": "single_stream", "masks": "bernoulli", "steps": 500}],
        "batch_frames": 100, "precision": "fp32"}}  # fmt: skip
    (tmp_path / "t.yaml").write_text(json.dumps(training))
    corpus = write_corpus(tmp_path / "corpus", 12)
    seen = foretold(small(corpus, teach={"bootstrap": str(tmp_path / "t.yaml"), "views": 1}), tmp_path / "out")
    stages = {s.stage: s for s in seen.forecast.stages}
    assert list(stages) == ["ingest", "plan", "fit", "tokens", "masks", "teacher", "teach", "dataset"]
    assert stages["teacher"].seconds > 0
    weights = stages["teach"].stores
    assert weights["states"] < min(weights["topk"], weights["hidden"])
    assert weights["hidden"] == pytest.approx(stages["teach"].measured.byte_rate * seen.forecast.amount.seconds)
    assert files(tmp_path / "out") == {".lock", "events.jsonl", "cuts", "plan", "forecast.json"}


def test_a_teacher_that_is_named_teaches_what_the_output_was_fitted_on(
    run: tuple[Path, Answer, set[str]], tmp_path: Path
) -> None:
    out, corpus = shutil.copytree(run[0], tmp_path / "out"), run[0].parent / "corpus"
    teacher = make_run(tmp_path / "run", str(out))
    masks = {"block": 4, "sets": {"hierarchical": {"views": 1, "mix": [{"noise": "hierarchical"}]}}}
    seen = foretold(small(corpus, mask=masks, teach={"teacher": str(teacher), "views": 1}), out)
    stages = {s.stage: s for s in seen.forecast.stages}
    assert list(stages)[-2:] == ["teach", "dataset"]
    assert "teacher" not in stages
    assert stages["fit"].measured.source == "receipts"
    assert stages["teach"].seconds > 0


def test_what_a_killed_probe_left_is_swept(corpus: Path, tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}abc"
    left.mkdir()
    (left / "shard.tar").write_bytes(b"left over")
    foretold(small(corpus), tmp_path)
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_an_empty_corpus_has_nothing_to_measure(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("id\taudio\ttext\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="a header alone"):
        foretold(small(tmp_path), tmp_path / "out")


def test_without_its_options_plan_says_what_it_always_said(corpus: Path, tmp_path: Path) -> None:
    sets = [part for value in overrides(corpus, **{"run.workers": 0}) for part in ("--set", value)]
    shown = CliRunner().invoke(cli.app, ["plan", "corpus", "-o", str(tmp_path), "--json", *sets])
    assert set(json.loads(shown.output)) == {"folder", "utterances", "hours", "units", "unit_seconds"}
    assert not (tmp_path / "forecast.json").exists()


def test_the_command_prints_a_table_and_a_sentence_or_json(corpus: Path, tmp_path: Path) -> None:
    sets = [part for value in overrides(corpus, **{"run.workers": 0}) for part in ("--set", value)]
    sets += ["--set", "run.prices={currency: EUR, cpu_hour: 0.05, gb_month: 0.02}"]
    asked = ["plan", "corpus", "-o", str(tmp_path), "--hours", "60", *sets]
    shown = CliRunner().invoke(cli.app, asked, catch_exceptions=False)
    assert shown.exit_code == 0
    for part in (
        "forecast for 60 h",
        "EUR",
        "kept for a month",
        "bottleneck: ",
        "it goes by this:",
        "more of the same",
    ):
        assert part in shown.stdout
    told = json.loads(CliRunner().invoke(cli.app, [*asked, "--json"]).stdout)
    assert told["asked"]["hours"] == 60.0
    assert told["corpus"]["hours"] < 0.1
    assert told["asked"]["money"] > 0
    assert {"stage", "seconds", "low", "high", "bytes", "seconds_per_audio_second"} <= set(told["asked"]["stages"][0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hours", "1", "--filters"], "ask one at a time"),
        (["--hours", "0"], "--hours 0: must be more than nothing"),
        (["--hours", "nan"], "--hours nan: must be more than nothing"),
        (["--probe-minutes", "-1"], "--probe-minutes -1: must be more than nothing"),
        (["--probe-minutes", "1", "--from", "x"], "leave one of them out"),
        (["--cluster", "nowhere.yaml"], "--cluster nowhere.yaml: no such file"),
        (["--cluster", "x", "--nodes", "3"], "leave one of them out"),
        (["--nodes", "3"], "--nodes and --gpus need --cpus"),
        (["--cpus", "0"], "--cpus 0: must be more than nothing"),
        (["--nodes", "-2", "--cpus", "1"], "--nodes -2: must be more than nothing"),
        (["--cpus", "nan"], "--cpus nan: must be more than nothing"),
        (["--cpus", "4", "--gpus", "inf"], "--gpus inf: must be"),
        (["--cpus", "4", "--nodes", "1000000000"], "100,000 at the most"),
        (["--rate", "tokns=3"], "--rate tokns=3: no such stage; did you mean tokens?"),
        (["--rate", "fit=3"], "stages of this recipe that take rates: tokens, masks"),
        (["--rate", "tokens"], "--rate tokens: write STAGE=HOURS"),
        (["--rate", "tokens=-2"], "--rate tokens=-2: write STAGE=HOURS"),
        (["--rate", "tokens=inf"], "--rate tokens=inf: write STAGE=HOURS"),
        (["--from", "nowhere"], "--from nowhere: no run of `speechmill data` has left a plan there"),
        (["--hours", "1", "--set", "run.prices.cpu_hour=-1"], "run.prices.cpu_hour"),
        (["--hours", "1", "--set", "run.prices.cpu=1"], "did you mean run.prices.cpu_hour?"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    options: list[str],
    said: str,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    sets = [part for value in overrides(corpus, **{"run.workers": 0}) for part in ("--set", value)]
    code, error = refused(monkeypatch, capsys, "plan", "corpus", *sets, *options)
    assert code == cli.USAGE
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_prices_decide_no_byte(corpus: Path) -> None:
    dear = small(corpus, run={"workers": 0, "prices": {"cpu_hour": 1.0}})
    assert dear.deciding() == small(corpus).deciding()
    with pytest.raises(RecipeError, match=r"run\.prices\.gb_month"):
        small(corpus, run={"prices": {"gb_month": -1}})


# the sample


def engine(tmp_path: Path, seconds: float = 60.0, **settings: Any) -> TimingEngine:
    stopping = Stopping(0.0)
    return TimingEngine(RunSettings(**settings), QUIET, Events(None), stopping, lambda: None, seconds=seconds)


def toy(tmp_path: Path, units: int, **behaviour: str) -> ToyJob:
    told = {tuple(int(n) for n in place.removeprefix("u").split("_")): how for place, how in behaviour.items()}
    return ToyJob(str(tmp_path / "toy"), tuple(Unit(i, 6, 60.0) for i in range(units)), told)  # pyright: ignore[reportArgumentType]


def test_a_hundredth_is_looked_at_or_what_the_minutes_are_enough_for_and_three_at_least() -> None:
    assert [Sampling().most(units, 2) for units in (1, 10, 400, 12_000)] == [1, 3, 4, 120]
    assert Sampling().most(12_000, 64 * 4) == 256
    assert Sampling(minutes=1.0).most(200, 2) == 200
    assert Sampling(minutes=1.0).most(12_000, 2) == Sampling().most(1_000_000, 2) == MOST
    assert Sampling(minutes=2.0).seconds(stages=4) == 30.0


def test_when_time_is_up_the_fewest_are_done_and_no_more(tmp_path: Path) -> None:
    timing = engine(tmp_path, seconds=0.0, workers=0)
    assert timing.run(toy(tmp_path, 9)) == FEWEST
    assert [u.index for u in timing.timings["toy"].units] == [0, 1, 2]
    assert engine(tmp_path, workers=0).run(toy(tmp_path, 9)) == 6, "those that are done are not done again"


def test_an_error_of_a_stage_ends_the_probe_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="probe: toy: OSError: the disk says no"):
        engine(tmp_path, workers=0).run(toy(tmp_path, 3, u1_5="raise"))


def test_ctrl_c_ends_the_probe(tmp_path: Path) -> None:
    timing = engine(tmp_path, workers=0)
    timing.stopping.ask()
    with pytest.raises(Interrupted, match="nothing is kept of it"):
        timing.run(toy(tmp_path, 3))


def test_a_unit_that_kills_its_process_is_passed_over(tmp_path: Path) -> None:
    timing = engine(tmp_path, cpus_per_worker=float(os.cpu_count() or 1))
    assert timing.run(toy(tmp_path, 3, u1_5="segv")) == 2
    seen = timing.timings["toy"]
    assert (seen.workers, seen.died, sorted(seen.done)) == (1, (1,), [0, 2])
    assert [u.index for u in seen.units] == [0, 1, 2]
