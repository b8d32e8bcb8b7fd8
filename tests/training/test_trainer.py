"""The trainer: one gradient however the batch is cut, every strategy runs, every layout learns, a run goes on where it stood."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from manifests.dataset import Dataset
from manifests.settings.mask import (
    BernoulliSettings,
    FullBlockSettings,
    HierarchicalSettings,
    LeftToRightSettings,
    MaskSet,
    MaskSettings,
    NoiseSettings,
)
from manifests.settings.teach import TeachSettings
from manifests.settings.train import MASKED_LAYOUTS
from manifests.training_recipe import TrainingRecipe
from tests.training.chain import chain, left_open, walk
from tests.training.datasets import SETS, VOCAB, recipe, utterances, write_dataset
from training import checkpoint
from training.average import Average
from training.batches import Batch, Share
from training.course import prepare
from training.distributed import Ranks
from training.errors import CheckpointError, Diverged, RowsError
from training.gradient import Gradient
from training.layout import LAYOUTS, Noised
from training.loading import built
from training.logs import LOG, Silent
from training.losses import WEIGHTINGS
from training.noise.views import SCHEMES
from training.objective import OBJECTIVES, loss_of
from training.optimiser import OPTIMISERS
from training.policies import PRESETS, preset, teaching_policy
from training.run import Job, check, train
from training.schedule import SCHEDULES, factor
from training.talker import Talker
from training.teacher import context_of
from training.trainer import Outcome, Trainer
from training.trajectory import Teacher

torch.set_num_threads(1)  # tiny tensors: threads only get in each other's way


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data"), utterances(40))


def stage(layout: str, masks: str | None = None, steps: int = 1, **more: Any) -> dict[str, Any]:
    return {"layout": layout, "masks": masks, "steps": steps, **more}


def run_in(folder: Path, root: str, made: TrainingRecipe, stop: Callable[[], bool] = lambda: False) -> Outcome:
    return train(Job(made, root, str(folder)), Ranks(), stop, Console(quiet=True))


def trainer(root: str, made: TrainingRecipe, folder: Path = Path("nowhere")) -> Trainer:
    dataset = Dataset.open(root)
    torch.manual_seed(made.train.seed)
    prepared = prepare(made, dataset, None, Share(parts=made.train.accumulate))
    return Trainer(made, built(made.talker, dataset.description), prepared, folder, Ranks(), Silent())


# One gradient


def gradient(root: str, made: TrainingRecipe, share: Callable[[int], Share], ranks: int) -> Tensor:
    """The gradient of the first step in float64, its ranks worked through one after the other."""
    dataset = Dataset.open(root)
    torch.manual_seed(0)
    talker = built(made.talker, dataset.description).double()
    total = Gradient(talker.parameters())
    for rank in range(ranks):
        for batch in prepare(made, dataset, None, share(rank)).course[0]:
            total.add(loss_of(talker, talker, batch, made.train.stages[0]), batch.noised.valid_NL.sum())
    total.finish(total.sum(Ranks(), False).weight, None)
    return total.flat.clone()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("one", [stage("two_stream", "hierarchical", copies=2), stage("single_stream", "pairs", copies=2),
                                 stage("autoregressive"), stage("anchored")])  # fmt: skip
def test_parts_and_ranks_have_the_gradient_of_the_whole_batch(root: str, one: dict[str, Any], weighting: str) -> None:
    made = recipe({**one, "weighting": weighting}, batch_frames=96)
    assert len(prepare(made, Dataset.open(root), None, Share()).course.rows(0)) >= 4
    whole = gradient(root, made, lambda rank: Share(), 1)
    assert whole.norm() > 0.01
    accumulated = gradient(root, made, lambda rank: Share(parts=4), 1)
    shared = gradient(root, made, lambda rank: Share(rank, 2), 2)
    both = gradient(root, made, lambda rank: Share(rank, 2, 3), 2)
    for other in (accumulated, shared, both):
        torch.testing.assert_close(other, whole, rtol=1e-9, atol=1e-12)


def some(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch, as they are padded in it."""
    x = batch.noised
    kept = Noised(x.codes_NLQ[rows], x.ids_NCLQ[rows], x.masked_NCLQ[rows], x.valid_NL[rows], x.frames_N[rows])
    return replace(
        batch, keys=batch.keys[rows], noised=kept, text_NS=batch.text_NS[rows], states_N=batch.states_N[rows]
    )


