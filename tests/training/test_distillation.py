"""Distillation: one pass of the student against what a frozen teacher said in several."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from manifests.dataset import Dataset
from manifests.recipe_file import RecipeError
from manifests.settings.train import StageSettings
from manifests.training_recipe import TrainingRecipe
from tests.training import tiny
from tests.training.datasets import recipe, utterances, write_dataset
from tests.training.test_trajectory import BLOCK, noised, texts
from training import checkpoint
from training.batches import Batch, Share
from training.course import prepare
from training.decoding.block import BlockDecoder
from training.distributed import Ranks
from training.errors import CheckpointError
from training.gradient import Gradient
from training.loading import built
from training.logs import Silent
from training.losses import cross_entropy, entropy_when_right, forward_kl, of_codes, reverse_kl
from training.objective import asked, loss_of
from training.policies import preset
from training.run import Job, check, train
from training.talker import Talker
from training.taught import Teaching
from training.teacher import context_of
from training.teacher import teacher_of as found_teacher
from training.trainer import Trainer
from training.trajectory import Teacher, Writer, state

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data"), utterances(24))


def stage(**more: Any) -> dict[str, Any]:
    return {"name": "isd", "layout": "two_stream", "masks": "hierarchical", "steps": 2, "loss": "distillation", **more}


def settings(layout: str = "two_stream", **distillation: Any) -> StageSettings:
    return StageSettings(layout=layout, masks="any", steps=1, loss="distillation", distillation=distillation)  # type: ignore[arg-type]


def batch(talker: Talker, **more: Any) -> Batch:
    x, (text_NS, states_N) = noised(talker, **more), texts(3)
    return Batch(("a", "b", "c"), x, text_NS, states_N)


def gradient(talker: Talker, one: Batch, how: StageSettings, teacher: Teaching | None) -> Tensor:
    talker.zero_grad()
    loss_of(talker, talker, one, how, teacher).mean().backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in talker.parameters()])


def teacher_of(talker: Talker, iterations: int, layout: str = "two_stream") -> Teacher:
    own = copy.deepcopy(talker).requires_grad_(False)
    return Teacher(
        own, preset("even"), iterations, context=context_of(StageSettings(layout=layout, masks="any", steps=1))
    )


@pytest.mark.parametrize("kl", ["reverse", "forward"])
@pytest.mark.parametrize("layout", ["two_stream", "single_stream"])
@pytest.mark.parametrize("codebooks", [1, 2])
def test_a_student_that_does_what_its_teacher_does_stays_where_it_is(codebooks: int, layout: str, kl: str) -> None:
    """T26: of one iteration a student that is its teacher has loss 0 and gradient 0."""
    talker = tiny.talker(codebooks)
    one, how = batch(talker), settings(layout, alpha=1.0, kl=kl, floor=-60.0)
    loss = loss_of(talker, talker, one, how, teacher_of(talker, 1, layout)).mean()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient(talker, one, how, teacher_of(talker, 1, layout)).abs().max() < 1e-10
    assert gradient(talker, one, how, teacher_of(talker, 3, layout)).abs().max() > 1e-4, "later iterations know more"


def test_after_a_step_of_distillation_alone_it_still_says_the_same() -> None:
    """T26: of as many iterations as the teacher, in float64 and without decay. The step's epsilon dominates gradients that are rounding."""
    talker = tiny.talker()
    before, one = said(talker), batch(talker)
    optimiser = torch.optim.AdamW(talker.parameters(), lr=1e-3, eps=1e-3, weight_decay=0.0)
    gradient(talker, one, settings(alpha=1.0, floor=-60.0), teacher_of(talker, 1))
    optimiser.step()
    assert torch.equal(said(talker), before)
    gradient(talker, one, settings(alpha=0.0), teacher_of(talker, 1))
    for _ in range(20):
        optimiser.step()
    assert not torch.equal(said(talker), before), "what it says does hang on its weights"


