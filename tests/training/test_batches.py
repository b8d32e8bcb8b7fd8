"""What a step sees is a pure function of (seed, stage, step): any ranks, parts, loader processes and starting points see the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manifests.dataset import Dataset
from manifests.shards import npy
from manifests.shards.reader import ShardError
from tests.training.datasets import BLOCK, MASKS, VOCAB, recipe, utterances, write_dataset
from training.batches import Batch, Course, Order, Share, collate, cuts
from training.course import prepare
from training.errors import RowsError
from training.noise.grid import Grid
from training.noise.packing import unpack
from training.rows import Reader, Row, lengths
from training.vocabulary import Vocabulary

STAGES = (
    {"name": "one", "layout": "single_stream", "masks": "hierarchical", "steps": 9},
    {"name": "two", "layout": "two_stream", "masks": "pairs", "copies": 2, "steps": 9},
    {"name": "three", "layout": "autoregressive", "steps": 3},
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(write_dataset(tmp_path_factory.mktemp("data"), utterances(40)))


def course(dataset: Dataset, share: Share | None = None, **train: Any) -> Course:
    return prepare(recipe(*STAGES, **train), dataset, None, share or Share()).course


Seen = dict[str, tuple[bytes, ...]]


def seen(parts: Iterator[list[Batch]] | list[list[Batch]]) -> list[Seen]:
    """For each step: by key, every byte that the talker is shown of an utterance, without padding."""
    return [{k: v for batch in step for k, v in _rows(batch)} for step in parts]


def _rows(batch: Batch) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    x = batch.noised
    for i, key in enumerate(batch.keys):
        own, states = int(x.valid_NL[i].sum()), int(batch.states_N[i])
        parts = (x.codes_NLQ[i, :own], x.ids_NCLQ[i, :, :own], x.masked_NCLQ[i, :, :own], batch.text_NS[i, :states])
        yield key, (str(batch.step).encode(), *(part.contiguous().numpy().tobytes() for part in parts))


def test_a_batch_knows_its_step_of_the_stage(dataset: Dataset) -> None:
    steps = [{batch.step for batch in parts} for parts in course(dataset, Share(0, 1, 2)).ahead(0, 0)]
    assert steps == [{step} for length in (9, 9, 3) for step in range(length)]


@pytest.mark.parametrize(("ranks", "parts"), [(1, 3), (1, 4), (2, 1), (2, 2), (4, 1), (4, 4)])
def test_ranks_and_parts_together_see_what_one_sees(dataset: Dataset, ranks: int, parts: int) -> None:
    alone = seen(list(course(dataset).ahead(0, 0)))
    shares = [seen(list(course(dataset, Share(r, ranks, parts)).ahead(0, 0))) for r in range(ranks)]
    for step, whole in enumerate(alone):
        together = [key for share in shares for key in share[step]]
        assert sorted(together) == sorted(whole), "no utterance twice, none left out"
        assert {k: v for share in shares for k, v in share[step].items()} == whole


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("start", "loaders", "parts"), [(0, 4, 4), (5, 2, 1), (9, 2, 1), (13, 4, 1)])
def test_loader_processes_and_a_later_start_see_the_same(
    dataset: Dataset, start: int, loaders: int, parts: int
) -> None:
    """T17."""
    share = Share(parts=parts)
    alone = seen(list(course(dataset, share).ahead(0, 0)))
    assert seen(list(course(dataset, share).ahead(start, 0))) == alone[start:]
    assert seen(list(course(dataset, share).ahead(start, loaders))) == alone[start:]


def test_a_step_far_ahead_is_found_without_those_before_it(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    shuffled = Order._shuffled
    monkeypatch.setattr(Order, "_shuffled", lambda order, epoch: asked.append(epoch) or shuffled(order, epoch))
    order = course(dataset).stages[0].order
    assert order.at(1_000_000 * len(order) + 1)[0] == 1_000_000
    assert asked == [1_000_000]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 3), st.integers(0, 1_000)
)
def test_an_epoch_holds_every_row_once_and_no_batch_is_too_large(
    blocks: list[int], positions: int, epoch: int, seed: int
) -> None:
    rows = np.arange(len(blocks)) * 3
    order = Order(rows, np.array(blocks), BLOCK, positions, seed)
    batches = [order.at(epoch * len(order) + i)[1] for i in range(len(order))]
    assert sorted(np.concatenate(batches).tolist()) == rows.tolist()
    for batch in batches:
        longest = max(blocks[i // 3] for i in batch) * BLOCK
        assert len(batch) == 1 or longest * len(batch) <= positions


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 120))
def test_batches_have_even_numbers_of_rows_where_two_fit(lengths: list[int], positions: int) -> None:
    """So that neither of two ranks waits for the other."""
    rows_R = np.sort(lengths)
    found = cuts(rows_R, positions)
    assert (found[0], found[-1]) == (0, len(rows_R))
    for start, end in pairwise(found):
        assert end - start == 1 or (end - start) % 2 == 0
        fits_more = end + 2 <= len(rows_R) and rows_R[end + 1] * (end + 2 - start) <= positions
        assert not fits_more


def test_epochs_and_stages_and_seeds_have_orders_of_their_own(dataset: Dataset) -> None:
    def order(stage: int, epoch: int, seed: int = 0) -> list[list[int]]:
        one = course(dataset, seed=seed).stages[stage].order
        return [one.at(epoch * len(one) + i)[1].tolist() for i in range(len(one))]

    orders = [order(0, 0), order(0, 1), order(1, 0), order(0, 0, seed=1)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert order(0, 1) == orders[1]


def test_batches_are_of_like_length(dataset: Dataset) -> None:
    whole = course(dataset)
    valid = [part.noised.valid_NL for parts in whole.ahead(0, 0) for part in parts]
    assert sum(int(v.sum()) for v in valid) / sum(v.numel() for v in valid) > 0.9


def test_epochs_go_through_the_views_of_the_set_in_turn(dataset: Dataset) -> None:
    stage = course(dataset).stages[1]
    for epoch, views in enumerate([(0, 1), (2, 3), (0, 1)]):
        row = int(stage.order.rows_R[0])
        batch, sample = stage.batch([row], epoch), dataset[row]
        grid = Grid(len(sample.arrays["speech"]), 1, BLOCK)
        stored = unpack(dataset.masks[row].arrays["pairs"], grid).masked_VLQ[list(views)]
        assert np.array_equal(batch.noised.masked_NCLQ[0].numpy(), stored)


def test_what_is_shown_is_mask_or_another_code_or_the_truth(dataset: Dataset) -> None:
    v, replaced = Vocabulary(VOCAB), 0
    for parts in course(dataset).ahead(0, 0):
        for x in (part.noised for part in parts):
            truth = x.codes_NLQ[:, None].expand_as(x.ids_NCLQ)
            assert torch.equal(x.ids_NCLQ == v.mask, x.masked_NCLQ)
            other = (x.ids_NCLQ != truth) & ~x.masked_NCLQ
            assert (x.ids_NCLQ[other] < VOCAB).all()
            replaced += int(other.sum())
    assert replaced, "the hierarchical set of this dataset replaces codes"


def test_frames_are_followed_by_eos_to_the_end_of_their_block(dataset: Dataset) -> None:
    reader = Reader(dataset, Vocabulary(VOCAB), BLOCK)
    for i in range(len(dataset)):
        row, speech_FQ = reader.clean(i), dataset[i].arrays["speech"]
        assert len(row.codes_LQ) == (len(speech_FQ) // BLOCK + 1) * BLOCK
        assert np.array_equal(row.codes_LQ[: row.frames], speech_FQ)
        assert (row.codes_LQ[row.frames :] == VOCAB).all()
        assert row.text_S[-1] == 1
        assert (row.text_S[:-1] != 1).all()


def test_padding_is_not_valid_and_carries_no_mask() -> None:
    short, long = (
        Row(str(n), n, np.zeros((n, 1), np.int64), np.zeros((2, n, 1), np.int64), np.ones((2, n, 1), np.bool_), np.ones(n, np.int64))
        for n in (4, 8)
    )  # fmt: skip
    batch = collate([short, long], Vocabulary(VOCAB), BLOCK)
    assert batch.noised.valid_NL.tolist() == [[True] * 4 + [False] * 4, [True] * 8]
    assert not batch.noised.masked_NCLQ[0, :, 4:].any()
    assert batch.states_N.tolist() == [4, 8]


def test_what_the_talker_has_no_positions_for_is_left_out_and_counted(dataset: Dataset) -> None:
    short = recipe(*STAGES, talker={"max_frames": 16})
    prepared = prepare(short, dataset, None, Share())
    longer = sum((len(s.arrays["speech"]) // BLOCK + 1) * BLOCK > 16 for s in dataset)
    assert longer
    assert prepared.notes[0] == f"{longer} of 40 utterances are longer than talker.max_frames (16) and are left out"
    assert max(int(blocks) for blocks in prepared.course.stages[0].order.blocks_R) == 4


def test_a_talker_of_given_states_is_refused_a_dataset_without_them(dataset: Dataset) -> None:
    with pytest.raises(RowsError, match=r"talker\.text_width \(6\).*has none.*leave talker\.text_width empty"):
        prepare(recipe(*STAGES, talker={"text_width": 6}), dataset, None, Share())


def test_lengths_are_read_once(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lengths(dataset, tmp_path / "lengths.npy")
    monkeypatch.setattr(Dataset, "__iter__", lambda data: pytest.fail("read again"))
    assert np.array_equal(lengths(dataset, tmp_path / "lengths.npy"), first)
    assert first["split"].tolist().count(b"dev") == 4


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_code_that_the_vocabulary_does_not_have_is_named(tmp_path: Path, loaders: int) -> None:
    codes = utterances(12)
    codes[7][0, 0] = VOCAB
    whole = course(Dataset.open(write_dataset(tmp_path, codes)))
    with pytest.raises(ShardError, match=r"u0007\.speech\.npy.*codes up to 11") as caught:
        list(whole.ahead(0, loaders))
    assert "\n" not in str(caught.value)


def test_masks_of_another_size_are_named(tmp_path: Path) -> None:
    from manifests.shards.writer import pack
    from manifests.storage import Store

    root = write_dataset(tmp_path, utterances(4), dev=0, each=4)
    bad = [(f"u{i:04d}", {"hierarchical.npy": npy.dump(np.zeros((4, 1, 99), np.uint8))}) for i in range(4)]
    packed, masks = pack(bad), Store(root).sub("masks-0")
    masks.publish("shard-000000.tar", packed.tar)
    masks.publish("shard-000000.idx", packed.index)
    with pytest.raises(ShardError, match=r"masks-0: u000\d\.hierarchical\.npy: 99 bytes a plane"):
        course(Dataset.open(root))[0]


def test_the_dataset_of_these_tests_has_the_sets_it_is_thought_to_have(dataset: Dataset) -> None:
    assert set(dataset.description["masks"]["sets"]) == set(MASKS.sets)