def shown(batch: Batch, rows: slice) -> Batch:
    """The batch with nothing masked in some of its rows."""
    x = batch.noised
    ids_NCLQ, masked_NCLQ = x.ids_NCLQ.clone(), x.masked_NCLQ.clone()
    ids_NCLQ[rows], masked_NCLQ[rows] = x.codes_NLQ[rows, None], False
    return replace(batch, noised=replace(x, ids_NCLQ=ids_NCLQ, masked_NCLQ=masked_NCLQ))


@dataclass(frozen=True)
class Told(Ranks):
    """The first of some ranks, that is told what the others found."""

    others: tuple[Tensor, ...] = ()

    def add(self, tensor: Tensor) -> Tensor:
        for other in self.others:
            tensor += other
        return tensor


def gradient_of_ranks(root: str, made: TrainingRecipe, ranks: list[list[Batch]]) -> tuple[Tensor, float]:
    """The gradient and the loss that ranks come to, each of which has its own parts."""
    found = []
    for parts in ranks:
        torch.manual_seed(0)
        talker = built(made.talker, Dataset.open(root).description).double()
        mine = Gradient(talker.parameters())
        for batch in parts:
            mine.add(loss_of(talker, talker, batch, made.train.stages[0]), batch.noised.valid_NL.sum())
        found.append(mine)
    first, *others = found
    totals = first.sum(Told(size=len(found), others=tuple(other._all for other in others)), False)
    first.finish(totals.weight, None)
    return first.flat, totals.loss


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("one", [stage("two_stream", "hierarchical", copies=2), stage("single_stream", "bernoulli"),
                                 stage("autoregressive")])  # fmt: skip
def test_a_rank_that_has_nothing_to_learn_from_changes_nothing(root: str, one: dict[str, Any], weighting: str) -> None:
    """T11: a rank whose rows show all their codes, or that has no rows, beside one that has masks."""
    made = recipe({**one, "weighting": weighting}, batch_frames=96)
    [batch] = prepare(made, Dataset.open(root), None, Share()).course[0]
    cases: list[tuple[Batch, list[list[Batch]]]] = [(batch, [[batch], []]), (batch, [[], [batch]])]
    if made.train.stages[0].masks is not None:
        quiet = shown(batch, slice(1, None, 2))
        halves = [[some(quiet, slice(first, None, 2))] for first in (0, 1)]
        cases += [(quiet, halves), (quiet, halves[::-1])]
    for whole, ranks in cases:
        (expected, loss), (found, same) = (gradient_of_ranks(root, made, parts) for parts in ([[whole]], ranks))
        assert expected.norm() > 0.01
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert same == pytest.approx(loss)


def test_padding_has_no_part_in_the_gradient(root: str) -> None:
    """Rows one by one, so without any padding, against all rows of all lengths in one batch."""
    made = recipe(stage("two_stream", "bernoulli"), batch_frames=10_000)
    padded = prepare(made, Dataset.open(root), None, Share()).course[0][0].noised.valid_NL
    assert not padded.all()
    alone = gradient(root, made, lambda rank: Share(parts=36), 1)
    torch.testing.assert_close(gradient(root, made, lambda rank: Share(), 1), alone, rtol=1e-9, atol=1e-12)


