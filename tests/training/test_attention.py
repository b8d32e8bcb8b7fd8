"""One predicate says who may look at whom; these tests know the rules a second time, position by position."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

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
    for b, copy in itertools.product(range(blocks), range(int(meta.copy_NT.max()) + 1)):
        own = (meta.stream_NT[0] == NOISY) & (meta.block_NT[0] == b) & (meta.copy_NT[0] == copy)
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


def among_copies(q: Meta, k: Meta) -> Tensor:
    """The rule without copies: a noisy block sees itself in other copies too. In training these show what is masked in it."""
    one = torch.zeros_like(q.copy_NT)
    return allow(replace(q, copy_NT=one), replace(k, copy_NT=torch.zeros_like(k.copy_NT)))


def row(blocks: int, clock: Clock, copies: int) -> Meta:
    return join(text(0, blocks * clock.anchors, clock), two_stream(noised(blocks, clock, copies), clock, V).meta)


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("copies", [1, 2])
def test_no_chain_of_looks_reaches_the_answer(layers: int, block: int, copies: int) -> None:
    """T02: the closure over layers is the noisy block in its own copy, the clean blocks before it, and its text."""
    meta = row(4, Clock(block, min(block, 2)), copies)
    assert not leaks(meta, 4, layers, allow)
    assert leaks(meta, 4, layers, too_much)  # T04
    assert bool(leaks(meta, 4, layers, among_copies)) == (copies > 1)


def gradients(made: Talker, block: int, copy: int) -> Tensor:
    """``size_T``: how much the logits of a noisy block of one of two copies depend on each input position."""
    x = noised(3, made.clock, copies=2)
    rows = two_stream(x, made.clock, V)
    kept: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = made.codes.register_forward_hook(keep)
    logits = made.logits(made(rows.ids_NTQ, rows.meta, words(1, 6), torch.tensor([6]), rows.wanted))
    handle.remove()
    size = made.clock.block
    first = (3 * copy + block) * size
    logits[:, first : first + size].square().sum().backward()
    assert kept[0].grad is not None
    return kept[0].grad.abs().sum((0, 2, 3))


@pytest.mark.parametrize("conditioning", ["anchors", "prefix", "both", "paced"])
@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize("copy", [0, 1])
def test_no_gradient_flows_from_the_answer(
    conditioning: str, block: int, copy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T03: exactly zero where a block must not look, other copies too, and not zero where it may; T04: mutations are seen."""
    made = talker(conditioning=conditioning)
    size = made.clock.block
    own = (3 + 3 * copy + block) * size
    may = torch.zeros(9 * size, dtype=torch.bool)
    may[: block * size] = True  # clean blocks before
    may[own : own + size] = True  # itself
    found = gradients(made, block, copy)
    assert (found[~may] == 0).all()
    assert (found[may] > 0).all()
    monkeypatch.setattr("training.talker.allow", too_much)
    answer = slice(block * size, (block + 1) * size)
    assert (gradients(made, block, copy)[answer] > 0).all()
    monkeypatch.setattr("training.talker.allow", among_copies)
    other = (3 + 3 * (1 - copy) + block) * size
    assert (gradients(made, block, copy)[other : other + size] > 0).all()


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
