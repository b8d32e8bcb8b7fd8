"""Talkers that are told given text states instead of ids: read as they lie beside the tokens, trained on, resumed, decoded from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from manifests.dataset import Dataset
from manifests.fingerprint import pretty
from tests.training.datasets import BLOCK, recipe, utterances, write_dataset
from training import checkpoint
from training.batches import Batch, Share
from training.course import Prepared, prepare
from training.decoding.protocol import decode_all, joined, stream
from training.decoding.registry import open_decoder
from training.distributed import Ranks
from training.errors import CheckpointError, RowsError
from training.loading import load_talker
from training.pace import measured
from training.rows import lengths
from training.run import Job, check, train

WIDTH = 6
GIVEN = {"text_width": WIDTH}
LACKING = [6, 13, 20, 27]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data"), utterances(30), states=WIDTH)


def prepared(root: str, *stages: dict[str, Any], **train: Any) -> Prepared:
    return prepare(recipe(*stages, talker=GIVEN, **train), Dataset.open(root), None, Share())


def batches(found: Prepared) -> list[Batch]:
    return [batch for step in range(len(found.course)) for batch in found.course[step]]


def test_a_batch_has_the_states_that_lie_beside_the_tokens_padded(root: str) -> None:
    side = {sample.key: sample.arrays["states"] for sample in Dataset.open(root).states if "states" in sample.arrays}
    seen, ragged = set[str](), False
    for batch in batches(prepared(root)):
        assert batch.text_NS.dtype == torch.float32
        assert batch.text_NS.shape == (len(batch), int(batch.states_N.max()), WIDTH)
        ragged = ragged or len(set(batch.states_N.tolist())) > 1
        for key, text_SW, count in zip(batch.keys, batch.text_NS, batch.states_N.tolist(), strict=True):
            np.testing.assert_array_equal(text_SW[:count].numpy(), side[key].astype(np.float32))
            assert not text_SW[count:].any()
            seen.add(key)
    assert ragged
    assert len(seen) > 10


def test_utterances_without_states_are_left_out_and_counted(root: str) -> None:
    found = prepared(root, validation={"every": 1, "split": "dev"})
    assert found.notes == ("4 of 30 utterances have no text states and are left out",)
    rows = set(found.course.stages[0].order.rows_R.tolist())
    assert rows == set(range(4, 30)) - set(LACKING)


def test_texts_are_as_long_as_they_have_states_and_kept_lengths_are_not_mixed_up(root: str, tmp_path: Path) -> None:
    dataset = Dataset.open(root)
    tokens, states = lengths(dataset)["text"].tolist(), [sample.meta["states"] for sample in dataset.states]
    assert tokens != states
    for _ in range(2):
        for talker, wanted in (({}, tokens), (GIVEN, states)):
            prepare(recipe(talker=talker), dataset, tmp_path, Share())
            [kept] = [p for p in tmp_path.iterdir() if ("-" in p.stem.removeprefix("lengths-")) == bool(talker)]
            assert lengths(dataset, kept)["text"].tolist() == wanted


def test_a_dataset_of_another_width_is_refused(root: str) -> None:
    made = recipe(talker={"text_width": 8})
    with pytest.raises(RowsError, match=r"states are of width 6, the talker's of 8: set talker\.text_width=6"):
        prepare(made, Dataset.open(root), None, Share())


def test_states_that_are_not_asked_for_change_nothing(root: str, tmp_path: Path) -> None:
    plain = write_dataset(tmp_path, utterances(30))
    one, other = (prepare(recipe(), Dataset.open(place), None, Share()) for place in (root, plain))
    assert one.beside == other.beside
    for a, b in zip(batches(one), batches(other), strict=True):
        assert torch.equal(a.text_NS, b.text_NS)


def test_a_dataset_whose_training_split_has_none_is_refused(tmp_path: Path) -> None:
    lacking = Dataset.open(write_dataset(tmp_path, utterances(7), dev=6, states=WIDTH))
    with pytest.raises(
        RowsError, match=r"no utterance in the training split that fits talker\.max_frames and has text states"
    ):
        prepare(recipe(talker=GIVEN), lacking, None, Share())


@pytest.mark.parametrize("conditioning", ["prefix", "paced"])
def test_a_stopped_run_goes_on_bit_for_bit(conditioning: str, root: str, tmp_path: Path) -> None:
    made = recipe(
        {"layout": "two_stream", "masks": "bernoulli", "steps": 4},
        talker={**GIVEN, "conditioning": conditioning},
        checkpoint_every=2,
        validation={"every": 2},
    )
    whole, parts = (Job(made, root, str(tmp_path / name)) for name in ("whole", "parts"))
    check(whole)
    assert train(whole, Ranks(), lambda: False, Console(quiet=True)).step == 4
    looks = iter([False, False, True])
    train(parts, Ranks(), lambda: next(looks, True), Console(quiet=True))
    stopped = checkpoint.find(parts.folder)
    assert 0 < stopped.step < 4
    assert train(parts, Ranks(), lambda: False, Console(quiet=True)).step == 4
    one, other = (checkpoint.find(job.folder).tensors("talker") for job in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_does_not_go_on_with_other_states(root: str, tmp_path: Path) -> None:
    made, run = recipe(talker=GIVEN), str(tmp_path / "run")
    train(Job(made, root, run), Ranks(), lambda: False, Console(quiet=True))
    other = tmp_path / "other" / "dataset.json"
    said = Dataset.open(write_dataset(other.parent, utterances(30), states=WIDTH)).description
    shards = [{**shard, "sha256": "0" * 64} for shard in said["states"]["shards"]]
    other.write_bytes(pretty({**said, "states": {**said["states"], "shards": shards}}))
    with pytest.raises(CheckpointError, match=r"begun with states\.shards"):
        check(Job(made, str(other.parent), run))


@pytest.mark.parametrize("kind", ["block", "autoregressive"])
@pytest.mark.parametrize("conditioning", ["anchors", "paced"])
def test_a_trained_talker_says_in_a_stream_what_it_says_at_once(
    conditioning: str, kind: str, root: str, tmp_path: Path
) -> None:
    layout = {"block": "two_stream", "autoregressive": "autoregressive"}[kind]
    masks = "bernoulli" if kind == "block" else None
    made = recipe({"layout": layout, "masks": masks, "steps": 2}, talker={**GIVEN, "conditioning": conditioning})
    train(Job(made, root, str(tmp_path)), Ranks(), lambda: False, Console(quiet=True))
    talker, _ = load_talker(tmp_path)
    text_NSW = torch.from_numpy(
        next(s for s in Dataset.open(root).states if s.meta["states"] == 5).arrays["states"].copy()
    )[None]
    whole = decode_all(open_decoder(talker, kind, 1, max_frames=4 * BLOCK), text_NSW)
    decoder = open_decoder(talker, kind, 1, max_frames=4 * BLOCK)
    chunks = []
    for i in range(text_NSW.shape[1]):
        decoder.feed(text_NSW[:, i : i + 1])
        chunks += list(stream(decoder))
    decoder.feed(text_NSW[:, :0], ended=True)
    said = joined(chunks + list(stream(decoder)), 1)
    assert torch.equal(said[0], whole[0])


def test_states_of_any_type_are_read_by_weights_of_another(root: str, tmp_path: Path) -> None:
    train(Job(recipe(talker=GIVEN), root, str(tmp_path)), Ranks(), lambda: False, Console(quiet=True))
    talker, _ = load_talker(tmp_path)
    states_NSW = torch.randn(1, 3, WIDTH).half()
    assert talker.in_numbers(torch.bfloat16).read(states_NSW, torch.tensor([3])).states_NSD.dtype == torch.bfloat16


def test_all_states_take_the_same_time(root: str) -> None:
    found = prepared(root)
    order = found.course.stages[0].order
    rows = [found.course.stages[0].reader.clean(int(i)) for i in order.rows_R]
    mean = sum(row.frames for row in rows) / sum(len(row.text_S) for row in rows)
    assert measured(found.course.stages[0].reader, order.rows_R, 1) == pytest.approx([mean], rel=0.15)


def test_a_teacher_of_ids_cannot_teach_a_talker_of_states(root: str, tmp_path: Path) -> None:
    train(Job(recipe(), root, str(tmp_path / "ids")), Ranks(), lambda: False, Console(quiet=True))
    taught = {"layout": "two_stream", "masks": "bernoulli", "steps": 1, "loss": "distillation"}
    made = recipe({**taught, "distillation": {"teacher": str(tmp_path / "ids")}}, talker=GIVEN)
    with pytest.raises(
        CheckpointError, match=r"text_width None cannot read what its student reads \(talker\.text_width 6\)"
    ):
        check(Job(made, root, str(tmp_path / "student")))


def test_a_talker_of_states_teaches_one_of_its_kind(root: str, tmp_path: Path) -> None:
    train(Job(recipe(talker=GIVEN), root, str(tmp_path / "teacher")), Ranks(), lambda: False, Console(quiet=True))
    taught = {"layout": "two_stream", "masks": "bernoulli", "steps": 2, "loss": "distillation"}
    made = recipe(taught, talker=GIVEN, start=str(tmp_path / "teacher"))
    job = Job(made, root, str(tmp_path / "student"))
    check(job)
    assert train(job, Ranks(), lambda: False, Console(quiet=True)).step == 2