def test_a_batch_without_a_masked_cell_changes_nothing_and_is_no_fault(tmp_path: Path) -> None:
    """The complement of a mask that covers everything masks nothing."""
    everything = MaskSet(views=2, complementary=True, mix=(BernoulliSettings(tokens=(1.0, 1.0)),))
    root = write_dataset(tmp_path, utterances(8), MaskSettings(block=4, sets={"all": everything}), dev=0)
    made = recipe(stage("two_stream", "all", steps=4), optimiser={"weight_decay": 0.0}, batch_frames=10_000)
    one = trainer(root, made)
    parts = [one.prepared.course[i] for i in range(2)]
    first = one.learn(parts[0])
    one.step = 1
    second = one.learn(parts[1])
    assert (first.weight > 0, second.weight, second.loss) == (True, 0.0, 0.0)
    assert all(p.isfinite().all() for p in one.talker.parameters())


# Every strategy


def test_settings_name_the_strategies_there_are() -> None:
    from typing import get_args

    from manifests.settings.train import (
        AdamWSettings,
        CosineSettings,
        DistillationSettings,
        MuonSettings,
        StageSettings,
        ValidationSettings,
        WsdSettings,
    )

    fields = StageSettings.model_fields
    assert set(get_args(fields["layout"].annotation)) == set(LAYOUTS)
    assert set(get_args(fields["loss"].annotation)) == set(OBJECTIVES)
    assert set(get_args(fields["weighting"].annotation)) == set(WEIGHTINGS)
    assert set(get_args(ValidationSettings.model_fields["layout"].annotation)) == set(MASKED_LAYOUTS)
    one, other = (s.model_fields["policy"] for s in (DistillationSettings, TeachSettings))
    assert (one.default, one.description) == (other.default, other.description)
    named = str(one.description).partition(": ")[2].partition(" or ")[0].split(", ")
    assert {"even", "ending"} <= set(named)
    assert all(teaching_policy(name) == PRESETS[name] for name in named)
    assert {s.model_fields["name"].default for s in (AdamWSettings, MuonSettings)} == set(OPTIMISERS)
    assert {s.model_fields["name"].default for s in (CosineSettings, WsdSettings)} == set(SCHEDULES)


ALONE: tuple[NoiseSettings, ...] = (
    BernoulliSettings(), HierarchicalSettings(), FullBlockSettings(), LeftToRightSettings(replace=(0.1, 0.3)),
)  # fmt: skip
EVERY = {entry.noise: MaskSet(views=2, mix=(entry,)) for entry in ALONE} | {"pairs": SETS["pairs"]}


def matrix() -> list[tuple[str, str | None, str, str, str]]:
    pairs = [(layout, masks) for layout in LAYOUTS for masks in (EVERY if layout in MASKED_LAYOUTS else [None])]
    found = [(*pair, *rest) for pair in pairs for rest in itertools.product(OBJECTIVES, WEIGHTINGS, OPTIMISERS)]
    # A teacher fills in masks; and with which optimiser one learns from it is all the same.
    return [one for one in found if one[2] != "distillation" or (one[1] is not None and one[4] == "adamw")]


def test_every_strategy_is_in_the_matrix() -> None:
    assert set(SCHEMES) < {masks for _, masks, *_ in matrix()}
    for place, names in ((0, LAYOUTS), (2, OBJECTIVES), (3, WEIGHTINGS), (4, OPTIMISERS)):
        assert {one[place] for one in matrix()} == set(names)


@pytest.fixture(scope="module")
def every_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data"), utterances(24), MaskSettings(block=4, sets=EVERY))


