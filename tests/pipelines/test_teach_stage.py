"""The teach stage: trajectories beside the tokens, renamed by the teacher's weights, and learned from as from the teacher itself."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from rich.console import Console

from manifests.dataset import Dataset, DatasetError
from manifests.fingerprint import canonical, pretty
from manifests.receipt import FileEntry, read_receipt, receipt_name, receipts, shard_stem, write_receipt
from manifests.recipe import RecipeError, parse
from manifests.shards import npy
from manifests.shards.reader import Shard, ShardError
from manifests.shards.writer import pack
from manifests.storage import Store
from manifests.training_recipe import TrainingRecipe
from manifests.training_recipe import parse as parse_training
from pipelines.data import Result, opened
from pipelines.engine.contract import Task
from pipelines.repair.repair import repair
from pipelines.report.captured import captured
from pipelines.report.charts import size
from pipelines.report.collect import collect
from pipelines.report.film import SURE
from pipelines.report.page import build_report
from pipelines.report.teach import HOURS, storage
from pipelines.stages.s80_teach import Tally, TeachError, TeachJob, TeachWorker, ahead
from pipelines.stages.s90_dataset import shard_entry
from pipelines.status import status
from pipelines.subject import Subject
from pipelines.summary import print_summary
from pipelines.summary import taught as summary
from pipelines.verify.verify import verify
from tests.pipelines.test_report import Page
from tests.small_corpus import fingerprints, write_corpus
from training.batches import Share
from training.course import prepare
from training.distributed import Ranks
from training.errors import CheckpointError, RowsError
from training.loading import load_talker
from training.losses import top_k
from training.objective import loss_of
from training.policies import policy_of, preset
from training.run import Job, train
from training.taught import HEAD, StoredCodes
from training.teacher import teacher_of
from training.trajectory import Teacher, state

torch.set_num_threads(1)
BLOCK = 8
TALKER = {"layers": 1, "width": 32, "heads": 2, "ffn": 64, "block": BLOCK, "anchors": 4}
SETS = {
    "hard": {"views": 3, "mix": [{"noise": "hierarchical", "full": 0.5}]},
    "soft": {"views": 1, "mix": [{"noise": "bernoulli"}]},
}
TEACH = {"masks": "hard", "views": 2, "iterations": 3}
Arrays = dict[str, np.ndarray]
Change = Callable[[Arrays], Arrays]


def make(out: Path, corpus: Path, teach: dict[str, Any] | None = None) -> Result:
    recipe = parse({
        "corpus": {"layout": "table", "root": str(corpus)}, "plan": {"unit_seconds": 6}, "run": {"workers": 0},
        "speech": {"codebook_size": 32, "fit_seconds": 20}, "text": {"vocab_size": 300},
        "mask": {"block": BLOCK, "sets": SETS}, **({} if teach is None else {"teach": {**TEACH, **teach}}),
    })  # fmt: skip
    with opened(recipe, str(out), Console(quiet=True)) as data:
        return data()


def training(start: Path | None = None, /, **distillation: Any) -> TrainingRecipe:
    """A recipe of one step: plain, or learning from a teacher. It starts from a run, or from nothing."""
    one: dict[str, Any] = {"name": "only", "layout": "two_stream", "masks": "hard", "copies": 2, "steps": 1}
    more = {} if start is None else {"start": str(start)}
    if distillation:
        one |= {"loss": "distillation", "distillation": distillation}
    return parse_training({
        "name": "t", "talker": TALKER,
        "train": {"stages": [one], "validation": {"every": 0}, "batch_frames": 200, "precision": "fp32", **more},
    })  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(output without teaching, corpus)."""
    folder = tmp_path_factory.mktemp("made")
    corpus = write_corpus(folder / "corpus", 12)
    make(folder / "out", corpus)
    return folder / "out", corpus


