"""Several frames a pass, by masks behind an autoregressive row (the layout ``anchored``; SDLM, arXiv 2509.24007; VocalNet's MTP).

A pass feeds the frames that were accepted last, and windows of masks that guess the frames after the next one. Masks see the
row, the row never sees masks: the prediction of the next frame is the autoregressive one exactly, guesses come on top.

Rows accept different numbers of frames and so advance each at its own pace, but all wait at the end of a block. Windows end
there too: what lies behind it belongs to a later turn of text. Masks are never settled: their keys lie past those of the block.

Legend: N rows, B positions of a block, A = 1 + ahead frames fed (slots), W windows, G masks of a window, Q codebooks, D width,
E places seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from training.attention import CLEAN, NOISY, TEXT, Meta, allow, join
from training.decoding.acceptance import Acceptance, Said, Unverified
from training.decoding.body import bias_of
from training.decoding.drawing import Drawing
from training.decoding.opening import Part
from training.decoding.places import Places
from training.decoding.protocol import Chunk, Outcome
from training.decoding.session import Common, Session
from training.layout import frames, text
from training.talker import Talker


@dataclass(frozen=True)
class Front:
    """How far each row is.

    fed_NAQ  what the slots hold, the last ``count_N`` of them in use
    last_N   position of the last slot: it reads frame ``last - 1`` and predicts frame ``last``
    known_N  how many frames are final
    """

    fed_NAQ: Tensor
    count_N: Tensor
    last_N: Tensor
    known_N: Tensor

    def moved(self, to: Front, rows_N: Tensor) -> Front:
        """``to`` in some rows, unchanged in the others."""
        fed_NAQ = torch.where(rows_N[:, None, None], to.fed_NAQ, self.fed_NAQ)
        rest = (to.count_N, self.count_N), (to.last_N, self.last_N), (to.known_N, self.known_N)
        return Front(fed_NAQ, *(torch.where(rows_N, new, old) for new, old in rest))


class MTPDecoder(Session):
    """Speaks a block at a time, up to ``1 + ahead`` frames a pass; ``accept`` says which guesses are kept.

    ``ahead`` and ``causal`` are those of the layout that the talker was trained in.
    """

    def __init__(
        self, talker: Talker, rows: int, *, accept: Acceptance | None = None, ahead: int = 3, causal: bool = True,
        temperature: float = 0.0, top_p: float = 1.0, **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(talker, rows, **common)
        if ahead < 1:
            raise ValueError(f"a window has at least one mask, not {ahead}")
        self.accept, self.ahead, self.causal = accept or Unverified(), ahead, causal
        self.drawing, self.size, self.block = Drawing(temperature, top_p), talker.settings.block, 0
        self.windows = 1 + ahead if self.accept.every_slot else 1
        self.texts = talker.settings.anchors if talker.prefix else 0
        self.front = self._start()
        self.places = self._places()
        room = len(self.places) + 1 + self.windows * ahead
        layers = tuple(kv.zero_() for kv in self.cache(room).kv_layers)
        self.keys = Places(layers, self.front.last_N[:, None], 0)
        self.looks: dict[int, Tensor] = {}
        codebooks = talker.vocabulary.codebooks
        self.masks_NGQ = torch.full((rows, self.windows * ahead, codebooks), talker.vocabulary.mask, device=self.device)

    def copy_keys(self) -> None:
        """Make keys and values our own."""
        self.keys = self.keys.copy()

    def _start(self) -> Front:
        """Every row at position 0, reading START."""
        shape = self.rows, 1 + self.ahead, self.talker.vocabulary.codebooks
        zero_N = torch.zeros(self.rows, dtype=torch.long, device=self.device)
        return Front(torch.full(shape, self.talker.vocabulary.start, device=self.device), zero_N + 1, zero_N, zero_N)

    def _places(self) -> Meta:
        """What is kept where: for each block the text of its turn, where it is looked at, then the frames."""
        clock, parts = self.talker.clock, []
        for block in range(self.blocks):
            parts.append(text(block * self.texts, self.texts, clock, self.device))
            parts.append(frames(block * self.size, self.size, clock, self.device))
        return join(*parts)

    @property
    def end(self) -> int:
        """The position behind the block."""
        return (self.block + 1) * self.size

    @torch.inference_mode()
    def next(self) -> Chunk | None:
        """The next block, None where it has to wait for text or all is said."""
        if self.finished or not self.text.ready(self.block):
            return None
        chunk = self.ends.chunk(self.block * self.size, *self._block())
        self.block += 1
        return chunk

    def _block(self) -> tuple[Tensor, Tensor]:
        """``codes_NBQ``, and the pass that each was decided in. One wait for the device a pass, none where all is kept."""
        self.text.told(self.block)
        speaking_N = self.ends.open(self.device)
        first, shape = self.block * self.size, (self.rows, self.size + 1, self.masks_NGQ.shape[2])
        codes_NXQ, steps_NX = self.masks_NGQ.new_zeros(shape), self.masks_NGQ.new_zeros(shape[:2])
        plan = -(-self.size // (1 + self.ahead)) if self.accept.certain else None
        frame_X = torch.arange(first, self.end + 1, device=self.device)
        step, going = 0, True
        while going:
            step += 1
            moving_N, before_N1 = speaking_N & (self.front.known_N < self.end), self.front.known_N[:, None]
            self.front = self.front.moved(self._advanced(self._said(step)), moving_N)
            self._write(codes_NXQ, moving_N)
            steps_NX = torch.where((frame_X >= before_N1) & (frame_X < self.front.known_N[:, None]), step, steps_NX)
            still_N = speaking_N & (self.front.known_N < self.end)
            going = step < plan if plan else bool(still_N.any())
        self.work.steps.append(step)
        return codes_NXQ[:, :-1], steps_NX[:, :-1, None].expand(-1, -1, shape[2])

    def _write(self, codes_NXQ: Tensor, rows_N: Tensor) -> None:
        """Put the frames of the slots where they belong, in some rows; a place past the block takes the rest."""
        frame_NA = self.front.last_N[:, None] - 1 + self._slots() - self.block * self.size
        used_NA = (self._slots() > -self.front.count_N[:, None]) & (frame_NA >= 0) & (frame_NA < self.size)
        place_NA = torch.where(used_NA & rows_N[:, None], frame_NA, self.size)
        codes_NXQ.scatter_(1, place_NA[:, :, None].expand_as(self.front.fed_NAQ), self.front.fed_NAQ)

    def _slots(self) -> Tensor:
        """Positions of the slots, counted from the last: -ahead, ..., 0."""
        return torch.arange(-self.ahead, 1, device=self.device)

    def _advanced(self, said: Said) -> Front:
        """All rows as far as the pass brings them, to the end of the block at most."""
        anchor_N, kept_N = self.accept.anchor(said), self.accept.kept(said)
        n = torch.arange(self.rows, device=self.device)
        fresh_NAQ = torch.cat([said.next_NWQ[n, anchor_N][:, None], said.guess_NWGQ[n, anchor_N]], 1)
        next_N = self.front.last_N + anchor_N - (self.windows - 1) + 1
        room_N = (self.end - next_N - int(self.accept.provisional)).clamp_min(0)
        kept_N = room_N.clamp(max=self.ahead) if kept_N is None else torch.minimum(kept_N, room_N)
        # Frames are moved to the right, so that the last slot is always in use.
        from_NA = (self._slots() + kept_N[:, None]).clamp_min(0)
        fed_NAQ = fresh_NAQ.gather(1, from_NA[:, :, None].expand_as(fresh_NAQ))
        known_N = next_N if self.accept.provisional else next_N + kept_N
        return Front(fed_NAQ, kept_N + 1, next_N + kept_N, known_N)

    def _said(self, step: int) -> Said:
        """One pass over slots and masks, and over the turn's text where the block opens with it."""
        slots, masks = self._slot_meta(), self._mask_meta()
        pos_NT = torch.cat([slots.pos_NT, masks.pos_NT], 1)
        shown_NT = pos_NT.clamp(0, self.end - 1)  # of positions that do not count, any will do
        ids_NTQ = torch.cat([self.front.fed_NAQ, self.masks_NGQ], 1)
        x_NTD = self.embedded(ids_NTQ) + self.text.told_NLD.gather(
            1, shown_NT[:, :, None].expand(-1, -1, self.body.width)
        )
        parts = [Part(x_NTD, self.body.phases_T31Y[shown_NT], join(slots, masks))]
        if step == 1 and self.texts:
            parts.insert(0, self._text())
        hidden_RD = self._run(parts, masks, step)
        logits_NTQC = self.body.logits(hidden_RD, self.rows)
        asked = self.windows * (1 + self.ahead)
        stats = self.drawing(logits_NTQC, pos_NT[:, -asked:], self.key(0))
        token_NTQ = stats.token_NM.view(self.rows, asked, -1)
        guess_NWGQ = token_NTQ[:, self.windows :].unflatten(1, (self.windows, self.ahead))
        first_N = 1 + self.ahead - self.front.count_N
        return Said(self.front.fed_NAQ, first_N, token_NTQ[:, : self.windows], guess_NWGQ, stats)

    def _slot_meta(self) -> Meta:
        pos_NA = self.front.last_N[:, None] + self._slots()
        zero = torch.zeros_like(pos_NA)
        used_NA = (self._slots() > -self.front.count_N[:, None]) & (pos_NA < self.end)
        return Meta(zero + CLEAN, pos_NA, zero, zero, pos_NA, pos_NA // self.size, used_NA)

    def _mask_meta(self) -> Meta:
        """Masks behind the last ``windows`` slots; see :func:`training.layout.window`."""
        anchor_NW1 = (self.front.last_N[:, None] + self._slots()[-self.windows :])[:, :, None]
        order_G = torch.arange(self.ahead, device=self.device)
        pos_NG = (anchor_NW1 + 1 + order_G).flatten(1)
        block_NG = (anchor_NW1 + 1).expand(-1, -1, self.ahead).flatten(1)
        zero = torch.zeros_like(pos_NG)
        order_NG = (order_G * self.causal).repeat(self.windows).expand_as(pos_NG)
        return Meta(zero + NOISY, block_NG, zero, order_NG, pos_NG, pos_NG // self.size, pos_NG < self.end)

    def _text(self) -> Part:
        x_NSD, meta = self.text.prefix(self.block)
        first = self.block * self.texts
        phases = self.body.phases_T31Y[first : first + len(meta)]
        return Part(x_NSD, phases.expand(self.rows, *phases.shape), meta)

    def _run(self, parts: list[Part], masks: Meta, step: int) -> Tensor:
        """``hidden_RD`` of the last slots and the masks; keys go to their places, those of masks behind all others."""
        fed, end = join(*(part.meta for part in parts)), (self.block + 1) * (self.size + self.texts)
        self.keys.place_NT, self.keys.end = self._placed(fed, end), end + 1 + len(masks)
        x_NTD, phases = torch.cat([part.x_NTD for part in parts], 1), torch.cat([part.phases for part in parts], 1)
        self.work.count(self.rows * len(fed))
        wanted = slice(len(fed) - len(masks) - self.windows, None)
        return self.body(x_NTD, phases, self.keys, self._bias(fed, masks, end, step), wanted)

    def _bias(self, fed: Meta, masks: Meta, end: int, step: int) -> Tensor:
        """Who sees whom. Where all rows keep all guesses, a step looks the same in every block but the first."""
        width = end + 1 + len(masks)
        if step in self.looks:
            return self.looks[step][..., -width:]
        spare = self.places[:1].padded(torch.zeros_like(self.places.valid_NT[:, :1]))
        bias_N1TE = bias_of(allow(fed, join(self._kept(end), spare, masks)), self.body.seen)
        if self.accept.certain and self.block and not self.texts:
            row = self.outcomes.index(Outcome.OPEN)
            # What was kept before the block is open to all of it.
            self.looks[step] = F.pad(bias_N1TE[row : row + 1], (self.keys.kv_layers[0].shape[3] - width, 0))
        return bias_N1TE

    def _kept(self, end: int) -> Meta:
        """What the places before ``end`` are. Text that a row does not have is not there."""
        places = self.places[:end]
        if not self.texts:
            return places
        counts_N1 = torch.tensor(self.text.counts_N, device=self.device)[:, None]
        return places.padded((places.stream_NT != TEXT) | (places.pos_NT < counts_N1))

    def _placed(self, fed: Meta, end: int) -> Tensor:
        """``place_NT``: text and frames have theirs in the order of blocks, masks come last; what does not count goes to ``end``."""
        before_NT = torch.where(fed.stream_NT == TEXT, fed.turn_NT * self.size, (fed.turn_NT + 1) * self.texts)
        masks_T = end + 1 + torch.arange(-len(fed), 0, device=self.device) + self.masks_NGQ.shape[1]
        place_NT = torch.where(fed.stream_NT == NOISY, masks_T, fed.pos_NT + before_NT)
        there_NT = fed.valid_NT | (fed.stream_NT == NOISY)
        return torch.where(there_NT, place_NT, end)