@pytest.mark.parametrize(("layout", "masks", "loss", "weighting", "optimiser"), matrix())
def test_every_layout_with_every_mask_set_loss_and_optimiser_runs_a_step(
    every_root: str, layout: str, masks: str | None, loss: str, weighting: str, optimiser: str
) -> None:
    """T30."""
    by_teacher: dict[str, Any] = {"distillation": {"teacher": "another"}} if loss == "distillation" else {}
    one = stage(layout, masks, copies=2 if masks else 1, loss=loss, weighting=weighting, **by_teacher)
    made = recipe(one, optimiser={"name": optimiser}, validation={"every": 1})
    run = trainer(every_root, made)
    if by_teacher:
        teacher = built(made.talker, Dataset.open(every_root).description).eval().requires_grad_(False)
        context = context_of(made.train.stages[0])
        run.teachers = {made.train.stages[0].name: Teacher(teacher, preset("even"), 2, context=context)}
    run.save = lambda: None
    before = [p.clone() for p in run.talker.parameters()]
    outcome = run.run()
    assert all(math.isfinite(value) for value in outcome.figures.values())
    assert outcome.figures
    moved = sum(not torch.equal(a, b) for a, b in zip(before, run.talker.parameters(), strict=True))
    assert moved > len(before) / 2


def test_windows_are_learned_from_and_judged_as_the_stage_says(root: str) -> None:
    ways = (None, {"ahead": 3, "stride": 4}, {"ahead": 2}, {"stride": 3}, {"causal": False})
    found = []
    for windows in ways:
        made = recipe(stage("anchored", windows=windows), validation={"every": 1})
        run, exam = trainer(root, made), trainer(root, made).prepared.exam
        assert exam is not None
        judged = exam.figures(run.talker, made.train.stages[0], Ranks())["dev_frames"]
        found.append((float(gradient(root, made, lambda rank: Share(), 1).norm()), judged))
    assert found[0] == found[1], "as usual"
    for figures in zip(*found, strict=True):
        assert len(set(figures)) == len(ways) - 1


@pytest.mark.parametrize("codebooks", [1, 3])
@pytest.mark.parametrize("conditioning", ["anchors", "prefix", "both", "paced"])
def test_every_conditioning_and_several_codebooks_run(tmp_path: Path, codebooks: int, conditioning: str) -> None:
    root = write_dataset(tmp_path, utterances(12, codebooks=codebooks))
    made = recipe(
        stage("two_stream", "pairs", copies=2), talker={"conditioning": conditioning}, validation={"every": 1}
    )
    run = trainer(root, made)
    run.save = lambda: None
    assert math.isfinite(run.run().figures["dev_full"])


# Learning


@pytest.mark.parametrize("one", [stage("two_stream", "once"), stage("single_stream", "once"), stage("autoregressive"),
                                 stage("anchored")])  # fmt: skip
def test_every_layout_learns_one_batch_by_heart(tmp_path: Path, one: dict[str, Any]) -> None:
    """A row that sees what it should not, or not what it should, shows here (SoundStorm's masking could not do it)."""
    random = np.random.default_rng(0)
    codes = [random.integers(0, VOCAB, (n, 1)).astype(np.uint16) for n in (5, 7, 9, 11)]
    sets = {"once": MaskSet(views=1, mix=(BernoulliSettings(tokens=(0.7, 0.9)),))}
    root = write_dataset(tmp_path, codes, MaskSettings(block=4, sets=sets), dev=0)
    made = recipe(
        {**one, "steps": 200}, batch_frames=1_000, optimiser={"lr": 0.01, "weight_decay": 0.0}, ema=0.0,
        talker={"width": 64, "ffn": 128}, schedule={"warmup": 10},
    )  # fmt: skip
    run = trainer(root, made)
    losses = []
    for parts in run.prepared.course.ahead(0, 0):
        losses.append(run.learn(parts).loss)
        run.step += 1
        if losses[-1] < 0.05:
            break
    assert losses[0] > 1.5
    assert losses[-1] < 0.05


