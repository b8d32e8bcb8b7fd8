"""What was recorded of a teacher teaches as the teacher itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from manifests.dataset import Samples, SideSamples
from manifests.shards import npy
from manifests.shards.reader import ShardError
from manifests.shards.writer import pack
from manifests.storage import Store
from tests.training import tiny
from tests.training.test_distillation import batch, gradient, settings, teacher_of
from training.batches import Batch
from training.losses import top_k
from training.taught import (
    KEPT,
    StoredCodes,
    StoredHidden,
    StoredTargets,
    StoredTopK,
    Targets,
    Teaching,
    collated,
    of_positions,
)
from training.trajectory import Replayed, Teacher, Writer


def recorded(one: Batch, teacher: Teacher, store: str, k: int, tau: float) -> tuple[Batch, Teaching]:
    """The batch with what a store keeps of it, and who reads it."""
    trace = teacher.trace(one.noised, one.text_NS, one.states_N, hidden=True)
    assert trace.hidden_NCLQD is not None
    masked_NCLQ, talker, v = trace.step_NCLQ > 0, teacher.talker, teacher.talker.vocabulary
    hidden_MD = trace.hidden_NCLQD[masked_NCLQ]
    kept: dict[str, Tensor] = {"hidden": hidden_MD}
    if store == "topk":
        logits_MC = talker.logits(hidden_MD)[torch.arange(len(hidden_MD)), masked_NCLQ.nonzero()[:, 3]]
        kept = dict(zip(("ids", "logp"), top_k(logits_MC, k, tau), strict=True))
    head = StoredHidden(talker.head.weight.view(v.codebooks, v.classes, -1), talker.head.bias.view(v.codebooks, -1))
    who = {"states": Replayed(teacher), "hidden": head, "topk": StoredTopK()}[store]
    return replace(one, targets=Targets(trace.step_NCLQ, trace.token_NCLQ, kept)), who


@pytest.mark.parametrize("store", ["states", "hidden", "topk"])
@pytest.mark.parametrize("layout", ["two_stream", "single_stream"])
@pytest.mark.parametrize("codebooks", [1, 3])
@pytest.mark.parametrize("kl", ["reverse", "forward"])
def test_the_three_stores_have_the_gradient_of_the_teacher(store: str, layout: str, codebooks: int, kl: str) -> None:
    """In float64, with all classes kept: nothing but rounding is between them."""
    talker, teacher = tiny.talker(codebooks), teacher_of(tiny.talker(codebooks, seed=1), 3)
    how, one = settings(layout, kl=kl, tau=1.5, floor=-60.0), batch(talker)
    told, who = recorded(one, teacher, store, talker.vocabulary.classes, 1.5)
    torch.testing.assert_close(gradient(talker, told, how, who), gradient(talker, one, how, teacher))


@pytest.mark.parametrize("store", ["states", "hidden", "topk"])
@pytest.mark.parametrize("codebooks", [1, 3])
def test_every_store_has_the_hard_targets(store: str, codebooks: int) -> None:
    """The codes that were written: the teacher does not run again, and no probabilities are read."""
    talker, teacher = tiny.talker(codebooks), teacher_of(tiny.talker(codebooks, seed=1), 3)
    how, one = settings(targets="hard"), batch(talker)
    told, _ = recorded(one, teacher, store, 2, 1.5)
    assert told.targets is not None
    bare = replace(told, targets=replace(told.targets, kept={}))
    wanted = gradient(talker, one, how, Writer(teacher))
    assert torch.equal(gradient(talker, bare, how, StoredCodes()), wanted)
    assert not torch.allclose(gradient(talker, one, settings(), teacher), wanted), "soft ones are others"


def test_few_classes_have_another_gradient() -> None:
    """The student is not told what its teacher thinks of the others."""
    talker, teacher = tiny.talker(), teacher_of(tiny.talker(seed=1), 3)
    how, one = settings(tau=1.5), batch(talker)
    told, who = recorded(one, teacher, "topk", 2, 1.5)
    apart = gradient(talker, told, how, who) - gradient(talker, one, how, teacher)
    assert apart.norm() > 1e-3


def test_cells_find_their_positions_and_codebooks() -> None:
    masked_NCLQ = torch.tensor([[[[True, False], [False, False], [True, True]]]])
    kept_MX = torch.tensor([[1.0], [2.0], [3.0]])
    picked_NR = torch.tensor([[True, False, True]])
    assert of_positions(kept_MX, masked_NCLQ, picked_NR).tolist() == [[[1], [0]], [[2], [3]]]


# What is read

MASKED_CLQ = np.array([[[1], [0], [1], [1]], [[0], [0], [1], [0]]], bool)


def sample(store: str, positions: int = 4) -> dict[str, np.ndarray]:
    """The arrays of an utterance under two views of :data:`MASKED_CLQ`, or of one that was not taught."""
    step_VLQ = MASKED_CLQ[:, :positions].astype(np.uint8)
    cells = int(step_VLQ.sum())
    kept = {
        "ids": np.arange(2 * cells, dtype=np.uint16).reshape(cells, 2), "logp": np.zeros((cells, 2), np.float16),
        "hidden": np.arange(3 * cells, dtype=np.float16).reshape(cells, 3),
    }  # fmt: skip
    core = {"step": step_VLQ, "token": step_VLQ.astype(np.uint16) + 5, "sure": np.zeros(step_VLQ.shape, np.float16)}
    return core | {name: kept[name] for name in KEPT[store]}


def stored(folder: Path, arrays: dict[str, np.ndarray], store: str, codes: bool = False) -> StoredTargets:
    """A dataset's only sample, of key ``one``, as training reads it."""
    packed, place = pack([("one", {f"{name}.npy": npy.dump(x) for name, x in arrays.items()})]), Store(str(folder))
    place.publish("shard-000000.tar", packed.tar)
    place.publish("shard-000000.idx", packed.index)
    shards = [{"name": "shard-000000.tar", "samples": 1}]
    side = SideSamples(place, shards, Samples(place, shards))
    return StoredTargets(side, {"views": 2, "store": store}, codes)