@pytest.fixture(scope="module")
def teacher(plain: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "teacher"
    train(Job(training(), str(plain[0]), str(run)), Ranks(), lambda: False, Console(quiet=True))
    return run


@pytest.fixture(scope="module")
def stranger(plain: tuple[Path, Path], teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A talker of the same shape and tokens that taught nobody."""
    run = tmp_path_factory.mktemp("runs") / "stranger"
    train(Job(training(teacher), str(plain[0]), str(run)), Ranks(), lambda: False, Console(quiet=True))
    return run


@pytest.fixture(scope="module")
def taught(plain: tuple[Path, Path], teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An output for each store."""
    made = {}
    for store in ("states", "topk", "hidden"):
        made[store] = Path(shutil.copytree(plain[0], tmp_path_factory.mktemp(store) / "out"))
        make(made[store], plain[1], {"teacher": str(teacher), "store": store, "k": 33})
    return made


# What it makes


def test_it_lies_beside_the_tokens_and_leaves_them_as_they_were(
    plain: tuple[Path, Path], taught: dict[str, Path]
) -> None:
    for out in taught.values():
        data = Dataset.open(str(out))
        assert [s.key for s in data.side("teach")] == [s.key for s in data]
        assert data.description["tokens"] == Dataset.open(str(plain[0])).description["tokens"]
        assert data.description["teach"]["folder"] == data.description["folders"]["teach"]


def test_every_masked_cell_is_decided_once_in_the_teachers_order(taught: dict[str, Path], teacher: Path) -> None:
    """The stored arrays are those of the teacher itself, utterance by utterance."""
    data = Dataset.open(str(taught["hidden"]))
    stage = prepare(training(), data, None, Share()).course.stages[0]
    own = Teacher(load_talker(teacher)[0], preset("even"), 3)
    for i, sample in enumerate(data.side("teach")):
        assert stage.masks is not None
        batch = stage.batch([i])
        trace = own.trace(batch.noised, batch.text_NS, batch.states_N, hidden=True)
        arrays = sample.arrays
        np.testing.assert_array_equal(arrays["step"] > 0, batch.noised.masked_NCLQ[0].numpy())
        np.testing.assert_array_equal(arrays["step"], trace.step_NCLQ[0].numpy())
        np.testing.assert_array_equal(arrays["token"], trace.token_NCLQ[0].numpy())
        np.testing.assert_allclose(arrays["sure"], trace.sure_NCLQ[0].detach().numpy(), atol=0.02)
        assert trace.hidden_NCLQD is not None
        hidden_MD = trace.hidden_NCLQD[0][torch.from_numpy(arrays["step"] > 0)].detach()
        np.testing.assert_allclose(arrays["hidden"], hidden_MD.numpy(), atol=0.01)


def test_a_teacher_decides_by_any_policy_that_looks_at_the_model_alone(
    plain: tuple[Path, Path], teacher: Path, taught: dict[str, Path], tmp_path: Path
) -> None:
    out, policy = Path(shutil.copytree(taught["states"], tmp_path / "out")), "neg_entropy+cosine+min_gap:2"
    make(out, plain[1], {"teacher": str(teacher), "store": "states", "policy": policy})
    data = Dataset.open(str(out))
    assert data.description["teach"]["policy"] == policy
    stage, own = prepare(training(), data, None, Share()).course.stages[0], load_talker(teacher)[0]
    ways = {name: Teacher(own, policy_of(name), 3) for name in ("even", policy)}
    same = dict.fromkeys(ways, True)
    for i, sample in enumerate(data.side("teach")):
        x = stage.batch([i])
        for name, way in ways.items():
            step_VLQ = way.trace(x.noised, x.text_NS, x.states_N).step_NCLQ[0].numpy()
            same[name] &= np.array_equal(sample.arrays["step"], step_VLQ)
    assert same == {"even": False, policy: True}
    live, stored = (training(teacher, policy=policy, iterations=3, **more) for more in ({}, {"stored": True}))
    expected, found = gradient(out, live), gradient(out, stored)
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("iteration", [1, 2, 3])
def test_from_any_recorded_state_the_teacher_goes_on_as_it_did(
    taught: dict[str, Path], teacher: Path, iteration: int
) -> None:
    """T20: rebuilt from the shard and taken to its end, in float32: the same cells in the same iterations, the same codes."""
    data, talker = Dataset.open(str(taught["states"])), load_talker(teacher)[0]
    stage = prepare(training(), data, None, Share()).course.stages[0]
    assert next(talker.parameters()).dtype == torch.float32
    for i, sample in enumerate(data.side("teach")):
        batch = stage.batch([i])
        step, token = (torch.from_numpy(sample.arrays[name].astype(np.int64))[None] for name in ("step", "token"))
        ids = state(step, token, iteration, talker.vocabulary.mask)
        assert torch.equal(ids == talker.vocabulary.mask, step >= iteration)
        shown = replace(batch.noised, ids_NCLQ=ids, masked_NCLQ=step >= iteration)
        rest = Teacher(talker, preset("even"), 3 - iteration + 1).trace(shown, batch.text_NS, batch.states_N)
        decided = torch.where(rest.step_NCLQ > 0, rest.step_NCLQ.long() + iteration - 1, 0)
        assert torch.equal(decided, step.where(step >= iteration, torch.tensor(0)))
        assert torch.equal(rest.token_NCLQ, token)


def test_top_k_keeps_the_likeliest_classes(taught: dict[str, Path]) -> None:
    hidden, kept = (Dataset.open(str(taught[store])) for store in ("hidden", "topk"))
    head = teacher_of(training(stored=True), training(stored=True).train.stages[0], hidden)
    for one, other in zip(hidden.side("teach"), kept.side("teach"), strict=True):
        logits_MC = head.head(torch.from_numpy(one.arrays["hidden"].astype(np.float32))[:, None])[:, 0]  # type: ignore[union-attr]
        _, logp_MK = top_k(logits_MC, 33, 2.0)
        np.testing.assert_allclose(other.arrays["logp"], logp_MK.numpy(), atol=0.02)
        assert other.arrays["ids"].shape == logp_MK.shape


def test_utterances_too_long_for_the_teacher_are_there_and_untaught(plain: tuple[Path, Path], tmp_path: Path) -> None:
    short = training().model_copy(update={"talker": training().talker.model_copy(update={"max_frames": 24})})
    train(Job(short, str(plain[0]), str(tmp_path / "run")), Ranks(), lambda: False, Console(quiet=True))
    out = Path(shutil.copytree(plain[0], tmp_path / "out"))
    make(out, plain[1], {"teacher": str(tmp_path / "run"), "store": "topk"})
    data = Dataset.open(str(out))
    positions = [sample.arrays["step"].shape[1] for sample in data.side("teach")]
    wanted = [len(sample.arrays["speech"]) // BLOCK * BLOCK + BLOCK for sample in data]
    assert positions == [count if count <= 24 else 0 for count in wanted]
    assert {0, 24} <= set(positions)
    assert verify(str(out)).faults == ()


def test_receipts_add_up_the_iterations(taught: dict[str, Path]) -> None:
    data = Dataset.open(str(taught["states"]))
    folder, units = data.description["folders"]["teach"], len(data.description["teach"]["shards"])
    made = list(receipts(data.store.sub(folder), units))
    found = {name: np.sum([receipt.facts[name] for receipt in made], axis=0).tolist() for name in ("cells", "sure")}
    steps = np.concatenate([s.arrays["step"].ravel() for s in data.side("teach")])
    assert found["cells"] == np.bincount(steps, minlength=4).tolist()
    assert found["sure"][0] == 0 > max(found["sure"][1:])


# What is said of it


def test_status_counts_its_units(plain: tuple[Path, Path], taught: dict[str, Path]) -> None:
    assert "teach" not in {stage.stage for stage in status(str(plain[0])).stages}
    (stage,) = (stage for stage in status(str(taught["topk"])).stages if stage.stage == "teach")
    assert stage.done == stage.units == len(Dataset.open(str(taught["topk"])).description["teach"]["shards"])


def test_the_summary_foretells_what_more_hours_take(taught: dict[str, Path]) -> None:
    """100,000 hours of a store take their share of what is there."""
    for store, out in taught.items():
        value = Dataset.open(str(out)).description
        seconds = sum(amounts["seconds"] for amounts in value["splits"].values())
        there = sum(path.stat().st_size for path in out.glob("teach-*/shard-*.tar"))
        said = summary(value)
        assert f"store {store}" in said
        assert said.endswith(f"{size(there * 100_000 * 3600 / seconds)} for 100,000 h")


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (7.46e10, "74.6 GB"), (2e15, "2 PB")]
)
def test_sizes_have_three_figures(count: float, said: str) -> None:
    assert size(count) == said


def page(data: Dataset) -> Page:
    folders = data.description["folders"]
    made = [
        r
        for stage in ("tokens", "masks", "teach")
        if stage in folders
        for r in receipts(data.store.sub(folders[stage]), 100)
    ]
    return Page(build_report(collect(data, made)))


def test_the_page_tells_of_the_teacher_and_of_nobody_where_there_is_none(
    plain: tuple[Path, Path], taught: dict[str, Path]
) -> None:
    assert "Teacher" not in page(Dataset.open(str(plain[0]))).words
    data = Dataset.open(str(taught["topk"]))
    found = page(data)
    assert found.open == []
    assert "Teacher" in found.words
    steps = np.concatenate([s.arrays["step"].ravel() for s in data.side("teach")])
    shares = np.bincount(steps, minlength=4)[1:] / (steps > 0).sum()
    table = found.text[found.text.index("mean log p") :]
    said = [float(x) for x in re.findall(r"\b\d ([\d.]+)% ", table)[:3]]
    assert said == pytest.approx([100 * share for share in shares], abs=0.06)


def test_the_page_shows_codes_as_they_appear_with_their_shades(taught: dict[str, Path]) -> None:
    """Every cell says its code; it needs nothing beside the page, and stays small."""
    data = Dataset.open(str(taught["states"]))
    html = build_report(collect(data, list(receipts(data.store.sub(data.description["folders"]["teach"]), 100))))
    section = html[html.index('<section id="teacher">') :]
    section = section[: section.index("</section>")]
    film = ElementTree.fromstring(section[section.index('<svg class="masks"') : section.index("</svg>") + 6])
    cells = film.findall(".//rect")
    words = [cell.findtext("title") or "" for cell in cells]
    decided = {int(found[1]) for word in words if (found := re.search(r"^\w+: iteration (\d), \d+%", word))}
    assert decided == {1, 2, 3}
    assert [("true is" in word) for word in words] == [cell.get("class") == "wrong" for cell in cells]
    frames = [g for g in film.findall("g") if g.get("class") == "cells told"]
    assert len(frames) == len(film.findall(".//animate")) == 3
    assert {g.get("fill-opacity") for frame in frames for g in frame.findall("g")} <= {str(upper) for upper in SURE}
    assert len(film.findall(".//text")) > len(cells), "codes are written, and blocks numbered"
    legend = [float(x) for x in re.findall(r'class="dot told" style="opacity:([\d.]+)"', section)]
    assert legend == list(SURE)
    assert " ".join(Page(section).text.split()).count("25% 50% 75% 100%") == 1
    assert "http" not in section
    assert len(section) < 200_000


def test_of_likeliest_classes_it_is_told_how_much_they_hold(
    plain: tuple[Path, Path], teacher: Path, taught: dict[str, Path], tmp_path: Path
) -> None:
    """Measured on the shards: all 33 classes hold everything, 2 of them little, and what to do is said."""
    few = Path(shutil.copytree(plain[0], tmp_path / "out"))
    make(few, plain[1], {"teacher": str(teacher), "store": "topk", "k": 2})
    whole, part = (captured(Dataset.open(str(out))) for out in (taught["topk"], few))
    assert whole is not None
    assert part is not None
    assert whole.mean == pytest.approx(1, abs=2e-3)
    assert whole.note is None
    logp = np.concatenate([s.arrays["logp"] for s in Dataset.open(str(few)).side("teach")])
    assert part.cells == len(logp), "twelve utterances are looked at whole"
    assert part.mean == pytest.approx(np.exp(logp.astype(np.float64)).sum(1).mean())
    assert part.note is not None
    assert "larger teach.k" in part.note
    assert f"2 classes hold {part.mean:.1%} of the probability at tau 2" in summary(
        Dataset.open(str(few)).description, part
    )
    told = page(Dataset.open(str(few))).text
    assert f"{part}." in told
    assert part.note[1:] in told
    assert captured(Dataset.open(str(taught["hidden"]))) is None
    assert "classes hold" not in page(Dataset.open(str(taught["hidden"]))).text
    assert f"note: {part.note}" in ended(few, {"teach": 2})
    assert str(part) in ended(few, {"teach": 2})
    assert "classes hold" not in ended(few, {"teach": 0}), "where nothing was done no shard is read"


def ended(out: Path, did: dict[str, int]) -> str:
    """What a run ends with."""
    paper = StringIO()
    print_summary(Result(dict(Dataset.open(str(out)).description), did, 1.0), str(out), Console(file=paper, width=400))
    return paper.getvalue()


def test_what_more_hours_weigh_is_in_proportion(taught: dict[str, Path]) -> None:
    data = Dataset.open(str(taught["hidden"]))
    found = storage(data.description)
    assert found.shards == sum(shard["bytes"] for shard in data.description["teach"]["shards"])
    assert [bytes_ / found.hour for _, bytes_ in found.more] == pytest.approx(HOURS)


# Again


def test_a_rerun_has_nothing_to_do_and_a_lost_shard_comes_back_the_same(
    plain: tuple[Path, Path], teacher: Path, taught: dict[str, Path], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(taught["topk"], tmp_path / "out"))
    again = {"teacher": str(teacher), "store": "topk", "k": 33}
    assert make(out, plain[1], again).nothing_to_do
    before = {p.name: p.read_bytes() for p in out.glob("teach-*/shard-*")}
    store = Store(str(next(out.glob("teach-*"))))
    store.remove(receipt_name(1))
    assert make(out, plain[1], again).did["teach"] == 1
    assert {p.name: p.read_bytes() for p in out.glob("teach-*/shard-*")} == before


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_what_is_made_ahead_comes_in_order_with_what_it_raises(count: int) -> None:
    made, used = [], []

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            yield number
        raise ValueError("the fifth")

    def use_all() -> None:
        for number in ahead(items(), count):
            used.append(number)
            assert len(made) <= len(used) + count

    with pytest.raises(ValueError, match="the fifth"):
        use_all()
    assert used == made == [0, 1, 2, 3]
    assert list(ahead(iter(()), count)) == []


def test_batches_made_ahead_are_taught_the_same(
    taught: dict[str, Path], teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside a GPU, where the next batches are made ready while it works; on a machine that has one, as without."""
    monkeypatch.setattr("pipelines.stages.s80_teach.ahead", lambda items, count: ahead(items, 2 - count))
    subject = Subject.open(str(taught["topk"]))
    settings, description = subject.recipe.teach, dict(Dataset.open(str(taught["topk"])).description)
    assert settings is not None
    named = settings.model_copy(update={"teacher": str(teacher)})
    job = TeachJob(subject.store("teach").root, subject.out.root, description, named, subject.units)
    for unit in subject.units:
        made = job.open().process(Task(unit), lambda _: None)
        assert all(made.files[name] == subject.store("teach").read(name) for name in made.files)
        assert made.files


def test_another_teacher_has_a_folder_of_its_own(
    plain: tuple[Path, Path], teacher: Path, taught: dict[str, Path], tmp_path: Path
) -> None:
    run, out = tmp_path / "run", Path(shutil.copytree(taught["states"], tmp_path / "out"))
    made = training(teacher)
    train(Job(made, str(out), str(run)), Ranks(), lambda: False, Console(quiet=True))
    make(out, plain[1], {"teacher": str(run), "store": "states"})
    one, other = (Dataset.open(str(o)).description["teach"] for o in (taught["states"], out))
    assert one["teacher"] != other["teacher"]
    assert one["folder"] != other["folder"]


def test_where_the_teacher_lies_decides_nothing(
    plain: tuple[Path, Path], teacher: Path, taught: dict[str, Path], tmp_path: Path
) -> None:
    moved, out = shutil.copytree(teacher, tmp_path / "elsewhere"), shutil.copytree(taught["states"], tmp_path / "out")
    assert make(Path(out), plain[1], {"teacher": str(moved), "store": "states", "k": 33}).nothing_to_do


# Learning


@pytest.mark.parametrize("store", ["states", "hidden", "topk"])
def test_what_was_recorded_teaches_as_the_teacher_does(taught: dict[str, Path], teacher: Path, store: str) -> None:
    """One gradient, whoever keeps what: exact from states; of all classes, or of final states, but for rounding to 16 bits."""
    live = training(teacher, iterations=3, alpha=1.0)
    stored = training(teacher, stored=True, alpha=1.0)
    expected, found = gradient(taught[store], live), gradient(taught[store], stored)
    close = {"states": 1e-6, "hidden": 2e-3, "topk": 2e-2}[store]
    assert float((found - expected).norm() / expected.norm()) < close


@pytest.mark.parametrize("store", ["states", "hidden", "topk"])
def test_hard_targets_are_in_every_store_and_no_teacher_is_asked(
    taught: dict[str, Path], teacher: Path, store: str
) -> None:
    live = training(teacher, iterations=3, targets="hard")
    stored = training(teacher, stored=True, targets="hard")
    expected, found = gradient(taught[store], live), gradient(taught[store], stored)
    assert float((found - expected).norm() / expected.norm()) < 1e-6
    alone = training(stored=True, targets="hard", alpha=1.0)  # from nothing, and nobody is named
    assert isinstance(teacher_of(alone, alone.train.stages[0], Dataset.open(str(taught[store]))), StoredCodes)


def gradient(out: Path, recipe: TrainingRecipe) -> torch.Tensor:
    data, stage = Dataset.open(str(out)), recipe.train.stages[0]
    teaching = teacher_of(recipe, stage, data)
    torch.manual_seed(1)
    talker = load_talker(str(recipe.train.start))[0].requires_grad_(True)
    with torch.no_grad():
        talker.head.weight.add_(torch.randn_like(talker.head.weight) * 0.1)  # no longer its teacher
    # views beyond those taught are none of the stored stage's: step 0 sees the first ones in both
    (batch,) = prepare(recipe, data, None, Share()).course[0]
    loss_of(talker, talker, batch, stage, teaching).mean().backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in talker.parameters()])


def test_a_run_learns_from_what_was_recorded(taught: dict[str, Path], teacher: Path, tmp_path: Path) -> None:
    for store, out in taught.items():
        made = training(teacher, stored=True)
        outcome = train(Job(made, str(out), str(tmp_path / store)), Ranks(), lambda: False, Console(quiet=True))
        assert outcome.finished


# Refusals


def test_nobody_cannot_teach_and_nothing_is_touched(plain: tuple[Path, Path], tmp_path: Path) -> None:
    before = (plain[0] / "run.json").read_bytes()
    with pytest.raises(RecipeError, match=r"teach\.teacher names nobody"):
        make(*plain, teach={})
    with pytest.raises(CheckpointError, match="no checkpoint"):
        make(*plain, teach={"teacher": str(tmp_path)})
    for policy, said in {"pmi+cosine": "needs a prior, and a teacher has none", "evne": "there are cosine"}.items():
        with pytest.raises(RecipeError, match=rf"teach\.policy: .*{said}"):
            make(*plain, teach={"teacher": str(tmp_path), "policy": policy})
    assert (plain[0] / "run.json").read_bytes() == before


@pytest.mark.parametrize(("teach", "said"), [({"masks": "none"}, "names none"), ({"views": 4}, "has 3 views, not 4")])
def test_masks_that_are_not_there_cannot_be_taught(plain: tuple[Path, Path], teach: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        make(*plain, teach={"teacher": "anybody", **teach})


def test_a_teacher_of_other_blocks_is_refused(plain: tuple[Path, Path], tmp_path: Path) -> None:
    other = parse_training({
        "name": "ar", "talker": {**TALKER, "block": 4},
        "train": {"stages": [{"name": "only", "layout": "autoregressive", "steps": 1}], "validation": {"every": 0}},
    })  # fmt: skip
    train(Job(other, str(plain[0]), str(tmp_path)), Ranks(), lambda: False, Console(quiet=True))
    with pytest.raises(RowsError, match="blocks of 4 cannot fill in masks of blocks of 8"):
        make(Path(shutil.copytree(plain[0], tmp_path / "out")), plain[1], teach={"teacher": str(tmp_path)})


def test_a_dataset_without_a_teacher_is_named(plain: tuple[Path, Path], teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no teach"):
        train(
            Job(training(teacher, stored=True), str(plain[0]), str(tmp_path)),
            Ranks(),
            lambda: False,
            Console(quiet=True),
        )


@pytest.mark.parametrize("store", ["states", "topk", "hidden"])
@pytest.mark.parametrize("targets", ["soft", "hard"])
def test_another_teacher_than_the_recorded_one_is_refused(
    taught: dict[str, Path], stranger: Path, store: str, targets: str
) -> None:
    """Whatever is read of what was recorded, and though nobody would have to run."""
    made = training(stranger, stored=True, targets=targets, teacher=str(stranger))
    with pytest.raises(
        CheckpointError, match=r"not the teacher whose trajectories were recorded .* name that one or none"
    ):
        teacher_of(made, made.train.stages[0], Dataset.open(str(taught[store])))


def test_states_are_not_replayed_by_another_teacher(taught: dict[str, Path], stranger: Path) -> None:
    """Nobody is named: it would be the one that training starts from."""
    made = training(stranger, stored=True)
    with pytest.raises(CheckpointError, match="not the teacher whose trajectories were recorded"):
        teacher_of(made, made.train.stages[0], Dataset.open(str(taught["states"])))


@pytest.mark.parametrize("store", ["topk", "hidden"])
def test_a_teacher_that_is_gone_is_not_missed_where_it_need_not_run(
    taught: dict[str, Path], teacher: Path, tmp_path: Path, store: str
) -> None:
    gone = training(teacher, stored=True, teacher=str(tmp_path / "gone"))
    assert teacher_of(gone, gone.train.stages[0], Dataset.open(str(taught[store])))
    with pytest.raises(CheckpointError, match="no checkpoint"):
        teacher_of(gone, gone.train.stages[0], Dataset.open(str(taught["states"])))


@pytest.mark.parametrize("store", ["states", "topk", "hidden"])
@pytest.mark.parametrize(
    ("name", "recorded", "other"), [("iterations", 3, 2), ("policy", "even", "margin"), ("forced", False, True)]
)
def test_a_recipe_that_asks_for_other_teaching_than_was_recorded_is_refused(
    taught: dict[str, Path], teacher: Path, store: str, name: str, recorded: Any, other: Any
) -> None:
    data = Dataset.open(str(taught[store]))
    for targets in ("soft", "hard"):
        made = training(teacher, stored=True, targets=targets, **{name: other})
        with pytest.raises(CheckpointError) as found:
            teacher_of(made, made.train.stages[0], data)
        assert str(found.value) == (
            f"stage only: distillation.{name} is {other}, and {taught[store]} was taught with {recorded}: "
            f"leave it out, or make the dataset with teach.{name}={other}"
        )
    for said in ({name: recorded}, {}):  # what was recorded, and the default, which a kept recipe spells out
        made = parse_training(training(teacher, stored=True, **said).model_dump(mode="json"))
        assert teacher_of(made, made.train.stages[0], data)


def test_a_head_that_was_changed_is_refused(taught: dict[str, Path], teacher: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(taught["hidden"], tmp_path / "out"))
    head = next(out.glob("teach-*/head.safetensors"))
    head.write_bytes(head.read_bytes()[:-4] + b"\0\0\0\1")
    made = training(teacher, stored=True)
    with pytest.raises(CheckpointError, match=r"head\.safetensors: not the head"):
        teacher_of(made, made.train.stages[0], Dataset.open(str(out)))


def test_likeliest_classes_of_another_temperature_are_refused(taught: dict[str, Path], teacher: Path) -> None:
    made = training(teacher, stored=True, tau=1.0)
    with pytest.raises(RowsError, match="kept at tau 2, the recipe says 1"):
        prepare(made, Dataset.open(str(taught["topk"])), None, Share())
    hard = training(teacher, stored=True, targets="hard")
    prepare(hard, Dataset.open(str(taught["topk"])), None, Share())


def test_targets_of_other_masks_are_named(taught: dict[str, Path], teacher: Path) -> None:
    data = Dataset.open(str(taught["states"]))
    stage = prepare(training(teacher, stored=True), data, None, Share()).course.stages[0]
    assert stage.targets is not None
    sample = data.side("teach")[0]
    with pytest.raises(ShardError, match=f"{sample.key}: the teacher saw other masks"):
        stage.targets.of(0, sample.arrays["step"] == 0, (0, 1))


def test_an_utterance_that_cannot_be_taught_stops_its_unit(taught: dict[str, Path], teacher: Path) -> None:
    """Side shards hold what the token shards hold: nothing is left out in silence."""
    subject = Subject.open(str(taught["states"]))
    description = dict(Dataset.open(str(taught["states"])).description)
    settings = parse(
        {"corpus": {"layout": "demo"}, "mask": {"sets": SETS}, "teach": {**TEACH, "teacher": str(teacher)}}
    ).teach
    assert settings is not None
    job = TeachJob(subject.store("teach").root, subject.out.root, description, settings, subject.units)
    receipt = read_receipt(subject.store("tokens"), 0)
    assert receipt is not None
    with pytest.raises(TeachError, match=f"teaching '{receipt.outcomes[0].id}' fails"):
        job.open().process(Task(subject.units[0], skip={0: ("crash", "it died")}), lambda _: None)


# Verifying


def faults(out: Path) -> list[str]:
    return [str(fault) for fault in verify(str(out)).faults]


def test_verify_finds_nothing_and_teaches_a_unit_again(
    taught: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[int] = []
    process = TeachWorker.process
    monkeypatch.setattr(TeachWorker, "process", lambda *a: (again.append(a[1].unit.index), process(*a))[1])
    for out in taught.values():
        verdict = verify(str(out))
        assert verdict.faults == ()
        assert not [note for note in verdict.notes if "taught" in note]
    assert len(again) == 3


def test_verify_says_where_the_teacher_is_gone(taught: dict[str, Path], teacher: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(taught["states"], tmp_path / "out"))
    text = (out / "run.json").read_text()
    (out / "run.json").write_text(text.replace(str(teacher), str(tmp_path / "gone")))
    assert any("nothing was taught again" in note for note in verify(str(out)).notes)


def test_verify_names_an_utterance_whose_steps_were_changed(taught: dict[str, Path], tmp_path: Path) -> None:
    """The receipt and dataset.json agree with the shard: only the teacher itself can tell."""
    out = Path(shutil.copytree(taught["states"], tmp_path / "out"))
    for unit in range(len(Dataset.open(str(out)).description["teach"]["shards"])):
        changed(out, exchanged_steps, unit)
    found = faults(out)
    assert any("taught again it differs in step.npy" in fault for fault in found)


def exchanged_steps(arrays: Arrays) -> Arrays:
    """Iterations 1 and 2 change places."""
    step = arrays["step"]
    return {"step": np.where(step == 1, 2, np.where(step == 2, 1, step)).astype(np.uint8)}


def too_late(arrays: Arrays) -> Arrays:
    return {"step": np.where(arrays["step"] == 3, 4, arrays["step"]).astype(np.uint8)}


@pytest.mark.parametrize(
    ("store", "change", "said"),
    [
        ("hidden", lambda a: {"hidden": a["hidden"][:-1]}, r"hidden\.npy is of shape \(\d+, 32\), and \d+ cells were"),
        ("topk", lambda a: {"ids": np.concatenate([a["ids"], a["ids"][:1]])}, r"ids\.npy is of shape .* cells were"),
        ("topk", lambda a: {"logp": a["logp"][:, 1:]}, r"ids\.npy is of shape .*, logp\.npy of"),
        ("states", lambda a: {"token": a["token"][:, :-1]}, r"token\.npy is of shape .*, step\.npy of"),
        ("states", lambda a: {"sure": a["sure"][:1]}, r"sure\.npy is of shape .*, step\.npy of"),
        ("states", lambda a: {"step": a["step"].ravel()}, r"step\.npy is of shape .*, not of 2 views"),
        ("states", lambda a: {"more": a["step"]}, r"has more, step, sure, token"),
        ("states", lambda a: {"step": np.minimum(a["step"], 1)[:, ::-1]}, "not those that were masked"),
        ("states", too_late, "an iteration 4 of 3"),
    ],
)
def test_verify_names_an_utterance_whose_arrays_do_not_belong_together(
    taught: dict[str, Path], tmp_path: Path, store: str, change: Change, said: str
) -> None:
    """Hashes fit, as if it had been written so."""
    out = Path(shutil.copytree(taught[store], tmp_path / "out"))
    key = Dataset.open(str(out)).side("teach")[0].key
    changed(out, change, 0)
    assert any(re.search(rf"shard-000000\.tar: {key}: .*{said}", fault) for fault in faults(out))


def changed(out: Path, change: Change, unit: int) -> None:
    """Some arrays of a unit's first sample are others; hashes are made to fit, and sums where there is something to sum."""
    data = Dataset.open(str(out))
    store = data.store.sub(data.description["teach"]["folder"])
    shard = Shard(store, shard_stem(unit))
    samples, tally = [], Tally.empty(3)
    for i, sample in enumerate(shard):
        arrays = dict(sample.arrays)
        if i == 0:
            arrays |= change(arrays)
        if change is exchanged_steps:
            tally.take(arrays)
        members = {f"{name}.npy": npy.dump(array) for name, array in arrays.items()}
        samples.append((sample.key, {"json": canonical(sample.meta), **members}))
    packed, stem, receipt = pack(samples), shard_stem(unit), read_receipt(store, unit)
    assert receipt is not None
    store.publish(f"{stem}.tar", packed.tar)
    store.publish(f"{stem}.idx", packed.index)
    files = tuple(
        FileEntry(f"{stem}.{end}", len(part), digest)
        for end, part, digest in (("tar", packed.tar, packed.sha256), ("idx", packed.index, packed.index_sha256))
    )
    made = replace(receipt, files=files, facts={**receipt.facts, **tally.to_json()})
    write_receipt(store, made)
    value = dict(data.description)
    value["teach"] = {**value["teach"], "shards": [*value["teach"]["shards"]]}
    value["teach"]["shards"][unit] = shard_entry(made)
    data.store.publish("dataset.json", pretty(value))


def test_verify_finds_damage_by_hash(taught: dict[str, Path], tmp_path: Path) -> None:
    out = Path(shutil.copytree(taught["hidden"], tmp_path / "out"))
    tar = next(out.glob("teach-*/shard-000000.tar"))
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    assert any("shard-000000.tar: its SHA-256" in fault for fault in faults(out))


# What is damaged is made anew


@pytest.mark.parametrize(
    ("stage", "name", "made"),
    [
        ("teach", "shard-000000.tar", ["teach"]),
        ("teach", "receipts/unit-000000.json", ["teach"]),
        ("teach", HEAD, ["teach"]),
        ("masks", "shard-000000.idx", ["masks", "teach"]),
        ("tokens", "shard-000000.tar", ["tokens", "masks", "teach"]),
    ],
)
def test_what_was_taught_is_made_anew_with_what_it_was_taught_of(
    stage: str, name: str, made: list[str], taught: dict[str, Path], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(taught["hidden"], tmp_path / "out"))
    path = next(out.glob(f"{stage}-*")) / name
    path.write_bytes(path.read_bytes()[:-700])
    done = repair(str(out), Console(quiet=True), reencode=1)
    assert done.ok
    assert done.verdict is not None
    assert not done.verdict.faults
    assert [part.stage for part in done.parts if part.stage != "dataset.json"] == made
    assert fingerprints(out) == fingerprints(taught["hidden"])