@pytest.mark.parametrize(
    ("layout", "block", "short", "figure"),
    [
        ("autoregressive", 1, None, "dev_frames"),
        ("two_stream", 1, None, "dev_full"),
        ("two_stream", 4, 1, "dev_full_block1"),
        ("two_stream", 4, 2, "dev_full_block2"),
    ],
)
def test_a_markov_chain_is_learned_to_what_it_leaves_open(
    tmp_path: Path, layout: str, block: int, short: int | None, figure: str
) -> None:
    """T35: next-frame prediction, and blocks of one frame, come down to the entropy of the chain; blocks of two to what they cannot know."""
    move, still, rate = chain()
    random, frames = np.random.default_rng(0), 12
    paths = [walk(move, still, frames, random) for _ in range(460)]
    codes = [np.array(p, np.uint16)[:, None] for p in paths]
    masks = MaskSettings(block=block, sets={"all": MaskSet(views=1, mix=(BernoulliSettings(tokens=(1.0, 1.0)),))})
    root = write_dataset(tmp_path, codes, masks, dev=60, each=460, vocab=4)
    one = stage(layout, "all" if layout in MASKED_LAYOUTS else None, steps=160, block=short)
    made = recipe(
        one, batch_frames=400, talker={"block": block, "anchors": 1}, optimiser={"lr": 0.01}, schedule={"warmup": 20}, ema=0.95,
        validation={"every": 160, "shares": {"full": 1.0}},
    )  # fmt: skip
    run = trainer(root, made)
    run.save = lambda: None
    figures = run.run().figures
    nats = figures[figure] * (frames // block + 1) * block / frames  # EOS after the last frame is certain
    costs = {at_once: left_open(move, still, paths[:60], at_once) for at_once in (1, 2)}
    assert costs[1] == pytest.approx((-(still * np.log(still)).sum() + (frames - 1) * rate) / frames, abs=0.05)
    assert costs[1] + 0.1 < costs[2]
    assert -0.01 < nats - costs[short or block] < 0.03, "what the model pays beyond what the chain leaves open"
    assert rate < 0.5 * math.log(4)


# Going on


SPLIT = (
    stage("single_stream", "bernoulli", 5, name="one"),
    stage("two_stream", "hierarchical", 5, name="two", copies=2, lr_scale=0.5),
)


def weights(folder: Path) -> dict[str, bytes]:
    found = checkpoint.newest(folder)
    assert found is not None
    return {p.name: p.read_bytes() for p in sorted(found.path.glob("*.safetensors"))}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("stops", [(1,), (4, 5, 9)])
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    root: str, tmp_path: Path, optimiser: str, stops: tuple[int, ...]
) -> None:
    made = recipe(
        *SPLIT, optimiser={"name": optimiser}, talker={"dropout": 0.2}, ema=0.9, validation={"every": 3}, checkpoint_every=100,
    )  # fmt: skip
    assert run_in(tmp_path / "whole", root, made).finished
    for stop in stops:
        before = checkpoint.newest(tmp_path / "cut")
        left = iter(range(stop - (before.step if before else 0) - 1, -1, -1))
        outcome = run_in(tmp_path / "cut", root, made, lambda left=left: next(left) == 0)
        assert (outcome.step, outcome.finished) == (stop, False)
    assert run_in(tmp_path / "cut", root, made).finished
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    logs = [[json.loads(line) for line in (tmp_path / n / LOG).read_text().splitlines()] for n in ("cut", "whole")]
    told = [[(e["step"], e.get("loss"), e.get("dev_full")) for e in log if "step" in e] for log in logs]
    assert told[0] == told[1]


def test_a_finished_run_has_nothing_to_do(root: str, tmp_path: Path) -> None:
    made = recipe(stage("autoregressive", steps=2))
    first = run_in(tmp_path, root, made)
    assert run_in(tmp_path, root, made) == first


def test_the_log_goes_back_to_the_step_the_run_goes_on_from(root: str, tmp_path: Path) -> None:
    made = recipe(stage("autoregressive", steps=4), checkpoint_every=2, keep=9)
    run_in(tmp_path, root, made)
    (tmp_path / checkpoint.FOLDER / "step-00000004" / "state.json").unlink()
    with (tmp_path / LOG).open("a") as log:
        log.write('{"step": 4, "loss": 1')
    run_in(tmp_path, root, made)
    told = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [e["step"] for e in told if "loss" in e] == [1, 2, 3, 4]
    assert any("damaged checkpoint passed over" in e.get("note", "") for e in told)