def said(talker: Talker) -> Tensor:
    decoder = BlockDecoder(talker, 3, steps=1)
    text_NS, states_N = texts(3)
    decoder.feed(text_NS, states_N.tolist(), ended=True)
    assert decoder.next() is not None
    assert decoder.before_NBQ is not None
    return decoder.before_NBQ


def test_without_the_teachers_word_it_is_cross_entropy() -> None:
    talker = tiny.talker()
    one, plain = batch(talker), StageSettings(layout="two_stream", masks="any", steps=1)
    found = gradient(talker, one, settings(alpha=0.0), teacher_of(tiny.talker(seed=1), 3))
    torch.testing.assert_close(found, gradient(talker, one, plain, None))


@pytest.mark.parametrize("kl", ["reverse", "forward"])
@pytest.mark.parametrize("layout", ["two_stream", "single_stream"])
def test_each_cell_is_taught_by_the_iteration_that_decided_it(layout: str, kl: str) -> None:
    """The loss, put together cell by cell from the states of the trajectory."""
    talker, other = tiny.talker(), tiny.talker(seed=1)
    one, how = batch(talker), settings(layout, alpha=0.6, kl=kl, tau=1.5)
    teacher = teacher_of(other, 3, layout)
    found = loss_of(talker, talker, one, how, teacher).mean()
    x = one.noised
    trace = teacher.trace(x, one.text_NS, one.states_N)
    own = asked(talker, talker, one, layout, "mean")
    student_PV = talker.logits(own.hidden_PD)[:, 0]
    masked_NCL = (x.masked_NCLQ & x.valid_NL[:, None, :, None])[..., 0]
    teacher_NCLV = torch.zeros(*masked_NCL.shape, other.vocabulary.classes, dtype=torch.float64)
    for step in range(1, 4):
        before = asked(
            other,
            other,
            batch_of(one, state(trace.step_NCLQ, trace.token_NCLQ, step, other.vocabulary.mask)),
            layout,
            "mean",
        )
        logits_NCLV = torch.zeros_like(teacher_NCLV)
        logits_NCLV[masked_NCL] = other.logits(before.hidden_PD)[:, 0].detach()
        now_NCL = (trace.step_NCLQ == step)[..., 0]
        teacher_NCLV[now_NCL] = logits_NCLV[now_NCL]
    divergence = {"reverse": reverse_kl, "forward": forward_kl}[kl]
    apart_P = divergence(student_PV, teacher_NCLV[masked_NCL], tau=1.5, floor=-14.0)
    true_P = cross_entropy(student_PV, own.targets_PQ[:, 0])
    torch.testing.assert_close(found, (0.6 * apart_P + 0.4 * true_P).mean())


@pytest.mark.parametrize("codebooks", [1, 3])
@pytest.mark.parametrize("layout", ["two_stream", "single_stream"])
def test_hard_targets_are_the_codes_that_the_teacher_wrote(layout: str, codebooks: int) -> None:
    """As if they were the true ones: the codes of its trajectory put in their place, and trained on by cross-entropy."""
    talker, one = tiny.talker(codebooks), batch(tiny.talker(codebooks))
    teacher = teacher_of(tiny.talker(codebooks, seed=1), 3, layout)
    how = settings(layout, targets="hard", alpha=0.6)
    own = asked(talker, talker, one, layout, "mean", teacher=Writer(teacher))
    assert own.taught is not None
    logits_PQC, (token_PQ,) = talker.logits(own.hidden_PD), own.taught.inputs
    masked_NCLQ = one.noised.masked_NCLQ & one.noised.valid_NL[:, None, :, None]
    trace = teacher.trace(one.noised, one.text_NS, one.states_N)
    assert torch.equal(token_PQ[own.weight_PQ > 0], trace.token_NCLQ[masked_NCLQ])
    assert not torch.equal(token_PQ, own.targets_PQ), "else nothing is seen here"
    wrote_PQ, true_PQ = (of_codes(cross_entropy, logits_PQC, codes) for codes in (token_PQ, own.targets_PQ))
    loss_PQ = (0.6 * wrote_PQ + 0.4 * true_PQ) * own.weight_PQ
    torch.testing.assert_close(
        loss_of(talker, talker, one, how, Writer(teacher)).mean(), loss_PQ.sum() / own.weight_PQ.sum()
    )


