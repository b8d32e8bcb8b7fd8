"""A teacher trained with the dataset, and rounds of distillation: each student teaches the next, and what is finished is not done again."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
import yaml
from rich.console import Console
from typer.testing import CliRunner

from manifests.dataset import Dataset, DatasetError
from manifests.recipe import Recipe, RecipeError, parse
from manifests.settings.run import RunSettings
from manifests.training_recipe import RoundsSettings, TrainingRecipe
from manifests.training_recipe import parse as parse_training
from pipelines import cli, distill
from pipelines.data import Result, opened
from pipelines.distill import Distillation, Round
from pipelines.engine.stopping import Interrupted
from pipelines.repair.repair import repair
from pipelines.train import run as train
from pipelines.verify.verify import verify
from tests.small_corpus import write_corpus
from training.checkpoint import find, save
from training.errors import CheckpointError
from training.loading import load_talker, weights_hash
from training.run import Job

torch.set_num_threads(1)
QUIET = Console(quiet=True)
TALKER = {"layers": 1, "width": 32, "heads": 2, "ffn": 64, "block": 8, "anchors": 4}
SETS = {
    "hard": {"views": 3, "mix": [{"noise": "hierarchical", "full": 0.5}]},
    "soft": {"views": 1, "mix": [{"noise": "bernoulli"}]},
}


def recipe(**train_settings: Any) -> dict[str, Any]:
    return {
        "name": "t", "talker": TALKER,
        "train": {"validation": {"every": 0}, "batch_frames": 200, "precision": "fp32", **train_settings},
    }  # fmt: skip


FIRST = recipe(stages=[{"name": "only", "masks": "soft", "steps": 2}])
ISD = {"name": "isd", "masks": "hard", "steps": 2, "loss": "distillation", "distillation": {"stored": True}}


def student(**more: Any) -> TrainingRecipe:
    return parse_training(recipe(start="teacher", stages=[{**ISD, **more}]))


def make(out: Path | str, corpus: Path, bootstrap: Path, **teach: Any) -> Result:
    made = parse({
        "corpus": {"layout": "table", "root": str(corpus)}, "plan": {"unit_seconds": 6}, "run": {"workers": 0},
        "speech": {"codebook_size": 32, "fit_seconds": 20}, "text": {"vocab_size": 300},
        "mask": {"block": 8, "sets": SETS},
        "teach": {"masks": "hard", "views": 2, "iterations": 3, "bootstrap": str(bootstrap), **teach},
    })  # fmt: skip
    with opened(made, str(out), QUIET) as data:
        return data()


def written(folder: Path, value: dict[str, Any]) -> Path:
    path = folder / "first.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(output with a teacher of its own, corpus, training recipe of the teacher)."""
    folder = tmp_path_factory.mktemp("made")
    corpus, bootstrap = write_corpus(folder / "corpus", 12), written(folder, FIRST)
    make(folder / "out", corpus, bootstrap)
    return folder / "out", corpus, bootstrap


@pytest.fixture
def out(made: tuple[Path, Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "out"))


def taught_by(out: Path) -> str:
    return Dataset.open(str(out)).description["teach"]["teacher"]


def own_teacher(out: Path) -> Path:
    return next(out.glob("teacher-*"))


# A teacher of the dataset's own


def test_where_nobody_is_named_a_teacher_is_trained_first_and_teaches(made: tuple[Path, Path, Path]) -> None:
    out = made[0]
    about = Dataset.open(str(out)).description["teach"]
    assert about["run"] == own_teacher(out).name
    assert about["teacher"] == weights_hash(find(own_teacher(out)))
    assert orjson.loads((own_teacher(out) / "teacher.json").read_bytes())["step"] == 2


def test_verify_teaches_again_with_the_teacher_in_the_output(out: Path) -> None:
    (out / "run.json").unlink()
    verdict = verify(str(out))
    assert verdict.faults == ()
    assert not [note for note in verdict.notes if "taught" in note]