def test_weights_of_another_run_are_a_start(root: str, tmp_path: Path) -> None:
    run_in(tmp_path / "first", root, recipe(stage("two_stream", "bernoulli", 3)))
    made = recipe(
        stage("two_stream", "pairs", 1), start=str(tmp_path / "first"), optimiser={"lr": 1e-30, "weight_decay": 0.0}
    )
    run_in(tmp_path / "second", root, made)
    assert weights(tmp_path / "second")["average.safetensors"] == weights(tmp_path / "first")["average.safetensors"]


@pytest.mark.parametrize(
    ("talker", "said"),
    [
        ({"heads": 4}, r"talker of heads 2, the recipe's is of heads 4, another network: set talker\.heads=2"),
        ({"anchors": 4}, r"set talker\.anchors=2, or leave train\.start out"),
        ({"conditioning": "both"}, r"set talker\.conditioning=anchors"),
        ({"width": 64}, r"set talker\.width=32"),
    ],
)
def test_weights_of_another_network_are_no_start_though_their_shapes_agree(
    root: str, tmp_path: Path, talker: dict[str, Any], said: str
) -> None:
    run_in(tmp_path / "first", root, recipe(stage("two_stream", "bernoulli")))
    made = recipe(stage("two_stream", "bernoulli"), start=str(tmp_path / "first"), talker=talker)
    with pytest.raises(CheckpointError, match=said) as caught:
        check(Job(made, root, str(tmp_path / "second")))
    assert "\n" not in str(caught.value)
    free = recipe(
        stage("two_stream", "bernoulli"), start=str(tmp_path / "first"), talker={"dropout": 0.1, "max_frames": 32}
    )
    check(Job(free, root, str(tmp_path / "second")))


@pytest.mark.parametrize(("name", "warmup", "peak"), [("cosine", 30, "10%"), ("cosine", 3, "75%"), ("wsd", 30, None)])
def test_a_run_that_ends_before_it_is_warm_says_so(
    root: str, tmp_path: Path, name: str, warmup: int, peak: str | None
) -> None:
    made = recipe(stage("autoregressive", steps=3), schedule={"name": name, "warmup": warmup})
    notes = check(Job(made, root, str(tmp_path))).notes
    assert [
        note for note in notes if f"train.schedule.warmup ({warmup} steps) is no shorter than the whole run (3)" in note
    ]
    assert peak is None or f"comes to {peak} of its peak at most" in notes[-1]
    run_in(tmp_path, root, made)
    assert notes[-1] in [json.loads(line).get("note") for line in (tmp_path / LOG).read_text().splitlines()]


def test_a_run_that_is_warm_before_it_ends_has_nothing_to_say(root: str, tmp_path: Path) -> None:
    assert check(Job(recipe(stage("autoregressive", steps=3)), root, str(tmp_path))).notes == ()


def test_how_a_run_is_carried_out_may_change_on_the_way(root: str, tmp_path: Path) -> None:
    run_in(tmp_path, root, recipe(stage("autoregressive", steps=3)), lambda: True)
    again = recipe(stage("autoregressive", steps=3), keep=5, accumulate=2, log_every=2, loaders=1)
    assert run_in(tmp_path, root, again).finished