@pytest.mark.parametrize("targets", [None, "soft", "hard"])
def test_certainty_is_added_for_cells_that_are_right(targets: str | None) -> None:
    """dParallel's entropy at temperature 0.5: of true codes, or of those that the teacher wrote where they are the targets."""
    talker, one, who = tiny.talker(), batch(tiny.talker()), None
    how = StageSettings(layout="two_stream", masks="any", steps=1)
    if targets is not None:
        how = settings(targets=targets, alpha=0.6)
        who = (Writer if targets == "hard" else lambda x: x)(teacher_of(tiny.talker(seed=1), 3))
    with torch.no_grad():  # nothing was learned yet: of both kinds of targets some are to be right
        talker.head.bias += 2 * torch.bincount(one.noised.codes_NLQ.flatten(), minlength=len(talker.head.bias))
    own = asked(talker, talker, one, "two_stream", "mean", teacher=who)
    aim_PQ = own.targets_PQ if targets != "hard" or own.taught is None else own.taught.inputs[0]
    entropy_PQ = of_codes(partial(entropy_when_right, tau=0.5), talker.logits(own.hidden_PD), aim_PQ)
    assert (entropy_PQ > 0).any()
    plain, sure = (
        loss_of(talker, talker, one, how.model_copy(update={"certainty": weight}), who) for weight in (0.0, 2.0)
    )
    torch.testing.assert_close(sure.total, plain.total + 2 * (entropy_PQ * own.weight_PQ).sum())
    assert sure.true is not None, "what true codes cost is told beside it"
    torch.testing.assert_close(sure.true, plain.total.detach() if targets is None else plain.true)


def batch_of(one: Batch, ids_NCLQ: Tensor) -> Batch:
    return replace(one, noised=replace(one.noised, ids_NCLQ=ids_NCLQ))


@pytest.mark.parametrize("codebooks", [1, 3])
def test_codebooks_may_have_a_state_each(codebooks: int) -> None:
    talker = tiny.talker(codebooks)
    hidden_PD = torch.randn(5, 32, dtype=torch.float64)
    apart = talker.logits_of_books(hidden_PD[:, None].expand(-1, codebooks, -1))
    torch.testing.assert_close(apart, talker.logits(hidden_PD))


# In a run


def run_in(folder: Path, root: str, made: TrainingRecipe, stops: int | None = None) -> int:
    left = iter(range((stops or 10**6) - 1, -1, -1))
    return train(Job(made, root, str(folder)), Ranks(), lambda: next(left) == 0, Console(quiet=True)).step


def average(folder: Path) -> bytes:
    found = checkpoint.newest(folder)
    assert found is not None
    return (found.path / "average.safetensors").read_bytes()


