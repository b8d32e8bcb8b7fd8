"""The network: what its outputs depend on, and what they do not."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.training.test_layout import CLOCK, utterances
from tests.training.tiny import settings, talker, words
from training.attention import Meta, allow, join
from training.cache import Cache
from training.decoding.body import bias_of
from training.layout import CLEAN, LAYOUTS, Noised, speech
from training.talker import Talker
from training.transformer import Attention, Rotary
from training.vocabulary import Vocabulary

CONDITIONINGS = ["anchors", "prefix", "both", "paced"]
HUGE = 10  # the last code; utterances are drawn without it


def logits(made: Talker, x: Noised, text_NS: Tensor, counts_N: Tensor, layout: str = "two_stream") -> Tensor:
    rows = LAYOUTS[layout](x, made.clock, made.vocabulary)
    text_NS = text_NS.repeat_interleave(len(rows.ids_NTQ) // len(text_NS), 0)
    counts_N = counts_N.repeat_interleave(len(rows.ids_NTQ) // len(counts_N))
    return made.logits(made(rows.ids_NTQ, rows.meta, text_NS, counts_N, rows.wanted)).detach()


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_padding_changes_nothing(conditioning: str, layout: str) -> None:
    """T05: any ids at positions that are not there, any text behind the text, as large as one likes, to the last bit."""
    made, x = talker(2, conditioning=conditioning), utterances()
    counts_N, text_NS = torch.tensor([5, 2]), words(2, 6).clamp(max=5)
    with torch.no_grad():  # a code and a word that occur as padding only
        made.codes.weight.view(2, -1, 32)[:, HUGE] = 1e4
        made.reader.embed.weight[6] = 1e4
    absent_NL1 = ~x.valid_NL[:, :, None]
    ids_NCLQ = x.ids_NCLQ.masked_fill(absent_NL1[:, None], HUGE)
    other = Noised(x.codes_NLQ.masked_fill(absent_NL1, HUGE), ids_NCLQ, x.masked_NCLQ, x.valid_NL, x.frames_N)
    other_NS = text_NS.masked_fill(torch.arange(6) >= counts_N[:, None], 6)
    plain, padded = logits(made, x, text_NS, counts_N, layout), logits(made, other, other_NS, counts_N, layout)
    rows = LAYOUTS[layout](x, made.clock, made.vocabulary)
    valid_NP = rows.meta.valid_NT[:, rows.wanted].expand(plain.shape[:2])
    assert torch.equal(plain[valid_NP], padded[valid_NP])
    assert not torch.equal(plain, padded)
    assert padded.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("whole_row", [False, True])
def test_a_position_that_may_see_nothing_sees_nothing_and_has_no_gradient(dtype: torch.dtype, whole_row: bool) -> None:
    """T05: numbers, in training and behind the bias of decoding; others in the row are as they would be anyway."""
    torch.manual_seed(0)
    attention, rotary = Attention(32, 2).to(dtype), Rotary(16, 5)
    allowed_NTT = torch.ones(2, 5, 5, dtype=torch.bool).tril()
    allowed_NTT[0, 0 if not whole_row else slice(None)] = False
    x_NTD = torch.randn(2, 5, 32, dtype=dtype, requires_grad=True)
    seen_NTD = attention(x_NTD, rotary.at(torch.arange(5)[None], dtype), allowed_NTT, slice(None))
    assert (seen_NTD[0, 0] == 0).all()
    seen_NTD.square().sum().backward()
    for gradient in (x_NTD.grad, attention.qkv.weight.grad, attention.out.weight.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
    assert x_NTD.grad is not None
    assert not whole_row or (x_NTD.grad[0] == 0).all()

    q, k, v = torch.randn(3, 2, 2, 5, 16, dtype=dtype)
    bias_N1TT = bias_of(allowed_NTT, dtype)
    assert bias_N1TT.isfinite().all(), "whatever attention makes of a row of nothing but -inf"
    biased = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_N1TT)
    masked = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed_NTT[:, None])
    assert biased.isfinite().all()
    some = allowed_NTT.any(2)[:, None].expand(-1, 2, -1)
    torch.testing.assert_close(biased[some], masked[some])


def rows_of(x: Noised, rows: list[int], length: int = 12) -> Noised:
    """Some rows in some order, cut to a length."""
    x = Noised(*(getattr(x, f.name)[rows] for f in fields(Noised)))
    cut = x.ids_NCLQ[:, :, :length], x.masked_NCLQ[:, :, :length]
    return Noised(x.codes_NLQ[:, :length], *cut, x.valid_NL[:, :length], x.frames_N)


def placed(x: Noised, logits_NRQC: Tensor, layout: str) -> list[dict[tuple[int, ...], Tensor]]:
    """For each row of a layout, what is said at each position that is there, by what the position is."""
    rows = LAYOUTS[layout](x, CLOCK, Vocabulary(11, 2))
    meta = rows.meta[rows.wanted]
    n = len(logits_NRQC)
    names = ("stream_NT", "copy_NT", "block_NT", "pos_NT")
    what_NT4 = torch.stack([getattr(meta, name).expand(n, -1) for name in names], -1)
    valid_NT = meta.valid_NT.expand(n, -1)
    return [
        {tuple(key): said for key, said, valid in zip(what.tolist(), row, there, strict=True) if valid}
        for what, row, there in zip(what_NT4, logits_NRQC, valid_NT, strict=True)
    ]


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_row_is_the_same_beside_others_and_in_another_order(conditioning: str, layout: str) -> None:
    """T15, T16 in training: shorter rows among longer ones, behind them and before them, and alone."""
    made, x = talker(2, conditioning=conditioning), utterances()
    counts_N, text_NS = torch.tensor([5, 2]), words(2, 6)
    whole = placed(x, logits(made, x, text_NS, counts_N, layout), layout)
    again = len(whole) // 2
    turned = rows_of(x, [1, 0])
    other = placed(turned, logits(made, turned, text_NS.flip(0), counts_N.flip(0), layout), layout)
    alone = rows_of(x, [1], 4)
    short = placed(alone, logits(made, alone, text_NS[1:, :2], counts_N[1:], layout), layout)
    pairs = [*zip(whole, other[again:] + other[:again], strict=True), *zip(whole[again:], short, strict=True)]
    assert len(pairs) == 3 * again
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        for key, said in theirs.items():
            torch.testing.assert_close(ours[key], said, rtol=0, atol=1e-12)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_padding_on_the_left_is_padding_like_any_other(conditioning: str, layout: str) -> None:
    """T15: where blocks begin is said by positions, not by places in the row; each row has padding of its own before it."""
    made, x, room = talker(2, conditioning=conditioning), utterances(), 5
    rows = LAYOUTS[layout](x, CLOCK, made.vocabulary)
    again = len(rows.ids_NTQ) // 2
    counts_N, text_NS = torch.tensor([5, 2]).repeat_interleave(again), words(2, 6).repeat_interleave(again, 0)
    plain = made.logits(made(rows.ids_NTQ, rows.meta, text_NS, counts_N))
    before_N = [2 + n % 4 for n in range(len(plain))]

    def padded(value_NT: Tensor, filling: int) -> Tensor:
        found = value_NT.new_full((len(plain), value_NT.shape[1] + room, *value_NT.shape[2:]), filling)
        for n, before in enumerate(before_N):
            found[n, before : before + value_NT.shape[1]] = value_NT[n % len(value_NT)]
        return found

    meta = Meta(*(padded(getattr(rows.meta, f.name), f.name != "valid_NT") for f in fields(Meta)))
    found = made.logits(made(padded(rows.ids_NTQ, HUGE), meta, text_NS, counts_N))
    for n, before in enumerate(before_N):
        valid_T = rows.meta.valid_NT[n % len(rows.meta.valid_NT)]
        here = found[n, before : before + len(valid_T)]
        torch.testing.assert_close(here[valid_T], plain[n, valid_T], rtol=0, atol=1e-12)


def test_text_of_a_later_turn_is_not_known() -> None:
    """Block b knows text states up to its turn, in every conditioning; then it does depend on them."""
    for conditioning in CONDITIONINGS:
        made, x = talker(2, conditioning=conditioning), utterances()
        text_NS, counts_N = words(2, 6), torch.tensor([6, 6])
        other_NS = torch.cat([text_NS[:, :2], (text_NS[:, 2:] + 1) % 7], 1)
        one, other = (logits(made, x, t, counts_N)[:1].unflatten(1, (2, 12)) for t in (text_NS, other_NS))
        assert torch.equal(one[:, :, :4], other[:, :, :4]), conditioning
        assert not torch.equal(one[:, :, 4:8], other[:, :, 4:8]), conditioning


def test_anchors_are_added_in_order_and_end_with_the_text() -> None:
    """Turn b's states at the first positions of block b; past the end of a row's text the vector that stands for none."""
    made = talker()
    assert made.anchors is not None
    states_NSD = torch.randn(2, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = made.anchors(states_NSD, torch.tensor([5, 3]), speech(0, 12, CLOCK, CLEAN)).detach()
    projected, none = made.anchors.project(states_NSD).detach(), made.anchors.none_D.detach()
    expected = torch.zeros(2, 12, 32, dtype=torch.float64)
    for row, count in enumerate([5, 3]):
        for state in range(6):
            position = state // 2 * 4 + state % 2
            expected[row, position] = projected[row, state] if state < count else none
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_a_row_without_text(conditioning: str) -> None:
    """No text states at all are the same as some that are all padding."""
    made, x = talker(2, conditioning=conditioning), utterances()
    none_N = torch.tensor([0, 0])
    one, other = (logits(made, x, words(2, count), none_N) for count in (0, 3))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert one.isfinite().all()


@pytest.mark.parametrize("sizes", [[5], [1, 1, 1, 1, 1], [2, 0, 3]])
def test_the_reader_reads_in_pieces(sizes: list[int]) -> None:
    """Text in any pieces, over a cache, gives the states of the whole text."""
    made, text_NS = talker(text_layers=2), words(2, 5)
    cache, parts = Cache.empty(2, 2, 2, 8, 16, torch.float64), []
    for size in sizes:
        first = cache.length
        parts.append(made.reader(text_NS[:, first : first + size], first, cache))
        cache.commit(size)
    torch.testing.assert_close(torch.cat(parts, 1), made.reader(text_NS), rtol=0, atol=1e-12)


def test_only_wanted_positions_are_worked_out_and_are_what_they_were() -> None:
    made = talker()
    meta = speech(0, 12, CLOCK, CLEAN)
    x_NTD = torch.randn(2, 12, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = made.body(x_NTD, meta.pos_NT, allow(meta, meta))
    part = made.body(x_NTD, meta.pos_NT, allow(meta, meta), slice(8, None))
    torch.testing.assert_close(part, whole[:, 8:], rtol=0, atol=1e-12)


def test_the_cache_refuses_what_it_has_no_room_for() -> None:
    cache = Cache.empty(1, 1, 1, 4, 2)
    cache.extended(0, torch.zeros(2, 1, 1, 4, 2))
    cache.commit(3)
    with pytest.raises(ValueError, match="holds 4 positions, 5 are needed"):
        cache.extended(0, torch.zeros(2, 1, 1, 2, 2))


def test_a_cache_makes_room_twofold_and_keeps_what_is_settled() -> None:
    cache = Cache.empty(1, 1, 1, 4, 2)
    cache.extended(0, torch.ones(2, 1, 1, 3, 2))
    cache.commit(3)
    cache.make_room(1)
    assert cache.capacity == 4
    cache.make_room(2)
    assert cache.capacity == 8
    assert cache.extended(0, torch.zeros(2, 1, 1, 2, 2))[0, 0, 0, :, 0].tolist() == [1, 1, 1, 0, 0]
    cache.make_room(60)
    assert cache.capacity == 63, "a large piece gets what it needs"
    Cache.empty(0, 1, 1, 4, 2).make_room(9)


def test_a_copy_of_a_cache_goes_its_own_way() -> None:
    cache = Cache.empty(1, 1, 1, 4, 2)
    cache.extended(0, torch.ones(2, 1, 1, 2, 2))
    cache.commit(2)
    other = cache.copy()
    cache.extended(0, torch.full((2, 1, 1, 1, 2), 3.0))
    seen = other.extended(0, torch.full((2, 1, 1, 1, 2), 5.0))
    assert seen[0, 0, 0, :, 0].tolist() == [1, 1, 5]
    assert other.length == 2


def test_specials_are_read_but_never_said() -> None:
    """The head has codes and EOS; the embedding knows MASK and START as well."""
    v = Vocabulary(11, 3)
    made = Talker(settings(), v, 7)
    assert made.head.out_features == 3 * v.classes == 36
    assert made.codes.num_embeddings == 3 * v.embeddings == 42
    assert max(v.eos, v.mask, v.start) < v.embeddings
    assert len({v.eos, v.mask, v.start}) == 3
    assert v.eos < v.classes <= v.mask


def test_text_side_by_side_with_speech_is_one_row() -> None:
    one = join(speech(0, 4, CLOCK, CLEAN), speech(4, 4, CLOCK, CLEAN))
    whole = speech(0, 8, CLOCK, CLEAN)
    assert torch.equal(one.pos_NT, whole.pos_NT)
    assert torch.equal(one.turn_NT, whole.turn_NT)
