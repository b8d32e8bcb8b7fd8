"""Trajectories: what a teacher did can be done again, step by step, and decoding does the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.training import tiny
from tests.training.uncached import behind_the_end
from training.decoding.block import BlockDecoder
from training.decoding.protocol import stream
from training.layout import Noised, single_stream, two_stream
from training.losses import forward_kl, reverse_kl
from training.policies import preset
from training.talker import Talker
from training.trajectory import CONTEXTS, GIVEN, Seen, Teacher, state

BLOCK = 4


def noised(talker: Talker, frames: tuple[int, ...] = (9, 3, 14), copies: int = 2, rate: float = 0.7) -> Noised:
    """Utterances of some frames, each copy masked at a rate; 1 masks everything."""
    v = talker.vocabulary
    draw = torch.Generator().manual_seed(0)
    blocks = [n // BLOCK + 1 for n in frames]
    length, n = max(blocks) * BLOCK, len(frames)
    codes_NLQ = torch.randint(0, v.size, (n, length, v.codebooks), generator=draw)
    frames_N, pos_L = torch.tensor(frames), torch.arange(length)
    codes_NLQ[pos_L[None] >= frames_N[:, None]] = v.eos
    masked_NCLQ = torch.rand(n, copies, length, v.codebooks, generator=draw) < rate
    valid_NL = pos_L[None] < torch.tensor(blocks)[:, None] * BLOCK
    return Noised(codes_NLQ, codes_NLQ[:, None].masked_fill(masked_NCLQ, v.mask), masked_NCLQ, valid_NL, frames_N)


def texts(count: int) -> tuple[Tensor, Tensor]:
    text_NS = torch.randint(2, tiny.WORDS, (count, 6), generator=torch.Generator().manual_seed(1))
    return text_NS, torch.tensor([6, 3, 5][:count])


def open_cells(x: Noised) -> Tensor:
    return x.masked_NCLQ & x.valid_NL[:, None, :, None]


def in_training(
    talker: Talker, x: Noised, ids_NCLQ: Tensor, text_NS: Tensor, states_N: Tensor, context: str = "clean"
) -> Tensor:
    """``logits_NCLQV`` by the layout that training uses."""
    layout = {"clean": two_stream, "joint": single_stream}[context]
    rows = layout(replace(x, ids_NCLQ=ids_NCLQ), talker.clock, talker.vocabulary)
    again = len(rows.ids_NTQ) // len(text_NS)
    words = text_NS.repeat_interleave(again, 0), states_N.repeat_interleave(again, 0)
    logits = talker.logits(talker(rows.ids_NTQ, rows.meta, *words, rows.wanted))
    return logits.reshape(*ids_NCLQ.shape, -1)


@pytest.mark.parametrize("context", list(CONTEXTS))
@pytest.mark.parametrize("conditioning", ["anchors", "prefix", "both", "paced"])
@pytest.mark.parametrize("codebooks", [1, 3])
def test_the_teacher_sees_what_training_and_decoding_see(codebooks: int, conditioning: str, context: str) -> None:
    talker = tiny.talker(codebooks, conditioning=conditioning)
    x, (text_NS, states_N) = noised(talker), texts(3)
    with torch.no_grad():
        hidden_NCLD = CONTEXTS[context](talker, x, text_NS, states_N).hidden(x.ids_NCLQ)
        found = talker.logits(hidden_NCLD.flatten(1, 2)).unflatten(1, hidden_NCLD.shape[1:3])
        wanted = in_training(talker, x, x.ids_NCLQ, text_NS, states_N, context)
    there = x.valid_NL[:, None].expand(-1, 2, -1)
    torch.testing.assert_close(found[there], wanted[there])


@pytest.mark.parametrize(("context", "knows"), [("clean", True), ("joint", False)])
def test_only_behind_clean_blocks_it_knows_true_codes_that_the_copy_does_not_show(context: str, knows: bool) -> None:
    """In a single stream the student sees earlier blocks as masked as they are: so must its teacher (VocalNet-MDM 3.4)."""
    talker = tiny.talker()
    x, words = noised(talker), texts(3)
    hidden_code = open_cells(x)[:, :, :BLOCK].all(1)  # of the first block, masked in both copies
    assert hidden_code.any()
    codes_NLQ = x.codes_NLQ.clone()
    codes_NLQ[:, :BLOCK][hidden_code] = (codes_NLQ[:, :BLOCK][hidden_code] + 1) % talker.vocabulary.size
    one, other = (
        Teacher(talker, preset("even"), 2, context=context).trace(replace(x, codes_NLQ=codes), *words, hidden=True)
        for codes in (x.codes_NLQ, codes_NLQ)
    )
    assert one.hidden_NCLQD is not None
    assert other.hidden_NCLQD is not None
    assert (not torch.equal(one.hidden_NCLQD, other.hidden_NCLQD)) == knows


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 9])
def test_every_block_decides_its_quota(steps: int) -> None:
    """Of R cells that are left, iteration j of K decides the smallest whole number not below R / (K - j + 1)."""
    talker = tiny.talker()
    x = noised(talker)
    trace = Teacher(talker, preset("even"), steps).trace(x, *texts(3))
    masked_RM, step_RM = (t.reshape(-1, BLOCK) for t in (open_cells(x), trace.step_NCLQ))
    assert torch.equal(step_RM != GIVEN, masked_RM), "each masked cell is decided, and none that was given"
    left_R = masked_RM.sum(1)
    for step in range(1, steps + 1):
        quota_R = -(-left_R // (steps - step + 1))
        assert torch.equal((step_RM == step).sum(1), quota_R)
        left_R = left_R - quota_R


@pytest.mark.parametrize("context", list(CONTEXTS))
@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("codebooks", [1, 2])
@pytest.mark.parametrize("policy", ["even", "ending", "margin", "left_to_right", "threshold"])
def test_replayed_from_its_record_it_decides_the_same(policy: str, codebooks: int, forced: bool, context: str) -> None:
    """T20: the state before each iteration, rebuilt and run through the training layout, gives the same cells, codes and certainty."""
    talker, steps = tiny.talker(codebooks), 3
    x, words, v = noised(talker), texts(3), talker.vocabulary
    trace = Teacher(talker, preset(policy), steps, forced, context).trace(x, *words, hidden=True)
    assert trace.hidden_NCLQD is not None
    for step in range(1, steps + 1):
        before_NCLQ, now_NCLQ = state(trace.step_NCLQ, trace.token_NCLQ, step, v.mask), trace.step_NCLQ == step
        open_NCLQ = open_cells(x) & (trace.step_NCLQ >= step)
        assert torch.equal(
            before_NCLQ[x.valid_NL[:, None].expand(-1, 2, -1)] == v.mask,
            open_NCLQ[x.valid_NL[:, None].expand(-1, 2, -1)],
        )
        with torch.no_grad():
            logits_NCLQV = in_training(talker, x, before_NCLQ, *words, context)
            kept_NCLQV = talker.logits(trace.hidden_NCLQD.flatten(0, 2))  # of each cell's own iteration
        if codebooks > 1:
            logits_NCLQV[..., 1:, v.eos] = float("-inf")
        chosen_NCLQ, wanted_NCLQ = decided(
            talker, policy, logits_NCLQV, before_NCLQ, open_NCLQ, step, steps, x if forced else None
        )
        assert torch.equal(now_NCLQ, wanted_NCLQ)
        assert torch.equal(trace.token_NCLQ[now_NCLQ], chosen_NCLQ[now_NCLQ])
        logp_P = logits_NCLQV.log_softmax(-1).gather(-1, chosen_NCLQ[..., None])[..., 0][now_NCLQ]
        torch.testing.assert_close(trace.sure_NCLQ[now_NCLQ].double(), logp_P, atol=1e-5, rtol=1e-5)
        if codebooks == 1:
            torch.testing.assert_close(kept_NCLQV.view_as(logits_NCLQV)[now_NCLQ], logits_NCLQV[now_NCLQ])
    done_NCLQ = state(trace.step_NCLQ, trace.token_NCLQ, steps + 1, v.mask)
    assert torch.equal(done_NCLQ, trace.token_NCLQ)
    assert not (done_NCLQ == v.mask)[x.valid_NL[:, None].expand(-1, 2, -1)].any()


def decided(
    talker: Talker,
    policy: str,
    logits_NCLQV: Tensor,
    shown_NCLQ: Tensor,
    open_NCLQ: Tensor,
    step: int,
    steps: int,
    truth: Noised | None,
) -> tuple[Tensor, Tensor]:
    """(codes, which cells are decided) of one iteration, block after block."""
    v, q = talker.vocabulary, open_NCLQ.shape[-1]
    codes, now = torch.zeros_like(open_NCLQ, dtype=torch.int64), torch.zeros_like(open_NCLQ)
    for start in range(0, open_NCLQ.shape[2], BLOCK):
        part = slice(start, start + BLOCK)
        for n in range(open_NCLQ.shape[0]):
            for c in range(open_NCLQ.shape[1]):
                stats = preset(policy).stats(logits_NCLQV[n, c, part].reshape(1, BLOCK * q, -1))
                open_BQ, token_BQ = open_NCLQ[n, c, part], stats.token_NM.view(BLOCK, q)
                last = preset(policy).ends_last
                over_BQ = behind_the_end(torch.where(open_BQ, token_BQ, shown_NCLQ[n, c, part])[None], v.eos)[0]
                masked = (open_BQ & ~over_BQ if last and step < steps else open_BQ).reshape(1, -1)
                chosen = token_BQ if truth is None else truth.codes_NLQ[n, part]
                mine = (preset(policy).select(stats, masked, step, steps, codebooks=q) & masked).view(BLOCK, q)
                if last:
                    ended = open_BQ & behind_the_end(torch.where(mine, chosen, shown_NCLQ[n, c, part])[None], v.eos)[0]
                    chosen, mine = chosen.masked_fill(ended, v.eos), mine | ended
                elif q > 1:  # frames that codebook 0 has ended, now or as it was given, end in all
                    first = torch.where(mine, chosen, shown_NCLQ[n, c, part])[:, :1]
                    ended = open_NCLQ[n, c, part] & ~mine & (first == v.eos)
                    chosen, mine = chosen.masked_fill(ended, v.eos), mine | ended
                codes[n, c, part], now[n, c, part] = chosen, mine
    return codes, now


@pytest.mark.parametrize("context", list(CONTEXTS))
def test_an_utterance_is_traced_alike_alone_and_beside_longer_ones(context: str) -> None:
    talker = tiny.talker()
    x, (text_NS, states_N) = noised(talker), texts(3)
    teacher = Teacher(talker, preset("even"), 3, context=context)
    together = teacher.trace(x, text_NS, states_N)
    for n, frames in enumerate((9, 3, 14)):
        own = (frames // BLOCK + 1) * BLOCK
        alone = Noised(x.codes_NLQ[n : n + 1, :own], x.ids_NCLQ[n : n + 1, :, :own], x.masked_NCLQ[n : n + 1, :, :own],
                       x.valid_NL[n : n + 1, :own], x.frames_N[n : n + 1])  # fmt: skip
        trace = teacher.trace(alone, text_NS[n : n + 1, : states_N[n]], states_N[n : n + 1])
        assert torch.equal(trace.step_NCLQ[0], together.step_NCLQ[n, :, :own])
        assert torch.equal(trace.token_NCLQ[0], together.token_NCLQ[n, :, :own])


@pytest.mark.parametrize("codebooks", [1, 2])
@pytest.mark.parametrize("policy", ["even", "ending", "left_to_right", "cosine", "margin"])
def test_a_decoder_goes_the_way_of_the_teacher(policy: str, codebooks: int) -> None:
    """What a decoder said, masked wholly and traced behind itself, is decided again: same codes, same iterations, ends among them."""
    inside = [_same_way(tiny.talker(codebooks, seed=seed, max_frames=24), policy) for seed in range(6)]
    assert any(inside), "speech ends in mid-block somewhere"


def _same_way(talker: Talker, policy: str) -> bool:
    """Whether speech ended inside a block."""
    steps, (text_NS, states_N) = 3, texts(1)
    decoder = BlockDecoder(talker, 1, policy=preset(policy), steps=steps)
    decoder.feed(text_NS, states_N.tolist(), ended=True)
    said, when, valid = [], [], []
    while (chunk := decoder.next()) is not None:
        said.append(decoder.before_NBQ)
        when.append(chunk.steps_NTQ)
        valid.append(chunk.valid_N[0])
    codes_NLQ = torch.cat([s for s in said if s is not None], 1)
    length = codes_NLQ.shape[1]
    masked = torch.ones(1, 1, length, talker.vocabulary.codebooks, dtype=torch.bool)
    x = Noised(codes_NLQ, torch.full_like(codes_NLQ, talker.vocabulary.mask)[:, None], masked,
               torch.ones(1, length, dtype=torch.bool), torch.tensor([length]))  # fmt: skip
    trace = Teacher(talker, preset(policy), steps).trace(x, text_NS, states_N)
    assert torch.equal(trace.token_NCLQ[:, 0], codes_NLQ)
    steps_NTQ = torch.cat(when, 1)
    assert torch.equal(trace.step_NCLQ[:, 0, : steps_NTQ.shape[1]].long(), steps_NTQ.long())
    return 0 < valid[-1] < BLOCK


@pytest.mark.parametrize("steps", [2, 4])
def test_half_as_many_iterations_pass_through_states_of_the_whole(steps: int) -> None:
    """T21: with an order that does not hang on states, K / 2 iterations pass through every second state of K. Counts are whole numbers."""
    talker = tiny.talker()
    x, words = noised(talker, rate=1.0), texts(3)
    whole, half = (
        Teacher(talker, preset("left_to_right"), k, forced=True).trace(x, *words) for k in (steps, steps // 2)
    )
    assert torch.equal(half.step_NCLQ.int(), (whole.step_NCLQ.int() + 1) // 2)


def decoded(talker: Talker) -> tuple[Tensor, Tensor]:
    """Codes and steps of all blocks of three rows, in three steps a block."""
    text_NS, states_N = texts(3)
    decoder = BlockDecoder(talker, 3, steps=3)
    decoder.feed(text_NS, states_N.tolist(), ended=True)
    chunks = list(stream(decoder))
    return torch.cat([c.codes_NTQ for c in chunks], 1), torch.cat([c.steps_NTQ for c in chunks], 1)


Divergence = Callable[[Tensor, Tensor], Tensor]


def taught_at_every_state(student: Talker, teacher: Talker, context: str, divergence: Divergence) -> list[Tensor]:
    """A loss for each iteration, at the cells that the teacher decides in it."""
    x, words = noised(student), texts(3)
    trace = Teacher(teacher, preset("even"), 3, context=context).trace(x, *words, hidden=True)
    assert trace.hidden_NCLQD is not None
    losses = []
    for step in range(1, 4):
        now_NCL = (trace.step_NCLQ == step)[..., 0]
        assert now_NCL.any()
        ids_NCLQ = state(trace.step_NCLQ, trace.token_NCLQ, step, student.vocabulary.mask)
        student_PV = in_training(student, x, ids_NCLQ, *words, context)[..., 0, :][now_NCL]
        teacher_PV = teacher.logits(trace.hidden_NCLQD[..., 0, :][now_NCL][:, None])[:, 0, 0].detach()
        losses.append(divergence(student_PV, teacher_PV).mean())
    return losses


@pytest.mark.parametrize("context", list(CONTEXTS))
@pytest.mark.parametrize("kl", [reverse_kl, forward_kl])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(kl: Callable[..., Tensor], context: str) -> None:
    """T26, of as many iterations as the teacher: at every state the loss is 0, its gradient is 0, and a step changes nothing said.

    Without decay; the step's epsilon dominates gradients that are rounding, which Adam would make as large as any.
    """
    talker, teacher = tiny.talker(max_frames=32), tiny.talker(max_frames=32)
    before, divergence = decoded(talker), partial(kl, tau=2.0, floor=-30.0)
    optimiser = torch.optim.AdamW(talker.parameters(), lr=1e-2, eps=1e-3, weight_decay=0.0)
    losses = taught_at_every_state(talker, teacher, context, divergence)
    assert [loss.item() for loss in losses] == pytest.approx([0] * 3, abs=1e-12)
    torch.stack(losses).sum().backward()
    assert max(p.grad.abs().max().item() for p in talker.parameters() if p.grad is not None) < 1e-10
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(decoded(talker), before, strict=True))

    other = tiny.talker(seed=1, max_frames=32)
    torch.stack(taught_at_every_state(talker, other, context, divergence)).sum().backward()
    optimiser.step()
    after = decoded(talker)
    assert after[0].shape != before[0].shape or not torch.equal(after[0], before[0]), (
        "another teacher is heard in one step"
    )


def test_a_policy_that_draws_is_refused() -> None:
    talker = tiny.talker()
    with pytest.raises(ValueError, match="needs a key to draw with"):
        Teacher(talker, preset("even", temperature=1.0), 2).trace(noised(talker), *texts(3))


@pytest.mark.parametrize("steps", [0, 256])
def test_iterations_that_a_byte_cannot_hold_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 255 iterations, not {steps}"):
        Teacher(tiny.talker(), preset("even"), steps)


def test_the_last_iteration_a_byte_can_hold() -> None:
    talker = tiny.talker()
    x = noised(talker, frames=(3,), copies=1, rate=1.0)
    trace = Teacher(talker, preset("even"), 255).trace(x, *texts(1))
    assert sorted(trace.step_NCLQ.flatten().tolist()) == [1, 2, 3, 4], (
        "one cell an iteration, and nothing after the last"
    )


def test_behind_the_last_iteration_a_byte_can_hold_everything_is_decided() -> None:
    """T20: 256 cells in 255 iterations; the state behind them asks whether a byte is below 256."""
    talker = tiny.silence_eos(tiny.talker(16, block=16))
    x, words, mask = noised(talker, frames=(15,), copies=1, rate=1.0), texts(1), talker.vocabulary.mask
    trace = Teacher(talker, preset("even"), 255).trace(x, *words)
    assert trace.step_NCLQ.max() == 255
    last_NCLQ = trace.step_NCLQ == 255
    assert torch.equal(state(trace.step_NCLQ, trace.token_NCLQ, 255, mask) == mask, last_NCLQ)
    assert torch.equal(state(trace.step_NCLQ, trace.token_NCLQ, 256, mask), trace.token_NCLQ)
    assert not (trace.token_NCLQ == mask).any()


@pytest.mark.parametrize("context", list(CONTEXTS))
@pytest.mark.parametrize("codebooks", [1, 3])
def test_rebuilt_states_are_those_that_the_teacher_saw(
    codebooks: int, context: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T20: before every iteration, what is rebuilt from the record is what went through the network."""
    talker, steps, of = tiny.talker(codebooks), 4, CONTEXTS[context]
    shown: list[Tensor] = []

    @dataclass(frozen=True)
    class Watched:
        seen: Seen

        def hidden(self, ids_NCLQ: Tensor) -> Tensor:
            shown.append(ids_NCLQ)
            return self.seen.hidden(ids_NCLQ)

    monkeypatch.setitem(CONTEXTS, context, lambda *asked: Watched(of(*asked)))
    x, words = noised(talker), texts(3)
    trace = Teacher(talker, preset("even"), steps, context=context).trace(x, *words)
    assert len(shown) == steps
    valid_NCL = x.valid_NL[:, None].expand(-1, 2, -1)
    for j, ids_NCLQ in enumerate(shown, 1):
        rebuilt_NCLQ = state(trace.step_NCLQ, trace.token_NCLQ, j, talker.vocabulary.mask)
        assert torch.equal(rebuilt_NCLQ[valid_NCL], ids_NCLQ[valid_NCL])
    assert not torch.equal(shown[0], shown[-1]), "it does decide in between"