@pytest.fixture(scope="module")
def first(root: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("first")
    run_in(folder, root, recipe({"layout": "two_stream", "masks": "bernoulli", "steps": 8}, optimiser={"lr": 0.01}))
    return str(folder)


def test_a_run_distils_its_own_start_and_goes_on_with_the_same_bits(root: str, first: str, tmp_path: Path) -> None:
    made = recipe(stage(steps=4, copies=2), start=first, validation={"every": 4})
    assert run_in(tmp_path / "whole", root, made) == 4
    assert run_in(tmp_path / "cut", root, made, stops=2) == 2
    assert run_in(tmp_path / "cut", root, made) == 4
    assert average(tmp_path / "cut") == average(tmp_path / "whole") != average(Path(first))


def test_a_run_of_hard_targets_goes_on_with_the_same_bits(root: str, first: str, tmp_path: Path) -> None:
    """Its recipe comes back from its checkpoint, where all settings are spelled out."""
    made = recipe(stage(steps=4, certainty=2.0, distillation={"targets": "hard"}), start=first, validation={"every": 4})
    assert run_in(tmp_path / "whole", root, made) == 4
    assert run_in(tmp_path / "cut", root, made, stops=2) == 2
    assert run_in(tmp_path / "cut", root, made) == 4
    assert average(tmp_path / "cut") == average(tmp_path / "whole") != average(Path(first))


def test_the_teacher_is_not_trained(root: str, first: str) -> None:
    made = recipe(stage(), start=first, optimiser={"lr": 0.01})
    dataset = Dataset.open(root)
    teacher = found_teacher(made, made.train.stages[0], dataset)
    assert isinstance(teacher, Teacher)
    before = [p.clone() for p in teacher.talker.parameters()]
    student = copy.deepcopy(teacher.talker).requires_grad_(True)
    run = Trainer(
        made, student, prepare(made, dataset, None, Share()), Path("nowhere"), Ranks(), Silent(), {"isd": teacher}
    )
    run.save = lambda: None
    run.run()
    assert all(torch.equal(p, q) for p, q in zip(before, teacher.talker.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(before, student.parameters(), strict=True))


def test_parts_of_a_batch_have_the_gradient_of_the_whole(root: str, first: str) -> None:
    made = recipe(stage(), start=first, batch_frames=96)
    dataset = Dataset.open(root)
    teacher = found_teacher(made, made.train.stages[0], dataset)
    assert isinstance(teacher, Teacher)
    teacher.talker.double()
    sums = []
    for share in (Share(), Share(parts=3)):
        torch.manual_seed(0)
        student = built(made.talker, dataset.description).double()
        total = Gradient(student.parameters())
        for part in prepare(made, dataset, None, share).course[0]:
            total.add(loss_of(student, student, part, made.train.stages[0], teacher), part.noised.valid_NL.sum())
        total.finish(total.sum(Ranks(), False).weight, None)
        sums.append(total.flat.clone())
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (stage(), "distilled, but by nobody: name train.start or its distillation.teacher"),
        (stage(layout="autoregressive", masks=None), "a teacher fills in masks of whole blocks"),
        (stage(block=2, distillation={"teacher": "x"}), "a teacher fills in masks of whole blocks"),
        (
            stage(loss="cross_entropy", distillation={"tau": 1.0}),
            "but its loss is cross_entropy: say loss: distillation",
        ),
        (stage(distillation={"teacher": "x", "kl": "revers"}), "kl"),
        (
            stage(distillation={"targets": "hard", "tau": 1.0, "kl": "forward"}),
            "without probabilities: leave out kl, tau",
        ),
    ],
)
def test_a_stage_that_cannot_be_taught_is_refused(one: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(one)


def test_a_teacher_that_is_not_there_or_does_not_fit_is_refused_before_training(
    root: str, first: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="no/such: no checkpoint"):
        check(Job(recipe(stage(distillation={"teacher": "no/such"})), root, str(tmp_path / "a")))
    with pytest.raises(RecipeError, match=r"distillation\.policy of stage isd: policy 'pmi' needs a prior"):
        check(Job(recipe(stage(distillation={"teacher": first, "policy": "pmi"})), root, str(tmp_path / "c")))
    assert not (tmp_path / "c").exists()
    wider = write_dataset(tmp_path / "data", utterances(24), vocab=12)
    with pytest.raises(CheckpointError, match="trained on another speech tokenizer"):
        check(Job(recipe(stage(distillation={"teacher": first})), wider, str(tmp_path / "b")))
    assert recipe(stage(distillation={"teacher": first})).talker.block == BLOCK
