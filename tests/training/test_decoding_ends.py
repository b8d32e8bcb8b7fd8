"""Where speech ends in block decoding: rows that have ended cost nothing and change nothing, and what is behind an end is not heard (T14).

The policies here are told what to think, whatever the network says: a code for every place of every row, and how sure of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tiny import talker, words
from training.decoding.block import BlockDecoder
from training.decoding.protocol import Chunk, Outcome, stream
from training.policies import PRESETS, Key, Policy, Stats

SIZE, BLOCK, BLOCKS = 11, 4, 6
EOS = SIZE
UNSURE = 0.2


@dataclass(frozen=True)
class Told(Policy):
    """A policy that finds ``codes_NL`` likely, as likely as ``sure_NL`` says."""

    codes_NL: Tensor = field(default_factory=lambda: torch.empty(0))
    sure_NL: Tensor = field(default_factory=lambda: torch.empty(0))

    def stats(self, logits_NMC: Tensor, step: int = 1, key: Key | None = None, prior: Tensor | None = None) -> Stats:
        assert key is not None
        assert isinstance(key.block, int)
        here = slice(key.block * BLOCK, (key.block + 1) * BLOCK)
        sure_NM1, codes_NM1 = self.sure_NL[:, here, None], self.codes_NL[:, here, None]
        rest_NMC = ((1 - sure_NM1) / SIZE).log().expand_as(logits_NMC)
        return super().stats(rest_NMC.scatter(2, codes_NM1, sure_NM1.log()), step, key, prior)


def told(name: str, codes_NL: Tensor, sure_NL: Tensor | float = 0.99) -> Told:
    preset = {f.name: getattr(PRESETS[name], f.name) for f in fields(Policy)}
    sure_NL = sure_NL if isinstance(sure_NL, Tensor) else torch.full(codes_NL.shape, sure_NL)
    return Told(**preset, codes_NL=codes_NL, sure_NL=sure_NL)


def speech(*ends: int) -> Tensor:
    """``codes_NL``: a row for each number of frames, EOS behind them."""
    place_L = torch.arange(BLOCK * BLOCKS)
    return torch.stack([torch.where(place_L < end, (place_L * 3 + row) % SIZE, EOS) for row, end in enumerate(ends)])


def decoder(policy: Policy, rows: int, steps: int = 4, **settings: Any) -> BlockDecoder:
    made = BlockDecoder(talker(), rows, policy=policy, steps=steps, max_frames=BLOCK * BLOCKS, **settings)
    made.feed(words(rows, 9), ended=True)
    return made


def heard(chunks: list[Chunk], row: int) -> list[int]:
    return [code for c in chunks for code in c.codes_NTQ[row, : c.valid_N[row], 0].tolist()]


@pytest.mark.parametrize("name", ["threshold", "decaying", "entropy", "ending"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_row_that_has_ended_keeps_nobody_waiting_however_unsure_it_is(name: str, order: tuple[int, int]) -> None:
    """One row ends in the first block, and would take all steps in every later one; the other takes what it takes alone."""
    codes_NL, sure_NL = speech(2, 22), torch.full((2, BLOCK * BLOCKS), 0.99)
    codes_NL[0, BLOCK:], sure_NL[0, BLOCK:] = 5, UNSURE
    together = decoder(told(name, codes_NL[list(order)], sure_NL[list(order)]), 2)
    alone = decoder(told(name, codes_NL[1:], sure_NL[1:]), 1)
    chunks, by_itself = list(stream(together)), list(stream(alone))
    assert set(together.outcomes) == {Outcome.ENDED}
    assert heard(chunks, order.index(1)) == heard(by_itself, 0) == codes_NL[1, :22].tolist()
    assert together.work.steps[1:] == alone.work.steps[1:]
    assert min(alone.work.steps[1:]) < together.steps, "the other row would have taken longer"


@pytest.mark.parametrize("name", ["even", "ending", "threshold"])
@pytest.mark.parametrize("ends", [(2, 8, 7), (0, 1), (23, 5), (4,), (12, 11, 3, 12)])
def test_the_decoder_stops_after_exactly_the_blocks_that_all_rows_need(name: str, ends: tuple[int, ...]) -> None:
    """The block that holds the end of the longest row is the last one: of 8 frames in blocks of 4 the third, for its EOS is there."""
    codes_NL, needed = speech(*ends), max(ends) // BLOCK + 1
    made = decoder(told(name, codes_NL), len(ends))
    chunks = list(stream(made))
    assert len(chunks) == len(made.work.steps) == needed
    assert made.work.forwards == sum(made.work.steps)
    assert made.finished
    assert made.next() is None
    assert set(made.outcomes) == {Outcome.ENDED}
    assert [heard(chunks, row) for row in range(len(ends))] == [c[:end].tolist() for c, end in zip(codes_NL, ends, strict=True)]  # fmt: skip


@pytest.mark.parametrize("name", ["even", "ending", "threshold"])
def test_rows_end_inside_blocks_at_every_place(name: str) -> None:
    ends = (4, 5, 6, 7)
    chunks = list(stream(decoder(told(name, speech(*ends)), 4)))
    assert [c.valid_N for c in chunks] == [(4, 4, 4, 4), (0, 1, 2, 3)]
    assert (chunks[1].codes_NTQ[2, 2:] == EOS).all()


@pytest.mark.parametrize("name", ["even", "left_to_right", "threshold"])
def test_what_is_behind_an_end_is_heard_in_no_row(name: str) -> None:
    """A row ends in mid-block and says something, or something else, behind its end: what all rows send is the same."""
    codes_NL, sent = speech(5, 18), []
    for code in (EOS, 3, 7):
        codes_NL[0, 6:] = code
        sent.append(list(stream(decoder(told(name, codes_NL), 2))))
    for other in sent[1:]:
        assert len(other) == len(sent[0]) == 5
        for one, two in zip(sent[0], other, strict=True):
            assert one.valid_N == two.valid_N
            assert torch.equal(one.codes_NTQ, two.codes_NTQ)
    assert 0 < sent[0][1].valid_N[0] < BLOCK


@pytest.mark.parametrize("fused", [True, False])
def test_later_codes_do_not_change_what_is_settled(fused: bool) -> None:
    """Two decoders that say other codes from the third block on: chunks, and keys of all blocks before, are the same to the last bit."""
    first_NL, second_NL = speech(20, 20), speech(20, 20)
    second_NL[:, 2 * BLOCK : 20] = (second_NL[:, 2 * BLOCK : 20] + 5) % SIZE
    decoders = [decoder(told("even", codes_NL), 2, fused=fused) for codes_NL in (first_NL, second_NL)]
    sent = [list(stream(made)) for made in decoders]
    assert [torch.equal(a.codes_NTQ, b.codes_NTQ) for a, b in zip(*sent, strict=True)] == [True] * 2 + [False] * 3 + [
        True
    ]
    keys = [[kv[:, :, :, : 4 * BLOCK] for kv in made.keys.kv_layers] for made in decoders]
    for one, two in zip(*keys, strict=True):
        assert torch.equal(one[:, :, :, : 2 * BLOCK], two[:, :, :, : 2 * BLOCK])
        assert not torch.equal(one, two)


def test_policies_think_what_they_are_told() -> None:
    stats = told("even", speech(2), UNSURE).stats(torch.randn(1, BLOCK, SIZE + 1), 1, Key(0, torch.zeros(1).long(), 0))
    assert stats.token_NM.tolist() == [[0, 3, EOS, EOS]]
    assert stats.best_NM.tolist() == [pytest.approx([math.log(UNSURE)] * BLOCK)]
