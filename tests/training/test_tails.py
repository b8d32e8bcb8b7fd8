"""Utterances that break off: which, where, and that nothing of their end is learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manifests.dataset import Dataset
from tests.training import tiny
from tests.training.datasets import BLOCK, VOCAB, recipe, utterances, write_dataset
from tests.training.test_batches import Seen, seen
from training.batches import Batch, Course, Share, collate
from training.course import prepare
from training.layout import layout_of
from training.noise.grid import Grid
from training.objective import loss_of
from training.policies import preset
from training.rows import Row
from training.tails import Tails
from training.trajectory import Teacher
from training.vocabulary import Vocabulary

V = Vocabulary(VOCAB)
STAGES = (
    {"name": "one", "layout": "single_stream", "masks": "hierarchical", "steps": 9},
    {"name": "two", "layout": "two_stream", "masks": "pairs", "copies": 2, "steps": 9},
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(write_dataset(tmp_path_factory.mktemp("data"), utterances(40)))


def course(dataset: Dataset, cut_tail: float, share: Share | None = None, seed: int = 0) -> Course:
    stages = [{**stage, "cut_tail": cut_tail} for stage in STAGES]
    return prepare(recipe(*stages, seed=seed), dataset, None, share or Share()).course


def row(frames: int, key: str = "u") -> Row:
    """All masked, its codes its places."""
    length = Grid(frames, 1, BLOCK).positions
    codes_LQ = np.full((length, 1), V.eos)
    codes_LQ[:frames, 0] = np.arange(frames) % VOCAB
    masked_CLQ = np.ones((2, length, 1), np.bool_)
    return Row(key, frames, codes_LQ, np.full((2, length, 1), V.mask), masked_CLQ, np.arange(3))


def positions(batch: Batch) -> dict[str, int]:
    return {key: int(n) for key, n in zip(batch.keys, batch.noised.valid_NL.sum(1), strict=True)}


@given(st.integers(0, 40), st.integers(0, 2**20), st.integers(0, 3), st.integers(0, 9))
def test_some_of_the_last_block_is_left_and_no_end_of_speech(frames: int, seed: int, stage: int, epoch: int) -> None:
    whole = row(frames)
    cut = Tails(1.0, BLOCK, seed, stage).cut(whole, epoch)
    last = frames - frames % BLOCK
    if frames == 0:
        assert cut is whole, "nothing would be left of it"
    elif frames == last:
        assert cut.frames == last, "its last block is EOS alone"
    else:
        assert last < cut.frames <= frames
    if frames:
        assert len(cut.codes_LQ) == cut.ids_CLQ.shape[1] == cut.masked_CLQ.shape[1] == cut.frames
        assert np.array_equal(cut.codes_LQ, whole.codes_LQ[: cut.frames])
    assert (cut.key, cut.text_S.tolist()) == (whole.key, whole.text_S.tolist())


def test_every_frame_of_the_last_block_is_cut_at_alike_often() -> None:
    kept = [Tails(1.0, BLOCK, 0, 0).cut(row(7, f"u{i}"), 0).frames for i in range(3000)]
    counts = np.bincount(kept, minlength=8)
    assert counts[:5].sum() == 0
    assert (abs(counts[5:] / 3000 - 1 / 3) < 0.05).all()


def test_a_share_of_the_utterances_is_cut_others_in_every_epoch_and_stage_and_under_every_seed() -> None:
    rows = [row(7, f"u{i}") for i in range(2000)]

    def cut(share: float, seed: int = 0, stage: int = 0, epoch: int = 0) -> dict[str, int]:
        found = [Tails(share, BLOCK, seed, stage).cut(r, epoch) for r in rows]
        return {r.key: r.frames for r, whole in zip(found, rows, strict=True) if r is not whole}

    one = cut(0.3)
    assert abs(len(one) / 2000 - 0.3) < 0.05
    assert one.items() <= cut(1.0).items(), "a larger share cuts these at the same places, and more"
    assert one == cut(0.3)
    for other in (cut(0.3, seed=1), cut(0.3, stage=1), cut(0.3, epoch=1)):
        assert abs(len(one.keys() & other.keys()) / 2000 - 0.09) < 0.03


def test_a_share_of_nothing_leaves_batches_as_they_are(dataset: Dataset) -> None:
    plain = prepare(recipe(*STAGES), dataset, None, Share()).course
    assert seen(list(course(dataset, 0.0).ahead(0, 0))) == seen(list(plain.ahead(0, 0)))
    assert all(stage.tails is None for stage in course(dataset, 0.0).stages)


def test_utterances_that_are_not_cut_are_as_they_were_and_cut_ones_the_first_part_of_it(dataset: Dataset) -> None:
    whole, some, cut = course(dataset, 0.0), course(dataset, 0.5), 0
    for before, after in zip(whole.ahead(0, 0), some.ahead(0, 0), strict=True):
        (one,), (other,) = before, after
        assert one.keys == other.keys
        assert other.noised.codes_NLQ.shape[1] % BLOCK == 0
        for n, kept in enumerate(positions(other).values()):
            x, y = one.noised, other.noised
            assert kept == int(x.valid_NL[n].sum()) or kept == int(y.frames_N[n])
            assert torch.equal(y.valid_NL[n], torch.arange(y.valid_NL.shape[1]) < kept)
            for name in ("ids_NCLQ", "masked_NCLQ"):
                assert torch.equal(getattr(y, name)[n, :, :kept], getattr(x, name)[n, :, :kept])
            assert torch.equal(y.codes_NLQ[n, :kept], x.codes_NLQ[n, :kept])
            assert not y.masked_NCLQ[n, :, kept:].any()
            cut += kept == int(y.frames_N[n])
        assert torch.equal(one.text_NS, other.text_NS)
    assert cut > 20


@pytest.mark.parametrize("share", [Share(parts=3), Share(0, 2), Share(1, 2, 2)])
def test_any_part_of_a_batch_has_the_cuts_of_the_whole(dataset: Dataset, share: Share) -> None:
    alone, part = (seen(list(course(dataset, 0.5, s).ahead(0, 0))) for s in (Share(), share))
    for whole, some in zip(alone, part, strict=True):
        assert some.items() <= whole.items()


@pytest.mark.parametrize("start", [0, 5, 9])
def test_loader_processes_and_a_later_start_cut_the_same(dataset: Dataset, start: int) -> None:
    alone: list[Seen] = seen(list(course(dataset, 0.5).ahead(0, 0)))
    assert alone != seen(list(course(dataset, 0.5, seed=1).ahead(0, 0)))
    assert seen(list(course(dataset, 0.5).ahead(start, 0))) == alone[start:]
    assert seen(list(course(dataset, 0.5).ahead(start, 2))) == alone[start:]


def cut_batch(dataset: Dataset) -> Batch:
    """One batch of utterances that all break off, everything masked in one of two copies."""
    stage = course(dataset, 1.0).stages[1]
    batch = stage.batch(stage.order.rows_R[:12])
    ids_NCLQ = batch.noised.ids_NCLQ.clone()
    ids_NCLQ[:, 1], masked = V.mask, batch.noised.masked_NCLQ.clone()
    masked[:, 1] = True
    return replace(batch, noised=replace(batch.noised, ids_NCLQ=ids_NCLQ, masked_NCLQ=masked))


@pytest.mark.parametrize("layout", ["two_stream", "single_stream"])
def test_what_is_cut_off_carries_no_loss_and_nobody_sees_it(dataset: Dataset, layout: str) -> None:
    made, batch = tiny.talker(max_frames=24), cut_batch(dataset)
    x, words_NS = batch.noised, batch.text_NS % tiny.WORDS
    rows = layout_of(layout)(x, made.clock, made.vocabulary)
    assert rows.loss_NPQ.any()
    assert not (rows.targets_NPQ[rows.loss_NPQ] == V.eos).any(), "all of them break off"
    assert int(rows.loss_NPQ.reshape(12, 2, -1)[:, 1].sum()) == int(x.frames_N.sum())

    other = replace(x, codes_NLQ=torch.where(x.valid_NL[..., None], x.codes_NLQ, 3),
                    ids_NCLQ=torch.where(x.valid_NL[:, None, :, None], x.ids_NCLQ, 5))  # fmt: skip
    again = len(rows.ids_NTQ) // 12
    text_NS, states_N = words_NS.repeat_interleave(again, 0), batch.states_N.repeat_interleave(again, 0)
    hidden = []
    for noised in (x, other):
        fed = layout_of(layout)(noised, made.clock, made.vocabulary)
        hidden.append(made(fed.ids_NTQ, fed.meta, text_NS, states_N, fed.wanted)[fed.loss_NPQ.any(-1)])
    assert torch.equal(*hidden)


@pytest.mark.parametrize("context", ["clean", "joint"])
def test_a_teacher_beside_the_student_hears_what_the_student_hears(dataset: Dataset, context: str) -> None:
    made, batch = tiny.talker(max_frames=24), cut_batch(dataset)
    batch = replace(batch, text_NS=batch.text_NS % tiny.WORDS)
    teacher = Teacher(made, preset("ending"), 2, context=context)
    trace = teacher.trace(batch.noised, batch.text_NS, batch.states_N)
    carries = batch.noised.masked_NCLQ & batch.noised.valid_NL[:, None, :, None]
    assert torch.equal(trace.step_NCLQ > 0, carries)
    layout = {"clean": "two_stream", "joint": "single_stream"}[context]
    stage = recipe({"layout": layout, "masks": "pairs", "steps": 1, "loss": "distillation", "cut_tail": 1.0}, start="x").train.stages[0]  # fmt: skip
    assert loss_of(made, made, batch, stage, teacher).total.isfinite()


def test_a_batch_of_cut_utterances_is_made_of_whole_blocks() -> None:
    batch = collate([Tails(1.0, BLOCK, 0, 0).cut(row(n, str(n)), 0) for n in (7, 9)], V, BLOCK)
    assert batch.noised.codes_NLQ.shape[1] == 12
    assert batch.noised.valid_NL.sum(1).tolist() == batch.noised.frames_N.tolist()


def test_nobody_is_judged_on_cut_utterances(dataset: Dataset) -> None:
    made = recipe({**STAGES[0], "cut_tail": 1.0}, validation={"every": 1})
    exam = prepare(made, dataset, None, Share()).exam
    assert exam is not None
    for batch in exam._masked["full"]:
        assert (batch.noised.valid_NL.sum(1) > batch.noised.frames_N).all()
