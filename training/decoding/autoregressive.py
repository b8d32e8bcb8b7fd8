"""Next-frame prediction: one pass for each frame, the baseline of every claim of speed.

It stands on the same layers, cache and conditioning as block diffusion, so that what is compared is the way of decoding.

Legend: N rows, Q codebooks, T frames of a chunk.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from training.decoding.drawing import Drawing
from training.decoding.opening import EVERY, Arrivals, Part, Pass
from training.decoding.protocol import Chunk
from training.decoding.session import Common, Session
from training.layout import frames
from training.talker import Talker


class ARDecoder(Session):
    """Speaks ``chunk`` frames at a time (default: a block). A row that ends inside a chunk costs passes to the end of it."""

    def __init__(
        self, talker: Talker, rows: int, *, temperature: float = 0.0, top_p: float = 1.0, chunk: int | None = None,
        **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(talker, rows, **common)
        self.drawing, self.size = Drawing(temperature, top_p), talker.settings.block
        self.chunk = self.size if chunk is None else chunk
        if self.chunk < 1:
            raise ValueError(f"a chunk has at least one frame, not {self.chunk}")
        self.pos = 0
        self.last_NQ = torch.full((rows, talker.vocabulary.codebooks), talker.vocabulary.start, device=self.device)
        self.keys = self.cache(self.blocks * (self.size + talker.settings.anchors))
        self.arrivals = Arrivals(self.body, self.text) if talker.prefix else None
        self.pos_1L = torch.arange(self.blocks * self.size, device=self.device)[None]

    def copy_keys(self) -> None:
        """Make keys and values our own."""
        self.keys = self.keys.copy()
        self.arrivals = None if self.arrivals is None else self.arrivals.copy(self.text)

    @torch.inference_mode()
    def next(self) -> Chunk | None:
        """The next frames, None where they have to wait for text or all is said."""
        first, count = self.pos, min(self.chunk, self.ends.limit - self.pos)
        if self.finished or not self.text.ready((first + count - 1) // self.size):
            return None
        codes_NTQ = torch.stack([self._frame() for _ in range(count)], 1)
        self.work.steps.append(count)
        return self.ends.chunk(first, codes_NTQ, torch.ones_like(codes_NTQ))

    def _frame(self) -> Tensor:
        """``codes_NQ`` of the next position."""
        made = self._pass()
        hidden_RD = self.body(made.x_NTD, made.phases, self.keys, made.bias_N1TE, made.wanted)
        self.keys.commit(made.settles)
        self.work.count(self.rows * made.x_NTD.shape[1])
        pos_11 = self.pos_1L[:, self.pos : self.pos + 1]
        self.last_NQ = self.drawing(self.body.logits(hidden_RD, self.rows), pos_11, self.key(0)).token_NM
        self.pos += 1
        return self.last_NQ

    def _pass(self) -> Pass:
        """The last frame, and before it the text of a turn that begins here."""
        block, place = divmod(self.pos, self.size)
        x_N1D = self.embedded(self.last_NQ[:, None]) + self.text.told(block)[:, place : place + 1]
        phases = self.body.phases_T31Y[self.pos : self.pos + 1]
        if self.arrivals is None:
            return Pass(x_N1D, phases, None, 1, EVERY)
        parts = self.arrivals.turn(block) if place == 0 else []
        frame = Part(x_N1D, phases, frames(self.pos, 1, self.talker.clock, self.device))
        return self.arrivals.side_by_side([*parts, frame], len(parts) + 1)
