"""Block decoding says exactly what the network of training says, in as few passes as there are steps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.training.tiny import silence_eos, talker, words
from tests.training.uncached import Decoded, Recorded, Told, decode_blocks
from training.decoding.block import BlockDecoder, planned
from training.decoding.body import Body
from training.decoding.matrices import Packed, Plain, can_pack
from training.decoding.protocol import Chunk, Outcome, decode_all, stream
from training.policies.budgets import BUDGETS
from training.policies.filters import FILTERS
from training.policies.policy import PRESETS, Policy, build, preset
from training.policies.scores import SCORES
from training.talker import Talker

COUNTS = [7, 3, 0]  # text states of three rows: more than the first blocks need, one turn and a half, none at all


def recorded(policy: Policy) -> Recorded:
    return Recorded(**{f.name: getattr(policy, f.name) for f in fields(policy)})


def decoder(made: Talker, policy: Policy, rows: int = 3, blocks: int = 4, **settings: Any) -> BlockDecoder:
    return BlockDecoder(made, rows, policy=policy, max_frames=blocks * made.settings.block, **settings)


def whole(chunks: list[Chunk]) -> tuple[Tensor, Tensor]:
    """Codes and steps of all chunks."""
    return torch.cat([c.codes_NTQ for c in chunks], 1), torch.cat([c.steps_NTQ for c in chunks], 1)


def run(decoder: BlockDecoder, told: Told) -> tuple[Tensor, Tensor]:
    decoder.feed(told.text_NS, told.counts_N, ended=True)
    return whole(list(stream(decoder)))


def check(
    made: Talker, policy: Policy, steps: int, tolerance: float, fused: bool = True, counts: Sequence[int] = COUNTS,
    blocks: int = 4, **extra: Any,
) -> tuple[Decoded, list[int]]:  # fmt: skip
    """Codes, steps and logits of the decoder are those of the reference, up to the end of each row; with these ends, in frames."""
    told, seen, size = Told(made, words(len(counts), 7), counts), recorded(policy), made.settings.block
    expected = decode_blocks(told, policy, steps, blocks, **extra)
    found = decoder(made, seen, len(counts), blocks, steps=steps, fused=fused, **extra)
    codes_NLQ, steps_NLQ = run(found, told)
    says_end_NL = expected.codes_NLQ[:, :, 0] == made.vocabulary.eos
    ends = [int(row.nonzero()[0]) if row.any() else blocks * size for row in says_end_NL]
    assert codes_NLQ.shape[1] == min(max(ends) // size + 1, blocks) * size, "nobody speaks on when all have ended"
    for row, end in enumerate(ends):
        assert torch.equal(codes_NLQ[row, :end], expected.codes_NLQ[row, :end])
        assert (codes_NLQ[row, end:] == made.vocabulary.eos).all()
    of_ours = iter(seen.seen)
    for block, taken in enumerate(found.work.steps):
        here = slice(block * size, (block + 1) * size)
        open_N = torch.tensor(ends) >= block * size
        assert torch.equal(steps_NLQ[open_N, here], expected.steps_NLQ[open_N, here])
        needed = int(steps_NLQ[open_N, here].amax())
        assert taken >= needed
        assert taken == needed or found.plan is not None, "nobody waits for rows that have ended"
        theirs = expected.said[block]
        for step in range(taken):
            ours_NMC = next(of_ours)
            if step < len(theirs):
                logits_NMC, masked_NM = theirs[step]
                compared_NM = masked_NM & open_N[:, None]
                torch.testing.assert_close(ours_NMC[compared_NM], logits_NMC[compared_NM], rtol=0, atol=tolerance)
    assert next(of_ours, None) is None
    return expected, ends


# For each size of a block: codebooks, blocks, and what is added to EOS so that some rows end sooner than others.
ENDING = {1: (2, 12, 0.0), 4: (1, 6, 2.5), 16: (2, 3, -0.5)}


@pytest.mark.parametrize("block", sorted(ENDING))
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_cached_is_uncached_under_every_policy_where_rows_end_at_different_times(name: str, block: int) -> None:
    """T06, T14: codes, steps and logits, for rows whose texts differ in length."""
    codebooks, blocks, bias = ENDING[block]
    made = talker(codebooks, block=block, anchors=min(block, 4))
    with torch.no_grad():
        made.head.bias.view(codebooks, -1)[0, -1] += bias
    prior = torch.randn(12, generator=torch.Generator().manual_seed(3)).log_softmax(0)
    _, ends = check(made, PRESETS[name], 3, 1e-12, counts=[7, 3, 0, 5, 1], blocks=blocks, prior=prior)
    assert len(set(ends)) > 1
    assert min(ends) < blocks * block


def test_every_score_budget_and_filter_decodes_two_blocks() -> None:
    """T30: whatever is put together decides every cell once, within the steps, and some differently from others."""
    made = silence_eos(talker(codebooks=2))
    told, prior_MC = Told(made, words(2, 5), [5, 3]), torch.randn(8, 12, generator=torch.Generator().manual_seed(3))
    orders = set()
    for parts in itertools.product(SCORES, BUDGETS, FILTERS):
        policy = build(*parts, temperature=0.7)
        codes_NLQ, steps_NLQ = run(decoder(made, policy, 2, 2, steps=3, prior=prior_MC.log_softmax(-1)), told)
        assert codes_NLQ.shape == (2, 8, 2), parts
        assert 0 <= codes_NLQ.min() <= codes_NLQ.max() < made.vocabulary.eos, parts
        assert steps_NLQ.min() == 1, parts
        assert steps_NLQ.max() <= 3, parts
        orders.add(tuple(steps_NLQ.flatten().tolist()))
    assert len(orders) > 50


@pytest.mark.parametrize("conditioning", ["anchors", "prefix", "both", "paced"])
@pytest.mark.parametrize("codebooks", [1, 3])
@pytest.mark.parametrize("fused", [True, False])
def test_training_logits_are_decoding_logits(conditioning: str, codebooks: int, fused: bool) -> None:
    """T08: two-stream rows of training, and the cached decoder at the same state, for every conditioning."""
    made = silence_eos(talker(codebooks, conditioning=conditioning))
    check(made, preset("even"), 4, 1e-12, fused=fused)


@pytest.mark.parametrize("conditioning", ["anchors", "prefix", "both", "paced"])
@pytest.mark.parametrize("codebooks", [1, 2])
def test_blocks_of_one_say_frames_with_the_likelihood_of_one_row_of_training(conditioning: str, codebooks: int) -> None:
    """T29 in place: the likelihood of a whole utterance, frame by frame, is the loss of one two-stream row that is masked wholly."""
    made = silence_eos(talker(codebooks, block=1, anchors=1, conditioning=conditioning))
    told, seen = Told(made, words(3, 7), COUNTS), recorded(preset("even"))
    codes_NLQ, _ = run(decoder(made, seen, blocks=12, steps=1), told)
    assert len(seen.seen) == 12
    spoken_NLQC = torch.stack(seen.seen, 1)
    whole_NLQC = told.logits(codes_NLQ, torch.full_like(codes_NLQ, made.vocabulary.mask))
    nats = [cross_entropy(one.flatten(0, 2), codes_NLQ.flatten()).item() for one in (spoken_NLQC, whole_NLQC)]
    assert nats[0] == pytest.approx(nats[1], abs=1e-12)
    assert torch.equal(whole_NLQC.argmax(-1), codes_NLQ)


def test_cached_is_uncached_in_float32() -> None:
    """T06 in the precision that is used."""
    check(silence_eos(talker(dtype=torch.float32)), preset("even"), 4, 1e-5)


def test_draws_are_the_same_with_and_without_a_cache() -> None:
    """Sampling and random order depend on seed, utterance, block, step and cell alone."""
    policy = preset("random", temperature=0.8, top_p=0.9)
    made = silence_eos(talker())
    one, _ = check(made, policy, 3, 1e-12, seed=5)
    other, _ = check(made, policy, 3, 1e-12, seed=6)
    assert not torch.equal(one.codes_NLQ, other.codes_NLQ)


@pytest.mark.parametrize("name", ["even", "threshold", "dilated"])
@pytest.mark.parametrize("conditioning", ["anchors", "prefix"])
def test_the_fused_commit_says_the_same_in_one_pass_less_per_block(name: str, conditioning: str) -> None:
    """T07: passes are the steps taken, and one for each settled block where it is settled by itself."""
    made, told = silence_eos(talker(conditioning=conditioning)), None
    told = Told(made, words(3, 7), COUNTS)
    fused, unfused = (decoder(made, PRESETS[name], steps=3, fused=fused) for fused in (True, False))
    for ours, theirs in zip(run(fused, told), run(unfused, told), strict=True):
        assert torch.equal(ours, theirs)
    assert fused.work.steps == unfused.work.steps
    assert fused.work.forwards == sum(fused.work.steps)
    assert fused.work.commits == 0
    assert unfused.work.commits == len(unfused.work.steps) - 1
    assert unfused.work.forwards == sum(unfused.work.steps) + unfused.work.commits
    assert fused.work.rows == unfused.work.rows


def test_a_block_stops_when_nothing_is_masked() -> None:
    """More steps than cells take as many passes as there are cells; a threshold that all cells pass takes one."""
    made = silence_eos(talker())
    told = Told(made, words(3, 7), COUNTS)
    many = decoder(made, preset("even"), steps=9)
    run(many, told)
    assert many.work.steps == [4] * 4
    with torch.no_grad():
        made.head.weight.mul_(1e3)
    sure = decoder(made, preset("threshold"), steps=4)
    run(sure, told)
    assert sure.work.steps == [1] * 4


@pytest.mark.parametrize("name", ["even", "cosine", "left_to_right", "pmi"])
@pytest.mark.parametrize("cells", [1, 4, 16, 48])
@pytest.mark.parametrize("steps", [1, 2, 4, 5, 16])
def test_fixed_counts_are_planned_and_not_asked_for(name: str, cells: int, steps: int) -> None:
    """The plan is the step at which the policy's own counts run out."""
    policy = PRESETS[name]
    masked = torch.ones(1, cells, dtype=torch.bool)
    logits = torch.randn(1, cells, 5, generator=torch.Generator().manual_seed(0))
    stats = policy.stats(logits, prior=torch.zeros(5))
    left = [cells]
    while left[-1]:
        masked = masked & ~policy.select(stats, masked, len(left), steps)
        left.append(int(masked.sum()))
    assert planned(policy, cells, steps) == tuple(left[1:])


