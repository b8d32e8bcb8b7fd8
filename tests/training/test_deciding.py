"""A step of a block: what the policy decides, and what an end decides with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.uncached import behind_the_end
from training.deciding import decide
from training.ending import behind
from training.policies import PRESETS, Key, Policy, preset
from training.vocabulary import Vocabulary

SIZE = 3
EOS, MASK = SIZE, SIZE + 1


def sure(*cells: tuple[int, float]) -> Tensor:
    """``logits_1MC`` that give each cell one class with such a probability, and the others the rest."""
    probs_MC = torch.tensor([[p if c == code else (1 - p) / SIZE for c in range(SIZE + 1)] for code, p in cells])
    return probs_MC.log()[None]


class Block:
    """Blocks that are uncovered, all by one policy, and the step at which each cell was."""

    def __init__(self, policy: Policy, steps: int, rows: int, size: int, codebooks: int = 1) -> None:
        self.policy, self.steps, self.v = policy, steps, Vocabulary(SIZE, codebooks)
        self.ids_RBQ = torch.full((rows, size, codebooks), MASK)
        self.when_RBQ = torch.zeros_like(self.ids_RBQ)
        self.key = Key(7, torch.arange(rows))

    @property
    def open_RBQ(self) -> Tensor:
        return self.ids_RBQ == MASK

    def step(self, step: int, logits_RMC: Tensor) -> Tensor:
        """One step; the cells that it decided."""
        prior_C = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
        stats = self.policy.stats(logits_RMC, step, self.key, prior_C)
        asked = (self.policy, stats, self.ids_RBQ, self.open_RBQ, step, self.steps, self.v, self.key)
        written_RBQ, now_RBQ = decide(*asked)
        assert not (now_RBQ & ~self.open_RBQ).any(), "decided before"
        self.ids_RBQ = torch.where(now_RBQ, written_RBQ, self.ids_RBQ)
        self.when_RBQ = self.when_RBQ.masked_fill(now_RBQ, step)
        return now_RBQ


def uncovered(policy: Policy, steps: int, logits_RMC: Tensor, codebooks: int = 1) -> Block:
    """A block that is told the same at every step."""
    block = Block(policy, steps, len(logits_RMC), logits_RMC.shape[1] // codebooks, codebooks)
    for step in range(1, steps + 1):
        block.step(step, logits_RMC)
    return block


FIVE_FRAMES = sure((0, 0.6), (1, 0.5), (2, 0.7), (0, 0.55), (1, 0.65), (EOS, 0.8), (EOS, 0.99), (EOS, 0.98))


def test_what_fills_a_block_up_takes_no_steps_from_speech() -> None:
    """Five frames, the end, and fill that is surest of all: one is decided late and in pairs, the other as evenly as five frames can be."""
    even, ending = (uncovered(preset(name), 4, FIVE_FRAMES) for name in ("even", "ending"))
    assert even.when_RBQ.flatten().tolist() == [3, 4, 2, 4, 3, 2, 1, 1]
    assert ending.when_RBQ.flatten().tolist() == [2, 4, 1, 3, 2, 1, 1, 1]
    assert torch.equal(even.ids_RBQ, ending.ids_RBQ)


def test_an_end_that_is_not_decided_counts_and_what_is_behind_it_waits() -> None:
    """The end is the least sure: nothing behind it is decided before it, and all of it at once with it."""
    unsure = sure((0, 0.9), (1, 0.9), (2, 0.9), (EOS, 0.4), (EOS, 0.99), (2, 0.99), (EOS, 0.99), (1, 0.99))
    block = uncovered(preset("ending"), 4, unsure)
    assert block.when_RBQ.flatten().tolist() == [1, 2, 3, 4, 4, 4, 4, 4]
    assert block.ids_RBQ.flatten().tolist() == [0, 1, 2] + [EOS] * 5, "whatever it was taken for"


def test_speech_that_goes_on_after_all_is_shared_out_over_the_steps_that_are_left() -> None:
    """At first the third frame looks like the end; then no frame does."""
    speech = [(0, 0.9), (1, 0.8), (2, 0.5), (0, 0.7), (1, 0.6), (2, 0.65), (0, 0.75), (1, 0.55)]
    block = Block(preset("ending"), 4, 1, 8)
    block.step(1, sure(*speech[:2], (EOS, 0.5), *speech[3:]))
    assert block.when_RBQ.flatten().tolist() == [1, 0, 0, 0, 0, 0, 0, 0], "one of three"
    counts = [int(block.step(step, sure(*speech)).sum()) for step in (2, 3, 4)]
    assert counts == [3, 2, 2]
    assert block.ids_RBQ.flatten().tolist() == [code for code, _ in speech]


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("codebooks", [1, 3])
def test_a_block_without_an_end_is_decided_as_ever(name: str, codebooks: int) -> None:
    """Beside one that ends."""
    logits_RMC = torch.randn((2, 12, SIZE + 1), generator=torch.Generator().manual_seed(1)) * 3
    logits_RMC[0, :, EOS] = logits_RMC[1, :-6, EOS] = -99.0
    logits_RMC[1, -6::codebooks, EOS] = 99.0
    usual, last = (
        uncovered(replace(PRESETS[name], ends_last=ends_last), 3, logits_RMC, codebooks) for ends_last in (False, True)
    )
    assert torch.equal(usual.ids_RBQ[0], last.ids_RBQ[0])
    assert torch.equal(usual.when_RBQ[0], last.when_RBQ[0])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(PRESETS)),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from([1, 4, 7]),
    st.floats(0, 1),
    st.integers(0, 2**20),
)
def test_all_is_decided_once_by_the_last_step(
    name: str, ends_last: bool, codebooks: int, steps: int, size: int, temperature: float, seed: int
) -> None:
    """Whatever the model says from step to step; no row waits, and what is behind a decided end is over with it."""
    generator = torch.Generator().manual_seed(seed)
    policy = replace(PRESETS[name], ends_last=ends_last, temperature=temperature)
    block = Block(policy, steps, 3, size, codebooks)
    for step in range(1, steps + 1):
        waiting_R = block.open_RBQ.flatten(1).any(1)
        logits_RMC = torch.randn((3, size * codebooks, SIZE + 1), generator=generator) * 3
        logits_RMC.view(3, size, codebooks, -1)[:, :, 1:, EOS] = float("-inf")  # codebook 0 ends for all
        now_RBQ = block.step(step, logits_RMC)
        assert torch.equal(now_RBQ.flatten(1).any(1), waiting_R)
        if ends_last:
            behind_RBQ = behind_the_end(block.ids_RBQ, EOS)
            assert not (behind_RBQ & block.open_RBQ).any()
    assert not block.open_RBQ.any()


def test_what_was_given_behind_or_as_an_end_counts_as_decided() -> None:
    """A copy that a teacher fills in: an end that it is shown ends what is masked behind it in the first step."""
    v, ids_RBQ = Vocabulary(SIZE), torch.tensor([0, MASK, MASK, EOS, MASK, EOS, MASK, MASK]).view(1, 8, 1)
    logits = sure(*[(1, 0.9)] * 8)
    stats = preset("ending").stats(logits)
    written_RBQ, now_RBQ = decide(preset("ending"), stats, ids_RBQ, ids_RBQ == MASK, 1, 2, v)
    assert now_RBQ.flatten().tolist() == [False, True, False, False, True, False, True, True]
    assert written_RBQ[now_RBQ].tolist() == [1, EOS, EOS, EOS]
    only_behind = torch.tensor([0, 0, 0, EOS, MASK, MASK, MASK, MASK]).view(1, 8, 1)
    assert decide(preset("ending"), stats, only_behind, only_behind == MASK, 1, 4, v)[1].sum() == 4


def test_a_forced_step_ends_where_truth_ends() -> None:
    """What it takes for the end is passed over where speech goes on."""
    v, truth_RBQ = Vocabulary(SIZE), torch.tensor([0, 1, 2, EOS]).view(1, 4, 1)
    stats = preset("ending").stats(sure((0, 0.6), (EOS, 0.9), (EOS, 0.9), (EOS, 0.9)))
    masked_RBQ = torch.full_like(truth_RBQ, MASK)
    asked = (preset("ending"), stats, masked_RBQ, masked_RBQ == MASK)
    written_RBQ, now_RBQ = decide(*asked, 1, 2, v, truth_RBQ=truth_RBQ)
    assert now_RBQ.flatten().tolist() == [False, True, False, False]
    assert written_RBQ[now_RBQ].tolist() == [1]
    written_RBQ, now_RBQ = decide(*asked, 2, 2, v, truth_RBQ=truth_RBQ)
    assert now_RBQ.all(), "what is behind where it sees the end, too"
    assert torch.equal(written_RBQ, truth_RBQ)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**20))
def test_cells_behind_an_end_are_those_that_come_after_it(codebooks: int, seed: int) -> None:
    """EOS in another codebook than the first is no end."""
    ids_RBQ = torch.randint(0, SIZE + 1, (4, 6, codebooks), generator=torch.Generator().manual_seed(seed))
    before = ids_RBQ.clone()
    assert torch.equal(behind(ids_RBQ, Vocabulary(SIZE, codebooks)), behind_the_end(ids_RBQ, EOS))
    assert torch.equal(ids_RBQ, before)