# Refusals


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"optimiser": {"lr": 0.5}},
            r"begun with train\.optimiser\.lr = 0\.0015, the recipe now says 0\.5: choose another -o",
        ),
        ({"talker": {"width": 64}}, r"begun with talker\.width = 32"),
    ],
)
def test_another_recipe_does_not_go_on_with_a_run(root: str, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    run_in(tmp_path, root, recipe(stage("autoregressive", steps=1)))
    with pytest.raises(CheckpointError, match=said):
        check(Job(recipe(stage("autoregressive", steps=1), **change), root, str(tmp_path)))


OTHER = MaskSet(views=4, mix=(BernoulliSettings(tokens=(0.5, 0.6)),))


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (
            MaskSettings(block=4, seed=99, sets=SETS),
            r"begun with masks\.seed = 0, .*data now has 99: make that dataset as",
        ),
        (MaskSettings(block=4, sets={**SETS, "bernoulli": OTHER}), r"begun with masks\.shards = "),
        (MaskSettings(block=4, sets={**SETS, "pairs": SETS["bernoulli"]}), r"begun with masks\.sets\.pairs"),
    ],
)
def test_a_run_does_not_go_on_under_other_masks(tmp_path: Path, masks: MaskSettings, said: str) -> None:
    made = recipe(stage("two_stream", "bernoulli", name="a"), stage("two_stream", "pairs", name="b"))
    codes, data, run = utterances(12), tmp_path / "data", tmp_path / "run"
    root = write_dataset(data, codes)
    run_in(run, root, made, lambda: True)
    check(Job(made, root, str(run)))
    write_dataset(data, codes, masks)
    with pytest.raises(CheckpointError, match=said) as caught:
        check(Job(made, root, str(run)))
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=said):
        run_in(run, root, made)


def test_masks_that_no_stage_uses_and_checkpoints_that_name_none_stand_in_nobodys_way(tmp_path: Path) -> None:
    codes, data = utterances(12), tmp_path / "data"
    root = write_dataset(data, codes)
    frames, masked = recipe(stage("autoregressive", steps=2)), recipe(stage("two_stream", "pairs", steps=2))
    for made, run in ((frames, tmp_path / "frames"), (masked, tmp_path / "masked")):
        run_in(run, root, made, lambda: True)
    [state] = (tmp_path / "masked").glob("checkpoints/*/state.json")
    state.write_text(json.dumps({k: v for k, v in json.loads(state.read_text()).items() if k != "beside"}))
    write_dataset(data, codes, MaskSettings(block=4, seed=99, sets=SETS))
    assert run_in(tmp_path / "frames", root, frames).finished
    assert run_in(tmp_path / "masked", root, masked).finished, "an old checkpoint does not say"


@pytest.mark.parametrize(
    ("one", "talker", "said"),
    [
        (stage("two_stream", "bernouli"), {}, r"masks-0: no mask set bernouli; did you mean bernoulli\?"),
        (stage("two_stream", "xyz"), {}, r"no mask set xyz; it has bernoulli, hierarchical, pairs"),
        (stage("two_stream", "pairs"), {"block": 8}, r"blocks of 4, the talker's are of 8: set talker\.block=4"),
        (stage("autoregressive"), {"max_frames": 16, "block": 16}, r"no utterance in the training split"),
    ],
)
def test_what_does_not_fit_the_dataset_is_refused(
    tmp_path: Path, one: dict[str, Any], talker: dict[str, Any], said: str
) -> None:
    long = [np.zeros((17, 1), np.uint16)] * 6
    root = write_dataset(tmp_path / "data", long)
    with pytest.raises(RowsError, match=said) as caught:
        check(Job(recipe(one, talker=talker), root, str(tmp_path / "run")))
    assert "\n" not in str(caught.value)


