"""Block diffusion: a block of masks is uncovered in a few steps, under an exact cache of the blocks before it.

The first pass over block b takes [clean block b - 1 | new text of turn b | masked block b]: it settles the block before and
takes the first step of this one at once, so that a block costs as many passes as steps (Arriola et al. 2025 need one more).
Clean positions and text do not see the masks. All other passes see everything there is, without any attention mask.

Legend: N rows, B positions of a block, Q codebooks, M = B x Q cells of a block, D width, T positions, E positions seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack

import torch
from torch import Tensor

from training.deciding import decide
from training.decoding.opening import Pass, openings_of
from training.decoding.protocol import Chunk
from training.decoding.session import Common, Session
from training.policies.budgets import Schedule
from training.policies.filters import Unfiltered
from training.policies.policy import Policy
from training.talker import Talker


def planned(policy: Policy, cells: int, steps: int) -> tuple[int, ...] | None:
    """How many of ``cells`` masks are left after each step, down to 0. None where the counts depend on what the model says."""
    if not isinstance(policy.budget, Schedule) or not isinstance(policy.filter, Unfiltered) or policy.ends_last:
        return None
    left = []
    for step in range(1, steps):
        part, whole = policy.budget.share(step, steps)
        cells -= -(-cells * part // whole)
        left.append(cells)
        if cells == 0:
            return tuple(left)
    return (*left, 0)


@dataclass
class Canvas:
    """A block while it is uncovered.

    ids_NBQ     codes decided so far, MASK elsewhere
    masked_NBQ  cells not decided
    steps_NBQ   the step at which each cell was decided, 0 where it is not
    """

    ids_NBQ: Tensor
    masked_NBQ: Tensor
    steps_NBQ: Tensor

    def uncover(self, reveal_NBQ: Tensor, token_NBQ: Tensor | int, step: int) -> None:
        """Decide some of the masked cells."""
        self.ids_NBQ = torch.where(reveal_NBQ, token_NBQ, self.ids_NBQ)
        self.steps_NBQ = self.steps_NBQ.masked_fill(reveal_NBQ, step)
        self.masked_NBQ = self.masked_NBQ ^ reveal_NBQ


class BlockDecoder(Session):
    """Speaks a block at a time, in ``steps`` passes each at most, cells in the order of ``policy``.

    ``fused`` False settles each block by a pass of its own. ``prior`` is what the policy compares with, if it does.
    A policy of fixed counts never waits for the device inside a block; one that tests confidences, or puts ends last, does once a step.
    """

    def __init__(
        self, talker: Talker, rows: int, *, policy: Policy | None = None, steps: int = 4, fused: bool = True,
        prior: Tensor | None = None, **common: Unpack[Common],
    ) -> None:  # fmt: skip
        super().__init__(talker, rows, **common)
        if steps < 1:
            raise ValueError(f"a block takes at least one step, not {steps}")
        self.policy, self.steps, self.fused, self.prior = policy or Policy(), steps, fused, prior
        self.size, self.codebooks = talker.settings.block, talker.vocabulary.codebooks
        self.plan = planned(self.policy, self.size * self.codebooks, steps)
        self.narrow = self.device.type == "cpu"  # elsewhere, working on fewer positions takes longer than on all
        self.block = 0
        self.before_NBQ: Tensor | None = None  # the last block, decided but not settled
        self.keys = self.cache(self.blocks * (self.size + talker.settings.anchors))
        self.openings = openings_of(self.body, self.text, self.blocks)

    def copy_keys(self) -> None:
        """Make keys and values our own."""
        self.keys, self.openings = self.keys.copy(), self.openings.copy(self.text)

    @torch.inference_mode()
    def next(self) -> Chunk | None:
        """The next block, None where it has to wait for text or all is said."""
        if self.finished or not self.text.ready(self.block):
            return None
        canvas = self._denoised()
        chunk = self.ends.chunk(self.block * self.size, canvas.ids_NBQ, canvas.steps_NBQ)
        self.before_NBQ = canvas.ids_NBQ
        self.block += 1
        return chunk

    def _denoised(self) -> Canvas:
        """The block, wholly decided in the rows that speak."""
        told_NBD, clean_NBD, canvas = self.text.told(self.block), self._clean(), self._blank()
        made = self.openings.first(self.block, clean_NBD, self.embedded(canvas.ids_NBQ) + told_NBD)
        logits_NBQC = self.body.logits(self._run(made), self.rows)
        for step in range(1, self.steps + 1):
            self._uncover(canvas, logits_NBQC, step)
            left = self._left(canvas, step)
            if not left:
                self.work.steps.append(step)
                return canvas
            made = self.openings.again(self.block, self.embedded(canvas.ids_NBQ) + told_NBD)
            logits_NBQC = self._again(made, canvas, logits_NBQC, left)
        raise AssertionError("the last step decides everything")

    def _left(self, canvas: Canvas, step: int) -> int:
        """Positions that are still masked, in the row that has most of them. Known ahead, or asked of the device."""
        if self.plan is None:
            return int(canvas.masked_NBQ.any(2).sum(1).amax())
        return self.plan[step - 1] if self.codebooks == 1 else self.size * (self.plan[step - 1] > 0)

    def _again(self, made: Pass, canvas: Canvas, logits_NBQC: Tensor, left: int) -> Tensor:
        """Logits of a pass over a block that is partly decided: of decided positions they may be those of an earlier pass."""
        if not self.narrow or left == self.size or made.bias_N1TE is not None:
            return self.body.logits(self._run(made), self.rows)
        masked_NB = canvas.masked_NBQ.any(2)
        wanted_NR = masked_NB.byte().argsort(dim=1, descending=True, stable=True)[:, :left]
        fresh_NRQC = self.body.logits(self._run(replace(made, wanted=wanted_NR)), self.rows)
        return logits_NBQC.scatter(1, wanted_NR[:, :, None, None].expand_as(fresh_NRQC), fresh_NRQC)

    def _blank(self) -> Canvas:
        """A block of masks. Rows that are silent keep no policy waiting."""
        ids_NBQ = torch.full((self.rows, self.size, self.codebooks), self.talker.vocabulary.mask, device=self.device)
        masked_NBQ = torch.ones_like(ids_NBQ, dtype=torch.bool)
        if self.plan is None:
            masked_NBQ &= self.ends.open(self.device)[:, None, None]
        return Canvas(ids_NBQ, masked_NBQ, torch.zeros_like(ids_NBQ))

    def _clean(self) -> Tensor | None:
        """The block before as input of the layers, if it is still to be settled beside this one."""
        if self.before_NBQ is None:
            return None
        clean_NBD = self.embedded(self.before_NBQ) + self.text.told(self.block - 1)
        if self.fused:
            return clean_NBD
        self._run(self.openings.commit(self.block - 1, clean_NBD))
        self.work.commits += 1
        return None

    def _run(self, made: Pass) -> Tensor:
        """``hidden_RD`` of a pass, and what it settles."""
        hidden_RD = self.body(made.x_NTD, made.phases, self.keys, made.bias_N1TE, made.wanted)
        self.keys.commit(made.settles)
        self.work.count(self.rows * made.x_NTD.shape[1])
        return hidden_RD

    def _uncover(self, canvas: Canvas, logits_NBQC: Tensor, step: int) -> None:
        """Let the policy decide cells, and an end those that are over with it."""
        key, ids_NBQ, masked_NBQ = self.key(self.block), canvas.ids_NBQ, canvas.masked_NBQ
        stats = self.policy.stats(logits_NBQC.flatten(1, 2), step, key, self.prior)
        v = self.talker.vocabulary
        written_NBQ, now_NBQ = decide(self.policy, stats, ids_NBQ, masked_NBQ, step, self.steps, v, key)
        canvas.uncover(now_NBQ, written_NBQ, step)
