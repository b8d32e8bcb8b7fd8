"""Token rows: how an utterance is laid out for the network, and what each position is.

Legend: N rows, L positions of an utterance (whole blocks), T positions of the row fed to the network, P of them predicted,
Q codebooks, C noisy copies. A layout is chosen by name from :data:`LAYOUTS`.

Predictions are in place: the output at a position is the code at that position, except in autoregressive rows, where the
input at position i is frame i - 1 and the output is frame i. The two are different models; both know the same text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from manifests.settings.train import WindowSettings
from training.attention import CLEAN, NOISY, TEXT, Meta, join
from training.vocabulary import Vocabulary


@dataclass(frozen=True)
class Clock:
    """The beat of blocks: ``block`` positions each, and ``anchors`` text states a turn; a turn of text for every block."""

    block: int
    anchors: int


@dataclass(frozen=True)
class Noised:
    """Utterances with what the mask side shards say of them.

    codes_NLQ     true codes, EOS after the last frame
    ids_NCLQ      what the network is shown of them in each noisy copy: codes, replaced codes, MASK
    masked_NCLQ   the cells that are masked
    valid_NL      False for what the utterance does not have: blocks, and of one that breaks off the rest of its last block
    frames_N      frames before the first EOS
    """

    codes_NLQ: Tensor
    ids_NCLQ: Tensor
    masked_NCLQ: Tensor
    valid_NL: Tensor
    frames_N: Tensor


@dataclass(frozen=True)
class Rows:
    """What the network is fed and what is asked of it.

    ids_NTQ      input ids
    meta         what each position is
    wanted       the positions whose predictions count, P of them
    targets_NPQ  their true codes
    loss_NPQ     the cells that carry loss
    """

    ids_NTQ: Tensor
    meta: Meta
    wanted: slice
    targets_NPQ: Tensor
    loss_NPQ: Tensor


def speech(
    first: int, count: int, clock: Clock, stream: int, device: torch.device | str = "cpu", copy: int = 0
) -> Meta:
    """``count`` positions from position ``first`` on, in blocks of the clock."""
    pos = torch.arange(first, first + count, dtype=torch.int32, device=device)[None]
    fixed = torch.full_like(pos, stream), pos // clock.block, torch.full_like(pos, copy), torch.zeros_like(pos)
    return Meta(*fixed, pos, pos // clock.block, torch.ones_like(pos, dtype=torch.bool))


def frames(first: int, count: int, clock: Clock, device: torch.device | str = "cpu") -> Meta:
    """``count`` positions of an autoregressive row from ``first`` on: every position is a block of its own."""
    meta = speech(first, count, clock, CLEAN, device)
    return Meta(
        meta.stream_NT,
        meta.pos_NT,
        *(getattr(meta, n) for n in ("copy_NT", "order_NT", "pos_NT", "turn_NT", "valid_NT")),
    )


def text(first: int, count: int, clock: Clock, device: torch.device | str = "cpu") -> Meta:
    """``count`` text states from state ``first`` on."""
    pos = torch.arange(first, first + count, dtype=torch.int32, device=device)[None]
    zero = torch.zeros_like(pos)
    return Meta(zero + TEXT, zero, zero, zero, pos, pos // clock.anchors, torch.ones_like(pos, dtype=torch.bool))


def two_stream(x: Noised, clock: Clock, vocabulary: Vocabulary) -> Rows:
    """Clean utterance, then its noisy copies: every noisy block sees clean blocks before it, as in decoding (Arriola et al. 2025)."""
    _, copies, length, _ = x.ids_NCLQ.shape
    device = x.codes_NLQ.device
    parts = [speech(0, length, clock, CLEAN, device)]
    parts += [speech(0, length, clock, NOISY, device, copy) for copy in range(copies)]
    noisy_NTQ = x.ids_NCLQ.flatten(1, 2)
    meta = join(*parts).padded(x.valid_NL.repeat(1, copies + 1))
    loss = x.masked_NCLQ & x.valid_NL[:, None, :, None]
    return Rows(
        torch.cat([x.codes_NLQ, noisy_NTQ], dim=1), meta, slice(length, None),
        x.codes_NLQ.repeat(1, copies, 1), loss.flatten(1, 2),
    )  # fmt: skip


def single_stream(x: Noised, clock: Clock, vocabulary: Vocabulary) -> Rows:
    """The noisy utterance alone: later blocks see earlier ones as noisy as they are (what the paper appears to do)."""
    _, copies, length, _ = x.ids_NCLQ.shape
    valid_NL = x.valid_NL.repeat_interleave(copies, dim=0)
    meta = speech(0, length, clock, CLEAN, x.codes_NLQ.device).padded(valid_NL)
    loss = x.masked_NCLQ.flatten(0, 1) & valid_NL[:, :, None]
    return Rows(x.ids_NCLQ.flatten(0, 1), meta, slice(0, None), x.codes_NLQ.repeat_interleave(copies, dim=0), loss)


def in_blocks(rows: Rows, block: int) -> Rows:
    """The same rows with blocks of ``block`` positions instead of the clock's; turns of text stay.

    A block of one position that is masked wholly asks what an autoregressive model is asked, in the form of a diffusion model:
    all that was said is clean, and the answer is given in place.
    """
    return replace(rows, meta=replace(rows.meta, block_NT=rows.meta.pos_NT // block))


def _shifted(x: Noised, vocabulary: Vocabulary) -> Tensor:
    """START, then all but the last frame."""
    start = torch.full_like(x.codes_NLQ[:, :1], vocabulary.start)
    return torch.cat([start, x.codes_NLQ[:, :-1]], dim=1)


def _spoken(x: Noised) -> Tensor:
    """``spoken_NL``: the frames and the first EOS after them."""
    pos = torch.arange(x.codes_NLQ.shape[1], device=x.codes_NLQ.device)
    return (pos[None] <= x.frames_N[:, None]) & x.valid_NL


def autoregressive(x: Noised, clock: Clock, vocabulary: Vocabulary) -> Rows:
    """Next-frame prediction: causal, the input one frame behind."""
    length = x.codes_NLQ.shape[1]
    meta = frames(0, length, clock, x.codes_NLQ.device).padded(x.valid_NL)
    loss = _spoken(x)[:, :, None].expand_as(x.codes_NLQ)
    return Rows(_shifted(x, vocabulary), meta, slice(0, None), x.codes_NLQ, loss)


@dataclass(frozen=True)
class Anchored:
    """An autoregressive row, and after it windows of ``ahead`` masks that guess the frames after next.

    The windows of an utterance start after every ``stride``-th position, from ``offset`` on. A window sees the frames up to
    its anchor; inside it, earlier masks only (``causal``), or all of itself (SDLM, arXiv 2509.24007).
    The first guess, at the anchor itself, is the autoregressive one exactly: no clean position ever sees a mask.
    """

    ahead: int = 3
    stride: int = 4
    causal: bool = True
    offset: int = 0

    def __call__(self, x: Noised, clock: Clock, vocabulary: Vocabulary) -> Rows:
        base, length, q = autoregressive(x, clock, vocabulary), x.codes_NLQ.shape[1], x.codes_NLQ.shape[2]
        device = x.codes_NLQ.device
        anchors_W = torch.arange(
            self.offset % self.stride, max(length - self.ahead, 0), self.stride, dtype=torch.int32, device=device
        )
        masks_T = (anchors_W[:, None] + torch.arange(1, self.ahead + 1, dtype=torch.int32, device=device)).flatten()
        meta = window(masks_T, self.ahead, clock, self.causal).padded(x.valid_NL[:, masks_T.long()])
        ids = torch.full((len(x.codes_NLQ), len(masks_T), q), vocabulary.mask, device=device, dtype=x.codes_NLQ.dtype)
        targets, spoken = x.codes_NLQ[:, masks_T.long()], _spoken(x)[:, masks_T.long(), None].expand(-1, -1, q)
        return Rows(
            torch.cat([base.ids_NTQ, ids], 1), join(base.meta, meta), slice(0, None),
            torch.cat([base.targets_NPQ, targets], 1), torch.cat([base.loss_NPQ, spoken], 1),
        )  # fmt: skip


def window(pos_T: Tensor, ahead: int, clock: Clock, causal: bool) -> Meta:
    """Masks at ``pos_T``, in runs of ``ahead``; a run belongs to the anchor before its first mask."""
    pos = pos_T.to(torch.int32)[None]
    place = torch.arange(pos.shape[1], device=pos.device, dtype=torch.int32)[None] % ahead
    anchor = pos - place - 1
    zero = torch.zeros_like(pos)
    order = place if causal else zero
    return Meta(zero + NOISY, anchor + 1, zero, order, pos, pos // clock.block, torch.ones_like(pos, dtype=torch.bool))


Layout = Callable[[Noised, Clock, Vocabulary], Rows]

LAYOUTS: dict[str, Layout] = {
    "two_stream": two_stream,
    "single_stream": single_stream,
    "autoregressive": autoregressive,
    "anchored": Anchored(),
}


def layout_of(name: str, step: int = 0, windows: WindowSettings | None = None) -> Layout:
    """A layout by name; ``windows`` are those of ``anchored``, None: as usual.

    They begin one position later from step to step: guesses that are tested go on from any place.
    """
    found = LAYOUTS[name]
    if not isinstance(found, Anchored):
        return found
    if windows is not None:
        found = Anchored(windows.ahead, windows.stride, windows.causal)
    return replace(found, offset=step % found.stride)
