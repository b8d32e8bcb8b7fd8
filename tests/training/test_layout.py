"""Token rows: what is fed, what is asked, and where every position is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manifests.settings.train import WindowSettings
from training.attention import CLEAN, NOISY, Meta, allow
from training.layout import (
    LAYOUTS,
    Anchored,
    Clock,
    Noised,
    autoregressive,
    frames,
    in_blocks,
    layout_of,
    single_stream,
    speech,
    text,
    two_stream,
    window,
)
from training.vocabulary import Vocabulary

V = Vocabulary(11, 2)
CLOCK = Clock(4, 2)


def utterances() -> Noised:
    """Two rows of 12 positions: 9 frames, and 2 frames in the only block the second row has; two noisy copies."""
    codes_NLQ = torch.randint(0, V.size - 1, (2, 12, 2), generator=torch.Generator().manual_seed(0))
    frames_N = torch.tensor([9, 2])
    codes_NLQ[torch.arange(12)[None] >= frames_N[:, None]] = V.eos
    masked_NCLQ = torch.rand(2, 2, 12, 2, generator=torch.Generator().manual_seed(1)) < 0.5
    valid_NL = torch.arange(12)[None] < torch.tensor([[12], [4]])
    return Noised(codes_NLQ, codes_NLQ[:, None].masked_fill(masked_NCLQ, V.mask), masked_NCLQ, valid_NL, frames_N)


def column(meta: Meta, name: str) -> list[int]:
    return getattr(meta, name)[0].int().tolist()


def test_two_streams() -> None:
    """The clean utterance, then its noisy copies at the same positions; loss on masked cells of blocks that are there."""
    x = utterances()
    rows = two_stream(x, CLOCK, V)
    assert torch.equal(rows.ids_NTQ, torch.cat([x.codes_NLQ, x.ids_NCLQ[:, 0], x.ids_NCLQ[:, 1]], 1))
    assert column(rows.meta, "pos_NT") == list(range(12)) * 3
    assert column(rows.meta, "stream_NT") == [CLEAN] * 12 + [NOISY] * 24
    assert column(rows.meta, "copy_NT") == [0] * 24 + [1] * 12
    assert column(rows.meta, "block_NT") == column(rows.meta, "turn_NT") == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2] * 3
    assert torch.equal(rows.meta.valid_NT, x.valid_NL.repeat(1, 3))
    assert rows.ids_NTQ[:, rows.wanted].shape == rows.targets_NPQ.shape == rows.loss_NPQ.shape
    assert torch.equal(rows.targets_NPQ, x.codes_NLQ.repeat(1, 2, 1))
    assert torch.equal(rows.loss_NPQ, torch.cat([x.masked_NCLQ[:, c] & x.valid_NL[:, :, None] for c in range(2)], 1))


def test_shorter_blocks_change_who_sees_whom_and_not_the_text() -> None:
    """In blocks of one, a masked position sees itself and all that was said: what an autoregressive model sees."""
    x = utterances()
    rows = in_blocks(two_stream(x, CLOCK, V), 2)
    assert column(rows.meta, "block_NT") == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5] * 3
    assert column(rows.meta, "turn_NT") == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2] * 3
    single = in_blocks(two_stream(x, CLOCK, V), 1).meta
    seen = allow(single, single)[0]
    assert torch.equal(seen[:12, :12], torch.ones(12, 12).tril().bool())
    assert torch.equal(seen[12:24, :12], torch.ones(12, 12).tril(-1).bool())
    assert torch.equal(seen[12:24, 12:], torch.cat([torch.eye(12), torch.zeros(12, 12)], 1).bool())


def test_a_single_stream() -> None:
    """Each noisy copy is a row of its own, and looks at itself as it is."""
    x = utterances()
    rows = single_stream(x, CLOCK, V)
    assert torch.equal(rows.ids_NTQ, x.ids_NCLQ.flatten(0, 1))
    assert torch.equal(rows.targets_NPQ, x.codes_NLQ[[0, 0, 1, 1]])
    assert torch.equal(rows.meta.valid_NT, x.valid_NL[[0, 0, 1, 1]])
    assert set(column(rows.meta, "stream_NT")) == {CLEAN}
    assert not (rows.loss_NPQ & ~x.masked_NCLQ.flatten(0, 1)).any()


def test_autoregressive_rows_run_one_frame_behind() -> None:
    """The input is START and the frames; the first EOS is asked for, what follows it is not."""
    x = utterances()
    rows = autoregressive(x, CLOCK, V)
    assert (rows.ids_NTQ[:, 0] == V.start).all()
    assert torch.equal(rows.ids_NTQ[:, 1:], x.codes_NLQ[:, :-1])
    assert torch.equal(rows.targets_NPQ, x.codes_NLQ)
    assert rows.loss_NPQ[:, :, 0].sum(1).tolist() == [10, 3]
    assert column(rows.meta, "block_NT") == list(range(12))
    assert column(rows.meta, "turn_NT") == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
@pytest.mark.parametrize("causal", [True, False])
def test_anchored_windows(offset: int, causal: bool) -> None:
    """Windows of masks behind every stride-th position, each asked for the frames after that position's own."""
    x = utterances()
    rows = Anchored(3, 4, causal, offset)(x, CLOCK, V)
    plain = autoregressive(x, CLOCK, V)
    assert torch.equal(rows.ids_NTQ[:, :12], plain.ids_NTQ)
    anchors = [a for a in range(12) if a % 4 == offset and a + 3 < 12]
    behind = [a + 1 + i for a in anchors for i in range(3)]
    assert column(rows.meta, "pos_NT")[12:] == behind
    assert column(rows.meta, "block_NT")[12:] == [a + 1 for a in anchors for _ in range(3)]
    assert column(rows.meta, "order_NT")[12:] == ([0, 1, 2] if causal else [0, 0, 0]) * len(anchors)
    assert column(rows.meta, "turn_NT")[12:] == [p // 4 for p in behind]
    assert (rows.ids_NTQ[:, 12:] == V.mask).all()
    assert torch.equal(rows.targets_NPQ[:, 12:], x.codes_NLQ[:, behind])
    assert torch.equal(rows.loss_NPQ[:, 12:], plain.loss_NPQ[:, behind])


def test_an_utterance_too_short_for_a_window_has_none() -> None:
    x = utterances()
    short = Noised(x.codes_NLQ[:, :2], x.ids_NCLQ[:, :, :2], x.masked_NCLQ[:, :, :2], x.valid_NL[:, :2], x.frames_N)
    rows = Anchored(3, 1)(short, CLOCK, V)
    assert rows.ids_NTQ.shape == rows.targets_NPQ.shape == (2, 2, 2)


def cut(meta: Meta, first: int, count: int) -> list[list[int]]:
    return [column(meta[first : first + count], f) for f in ("stream_NT", "block_NT", "order_NT", "pos_NT", "turn_NT")]


@pytest.mark.parametrize(("first", "count"), [(0, 4), (3, 7), (8, 2), (5, 0)])
def test_a_part_of_a_row_is_what_it_is_in_the_row(first: int, count: int) -> None:
    """What decoders feed piece by piece: places count from the utterance's start, not from that of the piece (T15)."""
    for whole, part in (
        (speech(0, 12, CLOCK, NOISY), speech(first, count, CLOCK, NOISY)),
        (frames(0, 12, CLOCK), frames(first, count, CLOCK)),
        (text(0, 12, CLOCK), text(first, count, CLOCK)),
    ):
        assert cut(whole, first, count) == cut(part, 0, count)


def test_a_turn_of_text_for_every_block() -> None:
    assert column(text(0, 5, CLOCK), "turn_NT") == [0, 0, 1, 1, 2]


def test_windows_belong_to_the_position_before_them() -> None:
    pos_T: Tensor = torch.tensor([3, 4, 8, 9])
    meta = window(pos_T, 2, CLOCK, causal=True)
    assert column(meta, "block_NT") == [3, 3, 8, 8]
    assert column(meta, "turn_NT") == [0, 1, 2, 2]


def test_layouts_by_name() -> None:
    x = utterances()
    for name, layout in LAYOUTS.items():
        rows = layout(x, CLOCK, V)
        assert rows.ids_NTQ.shape[1] == len(rows.meta), name
        assert rows.ids_NTQ[:, rows.wanted].shape == rows.targets_NPQ.shape == rows.loss_NPQ.shape, name
        assert not rows.loss_NPQ[~rows.meta.valid_NT[:, rows.wanted]].any(), name


def test_windows_of_steps_that_follow_each_other_begin_at_every_place() -> None:
    x = utterances()
    begun = [
        {int(b) for b in column(layout_of("anchored", step)(x, CLOCK, V).meta, "block_NT")[x.codes_NLQ.shape[1] :]}
        for step in range(4)
    ]
    assert begun[0] == {
        int(b) for b in column(LAYOUTS["anchored"](x, CLOCK, V).meta, "block_NT")[x.codes_NLQ.shape[1] :]
    }
    assert all(a.isdisjoint(b) for i, a in enumerate(begun) for b in begun[:i])
    last = x.codes_NLQ.shape[1] - 3  # a window ends inside the utterance
    assert set().union(*begun) == set(range(1, last + 1))


def test_windows_are_as_asked_for_and_begin_at_every_place_of_their_stride() -> None:
    assert layout_of("anchored", 3, WindowSettings()) == layout_of("anchored", 3) == Anchored(offset=3)
    asked = WindowSettings(ahead=2, stride=3, causal=False)
    assert [layout_of("anchored", step, asked) for step in (0, 1, 3)] == [Anchored(2, 3, False, at) for at in (0, 1, 0)]


def test_other_layouts_are_the_same_in_every_step() -> None:
    assert all(layout_of(name, 5) is layout for name, layout in LAYOUTS.items() if name != "anchored")