def flipped(teacher: Path) -> None:
    path = next(teacher.glob("checkpoints/*/average.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def torn(teacher: Path) -> None:
    (teacher / "teacher.json").write_bytes((teacher / "teacher.json").read_bytes()[:20])


def emptied(teacher: Path) -> None:
    shutil.rmtree(teacher / "checkpoints")


def exchanged(teacher: Path) -> None:
    """A checkpoint that is whole, but not the one that training ended with."""
    found = find(teacher)
    save(
        teacher,
        found.step,
        {"talker": found.tensors("average"), "average": found.tensors("talker")},
        found.facts,
        keep=1,
    )


@pytest.mark.parametrize(
    ("harm", "where", "described"),
    [
        (flipped, "checkpoints/step-00000002", True),
        (flipped, "checkpoints/step-00000002", False),
        (torn, "teacher.json", True),
        (emptied, "checkpoints", True),
        (exchanged, "checkpoints/step-00000002", True),
    ],
)
def test_a_damaged_teacher_is_found_and_trained_again_and_all_else_stays(
    made: tuple[Path, Path, Path], out: Path, harm: Callable[[Path], None], where: str, described: bool
) -> None:
    harm(own_teacher(out))
    [fault] = verify(str(out)).faults
    assert fault.where.startswith(f"{own_teacher(out).name}/{where}")
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/shard-*")}
    if not described:
        (out / "dataset.json").unlink()
    repaired = repair(str(out), QUIET)
    assert repaired.ok
    assert [part.stage for part in repaired.parts] == ["teacher", *(["dataset.json"] if not described else [])]
    assert weights_hash(find(own_teacher(out))) == taught_by(out) == taught_by(made[0])
    assert (out / "dataset.json").read_bytes() == (made[0] / "dataset.json").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/shard-*")} == times


def test_a_teacher_that_was_taken_away_is_a_note_and_no_fault(out: Path) -> None:
    shutil.rmtree(own_teacher(out))
    verdict = verify(str(out))
    assert verdict.ok
    assert any("nothing was taught again" in note for note in verdict.notes)


def test_again_there_is_nothing_to_do(made: tuple[Path, Path, Path], out: Path) -> None:
    assert make(out, *made[1:]).nothing_to_do


def test_the_same_recipe_gives_the_same_teacher_and_the_same_bytes(
    made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    make(tmp_path / "other", *made[1:])
    for pattern in ("dataset.json", "teach-*/shard-*", "teach-*/head.safetensors"):
        ours, theirs = (
            {p.relative_to(o): p.read_bytes() for p in o.glob(pattern)} for o in (made[0], tmp_path / "other")
        )
        assert ours
        assert ours == theirs


def test_an_interrupted_teacher_is_gone_on_with(
    made: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens and masks are a dataset meanwhile; what comes out in the end is what an undisturbed run gives."""

    def interrupted(*asked: Any) -> None:
        train(*asked)
        raise Interrupted("stopped before the receipt was written")

    monkeypatch.setattr("pipelines.train.run", interrupted)
    with pytest.raises(Interrupted):
        make(tmp_path / "out", *made[1:])
    meanwhile = Dataset.open(str(tmp_path / "out"))
    assert "teach" not in meanwhile.description
    assert [sample.key for sample in meanwhile.masks] == [sample.key for sample in meanwhile]
    monkeypatch.undo()
    assert make(tmp_path / "out", *made[1:]).did["teacher"] == 1
    assert (tmp_path / "out" / "dataset.json").read_bytes() == (made[0] / "dataset.json").read_bytes()


def test_training_starts_from_the_datasets_own_teacher(out: Path, tmp_path: Path) -> None:
    plain = {"name": "only", "masks": "soft", "steps": 1, "lr_scale": 1e-9}
    job = Job(parse_training(recipe(start="teacher", stages=[plain])), str(out), str(tmp_path / "run"))
    train(job, 1, None, QUIET)
    teacher, begun = (load_talker(run)[0].state_dict() for run in (own_teacher(out), tmp_path / "run"))
    assert all(torch.allclose(teacher[name], begun[name], atol=1e-6) for name in teacher)


def test_a_dataset_without_a_teacher_of_its_own_is_named(
    made: tuple[Path, Path, Path], out: Path, tmp_path: Path
) -> None:
    teacher = str(own_teacher(out))
    recorded = orjson.loads((out / "run.json").read_bytes())["recipe"]
    with opened(
        parse({**recorded, "teach": {**recorded["teach"], "bootstrap": None, "teacher": teacher}}), str(out), QUIET
    ) as data:
        data()
    with pytest.raises(DatasetError, match="no teacher was trained with this dataset"):
        train(Job(student(), str(out), str(tmp_path / "run")), 1, None, QUIET)


def test_a_student_of_a_single_stream_needs_words_of_a_teacher_that_saw_as_little(
    made: tuple[Path, Path, Path], out: Path, tmp_path: Path
) -> None:
    """What is recorded behind clean blocks keeps the name it had before there was a choice."""
    job = Job(student(layout="single_stream"), str(out), str(tmp_path / "run"))
    with pytest.raises(
        CheckpointError, match=r"needs a teacher of context joint, and this dataset's saw clean.*teach\.context: joint"
    ):
        train(job, 1, None, QUIET)
    clean = Dataset.open(str(out)).description["folders"]["teach"]
    assert make(out, *made[1:], context="joint").did["teach"] > 0
    assert verify(str(out)).ok
    assert train(job, 1, None, QUIET).finished
    with pytest.raises(CheckpointError, match="needs a teacher of context clean"):
        train(Job(student(), str(out), str(tmp_path / "other")), 1, None, QUIET)
    make(out, *made[1:])
    assert Dataset.open(str(out)).description["folders"]["teach"] == clean


@pytest.mark.parametrize(
    ("change", "said"),
    [({"iterations": 2}, r"begun with teach\.iterations = 3, .* now has 2"), ({}, r"teach\.teacher = ")],
)
def test_a_student_does_not_go_on_with_words_of_another_teacher(
    made: tuple[Path, Path, Path], out: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    job = Job(student(), str(out), str(tmp_path / "run"))
    train(job, 1, None, QUIET)
    assert train(job, 1, None, QUIET).finished
    stranger = written(tmp_path, {**FIRST, "train": {**FIRST["train"], "seed": 5}})
    make(out, made[1], made[2] if change else stranger, **change)
    with pytest.raises(CheckpointError, match=said):
        train(job, 1, None, QUIET)


def test_a_named_teacher_is_not_trained_anew(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    make(tmp_path / "out", *made[1:], teacher=str(own_teacher(made[0])))
    assert not list((tmp_path / "out").glob("teacher-*"))
    assert taught_by(tmp_path / "out") == taught_by(made[0])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            recipe(stages=[{"name": "only", "masks": "none", "steps": 1}]),
            "trains on masks none, and mask has hard, soft",
        ),
        ({**FIRST, "talker": {**TALKER, "block": 4}}, "has blocks of 4, masks have blocks of 8"),
        (recipe(start="runs/demo", stages=[{"name": "only", "masks": "soft", "steps": 1}]), "a first teacher cannot"),
    ],
)
def test_a_teacher_that_could_not_be_trained_is_refused_before_anything_is_done(
    made: tuple[Path, Path, Path], tmp_path: Path, value: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        make(tmp_path / "out", made[1], written(tmp_path, value))
    assert not (tmp_path / "out" / "run.json").exists()


def test_object_storage_has_no_folder_to_train_in(made: tuple[Path, Path, Path]) -> None:
    with pytest.raises(RecipeError, match=r"name it in teach\.teacher"):
        make("memory://out", *made[1:])


# Rounds


def rounds(out: Path, run: Path, count: int, **more: Any) -> list[Round]:
    asked = Distillation(student(distillation={"stored": True, "iterations": 4}), str(out), str(run), count, **more)
    return asked(QUIET, processes=1)


def test_a_round_is_taught_in_the_context_of_its_layout(out: Path, tmp_path: Path) -> None:
    one = student(layout="single_stream", distillation={"stored": True, "iterations": 2})
    assert Distillation(one, str(out), str(tmp_path / "run"), 1)(QUIET, processes=1)[0].iterations == 2
    assert Dataset.open(str(out)).description["teach"]["context"] == "joint"


def test_each_student_teaches_the_next_round_in_half_the_iterations(out: Path, tmp_path: Path) -> None:
    found = rounds(out, tmp_path / "run", 3)
    assert [r.iterations for r in found] == [4, 2, 1]
    assert found[0].teacher == weights_hash(find(own_teacher(out)))
    assert [r.student for r in found[:-1]] == [r.teacher for r in found[1:]]
    assert len({r.student for r in found}) == 3
    about = Dataset.open(str(out)).description["teach"]
    assert (about["teacher"], about["iterations"]) == (found[1].student, 1)
    assert verify(str(out)).faults == ()


def test_iterations_stay_where_they_are_not_to_be_halved(out: Path, tmp_path: Path) -> None:
    assert [r.iterations for r in rounds(out, tmp_path / "run", 2, halve=False)] == [4, 4]


def test_a_rounds_recipe_says_who_taught_it_and_in_how_many_iterations(out: Path, tmp_path: Path) -> None:
    """Else a number that is not the default would contradict the record of the second round."""
    named = {"stored": True, "iterations": 6, "teacher": str(own_teacher(out))}
    asked = Distillation(
        parse_training(recipe(stages=[{**ISD, "distillation": named}])), str(out), str(tmp_path / "run"), 2
    )
    first, second = asked(QUIET, processes=1)
    assert (first.iterations, second.iterations) == (6, 3)
    assert first.teacher == weights_hash(find(own_teacher(out)))
    kept = yaml.safe_load((tmp_path / "run" / "round-2" / "recipe.yaml").read_text())["train"]
    assert kept["start"] == asked.student(1)
    told = kept["stages"][0]["distillation"]
    assert (told["iterations"], told["teacher"]) == (3, None)


@pytest.mark.parametrize("store", ["topk", "hidden"])
def test_likeliest_classes_are_kept_at_the_one_temperature_that_stages_ask_for(
    made: tuple[Path, Path, Path], out: Path, tmp_path: Path, store: str
) -> None:
    """A stage of hard targets asks for none."""
    make(out, *made[1:], store=store)

    def asked(run: str, *taus: float) -> Distillation:
        soft = [{**ISD, "name": f"at-{i}", "distillation": {"stored": True, "tau": tau}} for i, tau in enumerate(taus)]
        hard = {**ISD, "name": "codes", "distillation": {"stored": True, "targets": "hard"}}
        return Distillation(
            parse_training(recipe(start="teacher", stages=[hard, *soft])), str(out), str(tmp_path / run), 1
        )

    assert asked("one", 1.0)(QUIET, processes=1)
    assert Dataset.open(str(out)).description["teach"]["tau"] == 1.0
    if store == "hidden":
        assert asked("two", 1.0, 3.0)(QUIET, processes=1)
    else:
        with pytest.raises(RecipeError, match=r"distillation\.tau 1 and 3: say one, or .* teach\.store=hidden"):
            asked("two", 1.0, 3.0)(QUIET, processes=1)


def test_finished_rounds_are_not_done_again(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rounds(out, tmp_path / "run", 1)
    trained: list[str] = []
    monkeypatch.setattr(distill, "train", lambda job, *rest: (trained.append(Path(job.run).name), train(job, *rest))[1])
    both = rounds(out, tmp_path / "run", 2)
    assert both[0] == first[0]
    assert trained == ["round-2"]


def test_finished_rounds_of_another_recipe_teaching_or_dataset_are_not_taken(
    made: tuple[Path, Path, Path], out: Path, tmp_path: Path
) -> None:
    rounds(out, tmp_path / "run", 2)
    told = {"stored": True, "iterations": 4}
    harder = Distillation(student(distillation=told, steps=3), str(out), str(tmp_path / "run"), 2)
    with pytest.raises(CheckpointError, match="round 1 was done with another recipe: ask for the same again") as found:
        harder(QUIET, processes=1)
    assert "\n" not in str(found.value)
    with pytest.raises(CheckpointError, match="round 2 was done with another teaching"):
        rounds(out, tmp_path / "run", 2, halve=False)
    rounds(out, tmp_path / "run", 1, halve=False)
    description = orjson.loads((out / "dataset.json").read_bytes())
    (out / "dataset.json").write_bytes(orjson.dumps({**description, "masks": {**description["masks"], "seed": 9}}))
    with pytest.raises(CheckpointError, match="round 1 was done with another dataset"):
        rounds(out, tmp_path / "run", 1)


def test_rounds_whose_record_does_not_say_what_was_asked_for_are_taken(out: Path, tmp_path: Path) -> None:
    [one] = rounds(out, tmp_path / "run", 1)
    record = tmp_path / "run" / distill.ROUNDS
    [value] = orjson.loads(record.read_bytes())
    del value["asked"]
    record.write_bytes(orjson.dumps([value]))
    assert rounds(out, tmp_path / "run", 1) == [Round(one.teacher, one.iterations, one.student, one.figures)]


def test_a_killed_round_goes_on_and_ends_the_same(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rounds(Path(shutil.copytree(out, tmp_path / "undisturbed")), tmp_path / "whole", 2)

    def killed(job: Job, *rest: Any) -> None:
        raise KeyboardInterrupt

    for number in (1, 2):
        monkeypatch.setattr(distill, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            rounds(out, tmp_path / "run", number)
        monkeypatch.setattr(distill, "train", train)
        rounds(out, tmp_path / "run", number)
    assert rounds(out, tmp_path / "run", 2) == whole


def test_a_round_with_other_weights_than_its_record_is_refused(out: Path, tmp_path: Path) -> None:
    rounds(out, tmp_path / "run", 1)
    shutil.rmtree(tmp_path / "run" / "round-1")
    shutil.copytree(own_teacher(out), tmp_path / "run" / "round-1")
    with pytest.raises(CheckpointError, match="not the weights that round 1 had"):
        rounds(out, tmp_path / "run", 2)


def told(out: Path, run: Path, count: int, **more: Any) -> str:
    """What the console says of rounds that are taught in 4, 2, 1 iterations."""
    console = Console(file=io.StringIO(), width=400)
    Distillation(student(distillation={"stored": True, "iterations": 4}), str(out), str(run), count, **more)(console, 1)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_round_that_would_teach_nothing_is_told_before_the_first(out: Path, tmp_path: Path) -> None:
    said = told(out, tmp_path / "run", 3)
    assert said.startswith("note: from round 3 on a teacher has one iteration")
    assert "--no-halve" in said
    assert "note:" not in told(out, tmp_path / "run", 3), "what is done already is no news"
    assert "one iteration" not in told(out, tmp_path / "other", 2)


def test_it_teaches_and_trains_where_it_is_told_to_and_not_where_the_dataset_was_made(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = orjson.loads((out / "run.json").read_bytes())
    made["recipe"]["run"] |= {"address": "gone:6379", "stages": {"teach": {"gpus": 1}}}
    (out / "run.json").write_bytes(orjson.dumps(made))
    teaching: list[RunSettings] = []
    training: list[tuple[int | None, str | None]] = []

    def teach(recipe: Recipe, *rest: Any) -> Any:
        teaching.append(recipe.run)
        return opened(recipe.model_copy(update={"run": RunSettings(workers=0)}), *rest)

    def learn(job: Job, processes: int | None, address: str | None, console: Console) -> Any:
        training.append((processes, address))
        return train(job, 1, None, console)

    monkeypatch.setattr(distill, "opened", teach)
    monkeypatch.setattr(distill, "train", learn)
    alone = told(out, tmp_path / "alone", 1)
    (out / "run.json").write_bytes(orjson.dumps(made))
    joined = told(out, tmp_path / "joined", 1, address="here:6379", workers=3)
    assert [(run.address, run.workers) for run in teaching] == [(None, 0), ("here:6379", 3)]
    assert all(run.stages["teach"].gpus == 1 for run in teaching), "what a worker needs is as it was"
    assert training == [(1, None), (1, "here:6379")]
    assert "was made on the Ray cluster at gone:6379; this machine teaches and trains" in alone
    assert "gone:6379" not in joined


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], (3, False, None, None)),
        (["--rounds", "2", "--halve", "--address", "auto", "--workers", "4"], (2, True, "auto", 4)),
    ],
)
def test_rounds_are_the_recipes_unless_the_command_says_otherwise(
    options: list[str], wanted: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Distillation] = []
    monkeypatch.setattr(Distillation, "__call__", lambda self, console, processes: asked.append(self) or [])
    sets = ["--set", "rounds.count=3", "--set", "rounds.halve=false"]
    done = CliRunner().invoke(cli.app, ["distill", "isd", str(tmp_path), *sets, *options])
    assert done.exit_code == 0, done.output
    assert [(one.rounds, one.halve, one.address, one.workers) for one in asked] == [wanted]


def test_how_many_rounds_there_are_does_not_make_it_another_recipe() -> None:
    one = student()
    more = one.model_copy(update={"rounds": RoundsSettings(count=3, halve=False)})
    assert more.deciding() == one.deciding()


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"name": "only", "masks": "hard", "steps": 1}], "taught ahead"),
        ([{**ISD, "distillation": {"stored": False}}], "taught ahead"),
        (
            [{**ISD, "distillation": {"stored": True, "policy": "random"}}],
            "of stage isd: policy 'random' needs random numbers",
        ),
        (
            [ISD, {**ISD, "name": "more", "masks": "soft"}],
            "masks is hard in isd and soft in more: say the same in both",
        ),
        ([ISD, {**ISD, "name": "more", "layout": "single_stream"}], "its layout is clean in isd and joint in more"),
        *(
            (
                [ISD, {**ISD, "name": "more", "distillation": {"stored": True, name: value}}],
                rf"\.{name} is .* {value} in more",
            )
            for name, value in (("policy", "margin"), ("iterations", 2), ("forced", True), ("teacher", "another"))
        ),
    ],
)
def test_a_recipe_that_learns_from_no_one_record_is_refused(
    out: Path, tmp_path: Path, stages: list[dict[str, Any]], said: str
) -> None:
    asked = Distillation(parse_training(recipe(start="teacher", stages=stages)), str(out), str(tmp_path / "run"), 1)
    with pytest.raises(RecipeError, match=said):
        asked(QUIET, processes=1)


def test_somebody_has_to_begin(out: Path, tmp_path: Path) -> None:
    nobody = parse_training(recipe(stages=[ISD]))
    with pytest.raises(RecipeError, match="nobody teaches the first round"):
        Distillation(nobody, str(out), str(tmp_path / "run"), 1)(QUIET)