def test_a_dataset_without_texts_has_nothing_to_be_spoken(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", utterances(12), texts=False)
    with pytest.raises(RowsError, match=r"has a text to be spoken: see corpus\.layout, or have a recogniser listen"):
        check(Job(recipe(), root, str(tmp_path / "run")))


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_utterances(root: str, tmp_path: Path) -> None:
    made = recipe(stage("two_stream", "bernoulli", 6), checkpoint_every=2)
    run = trainer(root, made, tmp_path)
    learn = run.learn

    def poisoned(parts: list[Any], stop: Any = lambda: False) -> Any:
        if run.step == 4:
            run.talker.head.bias.data[0] = float("nan")
        return learn(parts, stop)

    run.learn = poisoned
    with pytest.raises(
        Diverged, match=r"^step 5: loss nan, gradient norm nan, on the utterances u\d{4}, .*step-00000004"
    ):
        run.run()
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.step == 4
    assert all(t.isfinite().all() for t in found.tensors("talker").values())


# Schedules, averages, clipping


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_rise_to_one_and_fall_to_the_floor(name: str) -> None:
    made = recipe(schedule={"name": name, "warmup": 10, "floor": 0.1}).train.schedule
    rates = [factor(made, step, 100) for step in range(100)]
    assert 0 < rates[0] < 0.2
    assert max(rates) == pytest.approx(1.0)
    assert all(a < b for a, b in itertools.pairwise(rates[:11]))
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.1, abs=0.05)


def test_wsd_is_level_between_rise_and_fall() -> None:
    made = recipe(schedule={"name": "wsd", "warmup": 10, "decay": 0.25}).train.schedule
    assert [factor(made, step, 100) for step in (10, 50, 75)] == [1.0, 1.0, 1.0]
    assert factor(made, 87, 100) == pytest.approx(13 / 25)


def small_talker(root: str) -> Talker:
    return built(recipe().talker, Dataset.open(root).description)


def test_the_average_is_the_weighted_mean_of_what_it_took_in(root: str) -> None:
    talker, decay = small_talker(root), 0.8
    average = Average(talker, decay)
    values = [1.0, 5.0, -3.0, 2.0]
    for step, value in enumerate(values, 1):
        talker.head.bias.data.fill_(value)
        average.update(step)
    shares = [decay ** (len(values) - step) for step in range(1, len(values) + 1)]
    expected = sum(s * v for s, v in zip(shares, values, strict=True)) / sum(shares)
    torch.testing.assert_close(average.talker.head.bias, torch.full_like(talker.head.bias, expected))


def test_without_an_average_the_last_weights_are_it(root: str, tmp_path: Path) -> None:
    run_in(tmp_path, root, recipe(stage("autoregressive", steps=3), ema=0.0))
    found = weights(tmp_path)
    assert found["average.safetensors"] == found["talker.safetensors"]


def test_clipping_cuts_the_norm_and_leaves_the_direction(root: str) -> None:
    made, norms = recipe(stage("two_stream", "bernoulli"), batch_frames=96), []
    flats = []
    for clip in (None, 1e-3):
        talker = small_talker(root).double()
        total = Gradient(talker.parameters())
        for p in talker.parameters():
            assert p.grad is not None
            p.grad.fill_(2.0)
        norms.append(total.finish(4.0, clip))
        flats.append(total.flat)
    assert made.train.clip == 1.0
    assert norms[0] == norms[1] == pytest.approx(math.sqrt(flats[0].numel()) / 2)
    assert float(flats[1].norm()) == pytest.approx(1e-3, rel=1e-3)
    torch.testing.assert_close(flats[1] / flats[1].norm(), flats[0] / flats[0].norm())


@pytest.mark.parametrize(
    ("precision", "units", "halved"),
    [("fp32", True, False), ("bf16", False, False), ("bf16", True, True), ("auto", True, True), ("auto", False, False)],
)
def test_matrices_are_turned_in_bf16_where_layers_are_and_it_is_not_emulated(
    root: str, precision: str, units: bool, halved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.precision.has_bf16_units", lambda device: units)
    turned: list[torch.dtype] = []

    def orthogonal(momentum_KIO: Tensor, numbers: torch.dtype) -> Tensor:
        turned.append(numbers)
        return momentum_KIO

    monkeypatch.setattr("training.muon.orthogonal", orthogonal)
    one = trainer(root, recipe(precision=precision, optimiser={"name": "muon"}))
    one.learn(one.prepared.course[0])
    assert set(turned) == {torch.bfloat16 if halved else torch.float32}