def test_only_confidences_are_not_planned() -> None:
    assert planned(preset("threshold"), 16, 4) is None
    assert planned(preset("gap"), 16, 4) is None
    assert planned(preset("dilated"), 16, 4) is None
    assert planned(preset("ending"), 16, 4) is None, "cells behind an end are not counted"


def test_settled_keys_are_never_written_again() -> None:
    """T10: what a block has settled stays as it is, bit by bit, and denoising settles nothing."""
    made = silence_eos(talker())
    found = decoder(made, preset("even"), steps=3)
    found.feed(words(3, 7), COUNTS, ended=True)
    before: list[Tensor] = []
    lengths = []
    while found.next() is not None:
        lengths.append(found.keys.length)
        now = [kv[:, :, :, : found.keys.length].clone() for kv in found.keys.kv_layers]
        for old, new in zip(before, now, strict=bool(before)):
            assert torch.equal(old, new[:, :, :, : old.shape[3]])
        before = now
    assert lengths == [0, 4, 8, 12]


def test_a_frame_that_codebook_0_ends_is_ended_in_all() -> None:
    """No other codebook may say EOS, and where codebook 0 did, what was not decided yet becomes EOS with it."""
    made = silence_eos(talker(3), bias=3.0)
    found = decoder(made, preset("even"), steps=6)
    found.feed(words(3, 7), COUNTS, ended=True)
    chunks = list(stream(found))
    assert Outcome.ENDED in found.outcomes
    for chunk in chunks:
        for row, valid in enumerate(chunk.valid_N):
            assert (chunk.codes_NTQ[row, :valid] < made.vocabulary.eos).all()
            assert (chunk.codes_NTQ[row, valid:] == made.vocabulary.eos).all()