@pytest.mark.parametrize("store", list(KEPT))
def test_views_are_read_with_the_cells_that_are_theirs(store: str, tmp_path: Path) -> None:
    arrays = sample(store)
    targets = stored(tmp_path, arrays, store)
    for views, cells in (((0, 1), slice(0, 4)), ((1,), slice(3, 4)), ((0,), slice(0, 3))):
        found = targets.of(0, MASKED_CLQ[list(views)], views)
        assert set(found) == {"step", "token", *KEPT[store]}
        assert all(np.array_equal(found[name], arrays[name][list(views)]) for name in ("step", "token"))
        assert all(np.array_equal(found[name], arrays[name][cells]) for name in KEPT[store])


@pytest.mark.parametrize(
    ("store", "name"),
    [(store, name) for store, kept in KEPT.items() for name in ("step", "token", *kept)],
)
@pytest.mark.parametrize("change", ["shorter", "longer", "narrower", "flat", "gone"])
def test_arrays_that_are_too_short_or_too_long_are_refused_by_the_utterances_key(
    store: str, name: str, change: str, tmp_path: Path
) -> None:
    """T20: neither filled up, nor cut, nor another cell's."""
    arrays = sample(store)
    x = arrays[name]
    across = x.ndim - 2 if name in ("step", "token") else 0  # positions, or cells
    changed = {
        "shorter": np.delete(x, -1, across), "longer": np.concatenate([x, x.take([-1], across)], across),
        "narrower": x[1:], "flat": x.ravel(),
    }  # fmt: skip
    arrays = {k: v for k, v in arrays.items() if k != name} if change == "gone" else arrays | {name: changed[change]}
    with pytest.raises(ShardError, match=f"{tmp_path}: one: .*{'' if name == 'step' else name}") as found:
        stored(tmp_path, arrays, store).of(0, MASKED_CLQ, (0, 1))
    assert "\n" not in str(found.value)


def test_hard_targets_do_not_ask_for_what_they_do_not_read(tmp_path: Path) -> None:
    arrays = {name: x for name, x in sample("topk").items() if name in ("step", "token")}
    assert set(stored(tmp_path, arrays, "topk", codes=True).of(0, MASKED_CLQ, (0, 1))) == {"step", "token"}


@pytest.mark.parametrize("store", list(KEPT))
def test_an_utterance_that_the_teacher_had_no_positions_for_teaches_nobody(store: str, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="one: the teacher saw other masks, or none for lack of positions"):
        stored(tmp_path, sample(store, positions=0), store).of(0, MASKED_CLQ, (0, 1))


def test_rows_of_unequal_length_lie_side_by_side() -> None:
    def row(length: int, first: int) -> dict[str, Tensor]:
        step = torch.arange(length).view(1, length, 1) % 3
        cells = int((step > 0).sum())
        return {"step": step, "token": step + 5, "hidden": torch.arange(first, first + cells)[:, None]}

    rows = [{name: x.numpy() for name, x in row(*shape).items()} for shape in ((4, 0), (2, 10))]
    found = collated(rows, 4)
    assert found.step_NCLQ[:, 0, :, 0].tolist() == [[0, 1, 2, 0], [0, 1, 0, 0]]
    assert found.token_NCLQ[:, 0, :, 0].tolist() == [[5, 6, 7, 5], [5, 6, 0, 0]]
    assert found.kept["hidden"][:, 0].tolist() == [0, 1, 10]
    assert len(found.kept["hidden"]) == int((found.step_NCLQ > 0).sum())
