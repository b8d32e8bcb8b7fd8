"""One predicate says who may look at whom; these tests know the rules a second time, position by position."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.training.tiny import talker, words
from training.attention import CLEAN, NOISY, Meta, allow, join
from training.layout import Anchored, Clock, Noised, Rows, autoregressive, in_blocks, single_stream, text, two_stream
from training.talker import Talker
from training.vocabulary import Vocabulary

V = Vocabulary(11)
Rule = Callable[[Meta, Meta], Tensor]
Place = tuple[str, int, int, int]  # kind, position or index, copy or anchor, place in the window


def noised(blocks: int, clock: Clock, copies: int = 1, rows: int = 1, seed: int = 0) -> Noised:
    """Random utterances, everything masked in their noisy copies."""
    length = blocks * clock.block
    codes_NLQ = torch.randint(0, V.size, (rows, length, 1), generator=torch.Generator().manual_seed(seed))
    ids_NCLQ = torch.full((rows, copies, length, 1), V.mask)
    valid_NL = torch.ones(rows, length, dtype=torch.bool)
    return Noised(codes_NLQ, ids_NCLQ, ids_NCLQ == V.mask, valid_NL, valid_NL.sum(1))


@dataclass(frozen=True)
class Rules:
    """The beat of text; whether windows are causal; and the positions of a block, where they are not those of the beat."""

    clock: Clock
    causal: bool = True
    short: int | None = None


def sees(q: Place, k: Place, rules: Rules) -> bool:
    """The rules in words, of single positions; nothing here reads :class:`Meta`."""
    clock, block = rules.clock, rules.short or rules.clock.block
    (q_kind, q_pos, q_of, q_place), (k_kind, k_pos, k_of, k_place) = q, k
    if k_kind == "text":
        return k_pos <= q_pos if q_kind == "text" else k_pos // clock.anchors <= q_pos // clock.block
    if q_kind == "text":
        return False
    q_block, k_block = q_pos // block, k_pos // block
    if q_kind == "mask":  # of a window: the row up to its anchor, and its own window
        return k_pos <= q_of if k_kind == "frame" else k_of == q_of and (k_place <= q_place or not rules.causal)
    if q_kind == "frame":
        return k_kind == "frame" and k_pos <= q_pos
    if q_kind == "noisy":
        return k_block < q_block if k_kind == "clean" else k_of == q_of and k_block == q_block
    return k_kind == "clean" and k_block <= q_block


def table(places: list[Place], rules: Rules) -> Tensor:
    return torch.tensor([[sees(q, k, rules) for k in places] for q in places])


def of(kind: str, count: int, copy: int = 0) -> list[Place]:
    return [(kind, pos, copy, 0) for pos in range(count)]


def windows(length: int, layout: Anchored) -> list[Place]:
    anchors = range(0, max(length - layout.ahead, 0), layout.stride)
    return [("mask", a + 1 + i, a, i) for a in anchors for i in range(layout.ahead)]


def cases() -> list[tuple[str, Rows, list[Place], Rules]]:
    """Every layout, of up to four blocks of up to four positions; two streams also in all shorter blocks."""
    found = []
    for blocks, block in itertools.product((1, 2, 3, 4), (1, 2, 3, 4)):
        clock = Clock(block, min(block, 2))
        length = blocks * block
        x, rules = noised(blocks, clock, copies=2), Rules(clock)
        two = of("clean", length) + of("noisy", length, 0) + of("noisy", length, 1)
        found.append(("two_stream", two_stream(x, clock, V), two, rules))
        for short in (size for size in range(1, block) if block % size == 0):
            rows = in_blocks(two_stream(x, clock, V), short)
            found.append((f"two_stream in blocks of {short}", rows, two, Rules(clock, short=short)))
        found.append(("single_stream", single_stream(x, clock, V), of("clean", length), rules))
        found.append(("autoregressive", autoregressive(x, clock, V), of("frame", length), rules))
        for causal in (True, False):
            layout = Anchored(2, 3, causal)
            places = of("frame", length) + windows(length, layout)
            found.append((f"anchored causal={causal}", layout(x, clock, V), places, Rules(clock, causal)))
    return found


@pytest.mark.parametrize(("name", "rows", "places", "rules"), cases(), ids=lambda x: x if isinstance(x, str) else "")
def test_the_predicate_is_the_table(name: str, rows: Rows, places: list[Place], rules: Rules) -> None:
    """T01, without text and beside it; and of padding, nobody sees anything."""
    assert torch.equal(allow(rows.meta, rows.meta)[0], table(places, rules))
    states = 5
    meta = join(text(0, states, rules.clock), rows.meta)
    expected = table(of("text", states) + places, rules)
    assert torch.equal(allow(meta, meta)[0], expected)
    valid_NT = torch.rand(2, len(meta), generator=torch.Generator().manual_seed(1)) < 0.7
    padded = allow(meta, meta.padded(valid_NT))
    assert torch.equal(padded, expected & valid_NT[:, None])


def leaks(meta: Meta, blocks: int, layers: int, rule: Rule) -> list[tuple[int, int]]:
    """Pairs (noisy block b, position) where b depends, through all layers, on what it must not know."""
    allowed = rule(meta, meta)[0]
    reach = torch.eye(len(meta), dtype=torch.bool)
    for _ in range(layers):
        reach = (allowed.long() @ reach.long() > 0) | reach
    found = []
    for b in range(blocks):
        own = (meta.stream_NT[0] == NOISY) & (meta.block_NT[0] == b)
        clean = (meta.stream_NT[0] == CLEAN) & (meta.block_NT[0] < b)
        told = (meta.stream_NT[0] == 2) & (meta.turn_NT[0] <= b)
        reached = reach[own].any(0)
        assert reached[own | clean | told].all(), "what may be known is known"
        found += [(b, int(i)) for i in (reached & ~(own | clean | told)).nonzero()]
    return found


def too_much(q: Meta, k: Meta) -> Tensor:
    """The rule with <= for <: a noisy block sees its own clean block, the answer. A mutation that tests must catch."""
    answer = (q.stream_NT == NOISY)[:, :, None] & (k.stream_NT == CLEAN)[:, None]
    return allow(q, k) | answer & (q.block_NT[:, :, None] == k.block_NT[:, None])


def row(blocks: int, clock: Clock) -> Meta:
    return join(text(0, blocks * clock.anchors, clock), two_stream(noised(blocks, clock), clock, V).meta)


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("block", [1, 2, 4])
def test_no_chain_of_looks_reaches_the_answer(layers: int, block: int) -> None:
    """T02: the closure over layers is the noisy block, the clean blocks before it, and its text."""
    clock = Clock(block, min(block, 2))
    assert not leaks(row(4, clock), 4, layers, allow)
    assert leaks(row(4, clock), 4, layers, too_much)  # T04


def gradients(made: Talker, block: int) -> Tensor:
    """``size_T``: how much the logits of a noisy block depend on each input position."""
    x = noised(3, made.clock)
    rows = two_stream(x, made.clock, V)
    kept: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = made.codes.register_forward_hook(keep)
    logits = made.logits(made(rows.ids_NTQ, rows.meta, words(1, 6), torch.tensor([6]), rows.wanted))
    handle.remove()
    size = made.clock.block
    logits[:, block * size : (block + 1) * size].square().sum().backward()
    assert kept[0].grad is not None
    return kept[0].grad.abs().sum((0, 2, 3))


@pytest.mark.parametrize("conditioning", ["anchors", "prefix"])
@pytest.mark.parametrize("block", [0, 1, 2])
def test_no_gradient_flows_from_the_answer(conditioning: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """T03: exactly zero where a block must not look, and not zero where it may; T04: the mutation is seen."""
    made = talker(conditioning=conditioning)
    size = made.clock.block
    may = torch.zeros(6 * size, dtype=torch.bool)
    may[: block * size] = True  # clean blocks before
    may[(3 + block) * size : (4 + block) * size] = True  # itself
    found = gradients(made, block)
    assert (found[~may] == 0).all()
    assert (found[may] > 0).all()
    monkeypatch.setattr("training.talker.allow", too_much)
    answer = slice(block * size, (block + 1) * size)
    assert (gradients(made, block)[answer] > 0).all()


def final_loss(steps: int) -> float:
    """Mean loss, nats, at the end of training on random codes that are drawn anew for every step."""
    made = talker(block=2, anchors=1, dtype=torch.float32).train()
    optimiser = torch.optim.Adam(made.parameters(), 5e-3)
    text_NS, counts_N, losses = words(32, 0), torch.zeros(32, dtype=torch.long), []
    for step in range(steps):
        x = noised(2, made.clock, rows=32, seed=step)
        rows = two_stream(x, made.clock, V)
        logits = made.logits(made(rows.ids_NTQ, rows.meta, text_NS, counts_N, rows.wanted))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), rows.targets_NPQ.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return sum(losses[-20:]) / 20


def test_fresh_random_codes_cannot_be_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """T04: loss stays at ln V, and falls below it only where the answer leaks."""
    chance = math.log(V.size)
    assert final_loss(50) > chance - 0.01
    monkeypatch.setattr("training.talker.allow", too_much)
    assert final_loss(50) < chance - 1