def test_settings_that_make_no_sense_are_refused() -> None:
    made = talker()
    with pytest.raises(ValueError, match="at least one step"):
        BlockDecoder(made, 1, steps=0)
    with pytest.raises(ValueError, match="nothing to decode"):
        BlockDecoder(made, 0)
    with pytest.raises(ValueError, match="names"):
        BlockDecoder(made, 2, utterances=["one"])
    with pytest.raises(ValueError, match="eval"):
        BlockDecoder(talker().train(), 1)


PACKABLE = [torch.float32] + [torch.bfloat16] * can_pack(torch.ones(2, 2, dtype=torch.bfloat16))


@pytest.mark.parametrize("tiles", [True, False])
@pytest.mark.parametrize("dtype", PACKABLE)
def test_a_packed_matrix_is_the_matrix_for_one_row_and_for_many(
    dtype: torch.dtype, tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether rows are filled up, as they are where there are tiles, or not."""
    monkeypatch.setattr("training.decoding.matrices.has_bf16_units", lambda device: tiles)
    torch.manual_seed(0)
    weight_OD, base_RO = torch.randn(24, 16).to(dtype), torch.randn(33, 24).to(dtype)
    plain, packed, bias_O = Plain(weight_OD), Packed(weight_OD), torch.randn(24).to(dtype)
    for rows in (1, 5, 16, 17, 32, 33):
        x_RD, base = torch.randn(rows, 16).to(dtype), base_RO[:rows]
        pairs = [(m(x_RD), m(x_RD, bias_O), m.added(base, x_RD), m.rectified(x_RD)) for m in (plain, packed)]
        for ours, theirs in zip(*pairs, strict=True):
            assert ours.shape == theirs.shape == (rows, 24)
            torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.1 if dtype == torch.bfloat16 else 1e-5)
        assert (plain.rectified(x_RD) >= 0).all()
        assert (plain(x_RD) < 0).any()


@pytest.mark.parametrize("codebooks", [1, 2])
def test_packed_weights_say_the_same(codebooks: int) -> None:
    """A body is made once and shared; packed, its sums are rounded in another order."""
    made = silence_eos(talker(codebooks, dtype=torch.float32))
    told = Told(made, words(3, 7), COUNTS)
    body = Body(made, packed=True)
    assert isinstance(body.head, Packed) == can_pack(made.head.weight)
    plain, packed = recorded(preset("even")), recorded(preset("even"))
    codes = [run(decoder(made, plain), told), run(decoder(made, packed, body=body), told)]
    assert torch.equal(codes[0][0], codes[1][0])
    for ours, theirs in zip(packed.seen, plain.seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    one = [decode_all(decoder(made, preset("even"), rows=1, body=b), told.text_NS[:1]) for b in (body, None)]
    assert torch.equal(one[0][0], one[1][0])


def test_weights_that_cannot_be_packed_stay_as_they_are() -> None:
    assert isinstance(Body(talker(), packed=True).head, Plain)


@pytest.mark.parametrize("fast", [True, False])
def test_half_precision_says_nearly_the_same(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 is good for speed where it is fast, and no reference: a few likeliest codes change places. Where it is emulated, keys are float32."""
    monkeypatch.setattr("training.decoding.body.has_bf16_units", lambda device: fast)
    assert Body(talker().in_numbers(torch.bfloat16)).seen == (torch.bfloat16 if fast else torch.float32)
    made = silence_eos(talker(dtype=torch.float32))
    told, full, half = Told(made, words(3, 7), COUNTS), recorded(preset("even")), recorded(preset("even"))
    run(decoder(made, full, blocks=1, steps=1), told)
    run(decoder(made.in_numbers(torch.bfloat16), half, blocks=1, steps=1), told)
    assert (half.seen[0].argmax(-1) == full.seen[0].argmax(-1)).float().mean() > 0.8
    torch.testing.assert_close(half.seen[0].float(), full.seen[0], rtol=0.05, atol=0.2)


def test_phases_and_durations_are_as_exact_in_half_precision() -> None:
    """A sum of durations rounded to 8 bits would be frames off after some words."""
    made = talker(conditioning="paced", dtype=torch.float32)
    assert made.pace is not None
    phases_TY, frames_K = made.body.rotary.phases_TY.clone(), made.pace.frames_K.clone() + 1 / 64
    made.pace.frames_K.copy_(frames_K)
    made.in_numbers(torch.bfloat16)
    assert {p.dtype for p in made.parameters()} == {torch.bfloat16}
    assert torch.equal(made.body.rotary.phases_TY, phases_TY)
    assert torch.equal(made.pace.durations(torch.arange(len(frames_K))[None])[0], frames_K)


def test_text_of_later_blocks_that_is_there_is_told_at_once_and_all_the_same() -> None:
    """Whether a block's text came with that of others or alone, and how much is worked out ahead of it, nobody can tell."""
    made, told = silence_eos(talker(conditioning="paced")), Told(talker(conditioning="paced"), words(3, 7), COUNTS)
    at_once, by_turns = decoder(made, preset("even"), steps=2), decoder(made, preset("even"), steps=2)
    codes_NLQ = run(at_once, told)[0]
    assert at_once.text.blocks == 4
    chunks, anchors = [], made.settings.anchors
    for first in range(0, 8, anchors):
        part_NS = told.text_NS[:, first : first + anchors]
        counts = [min(max(count - first, 0), part_NS.shape[1]) for count in COUNTS]
        by_turns.feed(part_NS, counts, ended=first + anchors >= 7)
        chunks.append(by_turns.next())
        assert by_turns.text.blocks in (len(chunks), 4)
    assert torch.equal(torch.cat([c.codes_NTQ for c in chunks], 1), codes_NLQ)
