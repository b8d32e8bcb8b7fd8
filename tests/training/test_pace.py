"""Durations of text tokens, and which state a position is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from manifests.dataset import Dataset
from manifests.training_recipe import TrainingRecipe
from tests.training.datasets import TEXT, recipe, utterances, write_dataset
from training.attention import CLEAN, NOISY
from training.course import vocabulary_of
from training.distributed import Ranks
from training.layout import Clock, speech
from training.loading import load_talker
from training.pace import DOUBT, GRAIN, Pace, durations, measured
from training.rows import TEXT_EOS, Reader
from training.run import Job, train

CLOCK = Clock(block=4, anchors=2)


def texts(count: int, tokens: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(2, tokens, random.integers(1, 12)) for _ in range(count)]


def pace(*frames: float) -> Pace:
    made = Pace(8, CLOCK, len(frames))
    made.frames_K.copy_(torch.tensor(frames))
    return made


# Measuring


def test_durations_come_back_from_lengths_of_utterances() -> None:
    true_K = np.random.default_rng(1).uniform(2, 20, 30)
    said = texts(2_000, 30)
    found_K = durations(said, [round(true_K[text].sum()) for text in said], 30)
    np.testing.assert_allclose(found_K[2:], true_K[2:], atol=0.1)


def test_a_token_that_was_never_said_takes_the_mean() -> None:
    said = [np.array([2, 3]), np.array([3, 3, 2])]
    assert durations(said, [10, 15], 6)[5] == 5


def test_a_token_that_was_said_once_is_believed_a_little() -> None:
    """One odd utterance among many: its token moves from the mean, but by far less than the regression alone would have it."""
    said = [np.array([2])] * 400 + [np.array([3])]
    found_K = durations(said, [10] * 400 + [50], 4)
    assert found_K[3] == pytest.approx(10 + 40 / (1 + DOUBT), abs=0.2)


def test_no_duration_is_negative() -> None:
    said = [np.array([2])] * 50 + [np.array([2, 3])] * 50
    assert durations(said, [20] * 50 + [5] * 50, 4).min() == 0


def test_only_the_most_frequent_tokens_have_durations_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.pace.MOST", 1)
    said = [np.array([2, 2, 3])] * 50 + [np.array([2])] * 50
    found_K = durations(said, [19] * 50 + [5] * 50, 5)
    assert found_K[3] == found_K[4]
    assert found_K[2] != found_K[4]


def test_measuring_reads_training_rows_with_their_ends(tmp_path: Path) -> None:
    dataset = Dataset.open(write_dataset(tmp_path, utterances(40)))
    reader, rows_R = Reader(dataset, vocabulary_of(dataset), 4), np.arange(4, 40)
    rows = [reader.clean(int(i)) for i in rows_R]
    expected_K = durations([row.text_S for row in rows], [row.frames for row in rows], TEXT)
    np.testing.assert_array_equal(measured(reader, rows_R, TEXT), expected_K)
    assert expected_K[TEXT_EOS] != pytest.approx(expected_K[0])  # every text has one, no text has token 0
    mean = sum(row.frames for row in rows) / sum(len(row.text_S) for row in rows)
    assert measured(reader, rows_R, 1) == pytest.approx([mean], rel=0.15)


# Telling


def test_a_position_is_told_the_state_that_is_expected_there() -> None:
    """<eos> takes 2 frames, half of them before the first word; the others take 3 and 1.5."""
    made = pace(0, 2, 3, 1.5)
    frames_1S = made.durations(torch.tensor([[2, 3, TEXT_EOS]]))
    index = made.expected(made.ends(frames_1S), speech(0, 12, CLOCK, CLEAN))
    assert index.tolist() == [[0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3]]


def test_no_position_is_told_a_state_of_a_later_turn() -> None:
    """Words of no length: all are expected at once, and come two a block."""
    made = pace(0, 0, 0)
    index = made.expected(made.ends(made.durations(torch.full((1, 9), 2))), speech(0, 12, CLOCK, CLEAN))
    assert index.tolist() == [[1] * 4 + [3] * 4 + [5] * 4]


@given(
    st.lists(st.integers(0, 40 * GRAIN), min_size=3, max_size=3), st.lists(st.integers(0, 2), max_size=12), st.data()
)
def test_text_that_arrives_in_pieces_is_told_as_the_whole_of_it(
    parts: list[int], said: list[int], data: st.DataObject
) -> None:
    """A block knows the states of its turn; whatever else has been read, it is told the same."""
    made = pace(*(part / GRAIN for part in parts))
    torch.nn.init.normal_(made.over_D)
    text_1S, states_1SD = torch.tensor([said], dtype=torch.long), torch.randn(1, len(said), 8)
    block = data.draw(st.integers(0, 6))
    least = min((block + 1) * CLOCK.anchors, len(said))
    read = data.draw(st.integers(least, len(said)))
    meta = speech(block * CLOCK.block, CLOCK.block, CLOCK, NOISY)

    def told(count: int) -> torch.Tensor:
        ends_1S = made.ends(made.durations(text_1S[:, :count]))
        return made(states_1SD[:, :count], torch.tensor([count]), ends_1S, meta)

    torch.testing.assert_close(told(read), told(len(said)))


@given(
    st.lists(st.integers(0, 40 * GRAIN), min_size=3, max_size=3),
    st.lists(st.integers(0, 2), max_size=12),
    st.integers(1, 9),
)
def test_text_beside_longer_text_is_told_as_it_is_alone(parts: list[int], said: list[int], padding: int) -> None:
    """What fills a row up takes no time, whatever token it looks like: behind its end the text is over."""
    made = pace(*(part / GRAIN for part in parts))
    torch.nn.init.normal_(made.over_D)
    text_1S = torch.tensor([said + [0] * padding], dtype=torch.long)
    states_1SD, meta = torch.randn(1, len(said) + padding, 8), speech(0, 96, CLOCK, NOISY)

    def told(count: int) -> torch.Tensor:
        ends_1S = made.ends(made.durations(text_1S[:, :count]))
        return made(states_1SD[:, :count], torch.tensor([len(said)]), ends_1S, meta)

    torch.testing.assert_close(told(len(said) + padding), told(len(said)))


def test_neighbours_of_the_expected_state_are_told_but_none_of_a_later_turn() -> None:
    """Two states a turn of 4 frames; each takes 3, so that at frame 3 the second is expected, and the third belongs to the next turn."""
    made = pace(0, 0, 3)
    states_1SD = torch.eye(8)[None, :4]
    with torch.no_grad():
        made.project.weight.copy_(torch.cat([torch.eye(8) * scale for scale in (1, 10, 100)]))
    ends_1S = made.ends(made.durations(torch.full((1, 4), 2)))
    told_TS = made(states_1SD, torch.tensor([4]), ends_1S, speech(0, 8, CLOCK, CLEAN))[0, :, :4]
    assert told_TS[0].tolist() == [10, 100, 0, 0]
    assert told_TS[3].tolist() == [1, 10, 0, 0]
    assert told_TS[4].tolist() == [1, 10, 100, 0]
    assert told_TS[6].tolist() == [0, 1, 10, 100]


def test_given_states_are_all_of_one_duration() -> None:
    made = pace(2.5)
    assert made.ends(made.durations(torch.zeros(1, 3, 8))).tolist() == [[2.5, 5, 7.5]]


# In a run


def paced(steps: int, **train: object) -> TrainingRecipe:
    return recipe(
        {"layout": "two_stream", "masks": "bernoulli", "steps": steps}, talker={"conditioning": "paced"}, **train
    )


def test_a_run_measures_and_its_checkpoint_keeps_what_was_measured(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", utterances(40))
    train(Job(paced(2), root, str(tmp_path / "run")), Ranks(), lambda: False, Console(quiet=True))
    dataset = Dataset.open(root)
    expected_K = measured(Reader(dataset, vocabulary_of(dataset), 4), np.arange(4, 40), TEXT)
    for weights in ("ema", "last"):
        talker, _ = load_talker(tmp_path / "run", weights)
        assert talker.pace is not None
        assert talker.pace.frames_K.numpy().tolist() == expected_K.tolist()


def test_a_run_that_starts_from_another_keeps_its_durations(tmp_path: Path) -> None:
    first = write_dataset(tmp_path / "first", utterances(40))
    second = write_dataset(tmp_path / "second", [np.repeat(u, 2, 0) for u in utterances(40, seed=1)])
    train(Job(paced(2), first, str(tmp_path / "run")), Ranks(), lambda: False, Console(quiet=True))
    begun = paced(1, start=str(tmp_path / "run"))
    train(Job(begun, second, str(tmp_path / "other")), Ranks(), lambda: False, Console(quiet=True))
    (one, _), (two, _) = load_talker(tmp_path / "run"), load_talker(tmp_path / "other")
    assert one.pace is not None
    assert two.pace is not None
    assert torch.equal(one.pace.frames_K, two.pace.frames_K)
