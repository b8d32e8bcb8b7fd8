"""Trajectories of a frozen teacher: which masked cell it decides at which iteration, as what, and how sure it is (VocalNet-MDM 3.4).

All blocks of all noisy copies advance together. What a block sees of those before it is the context: as they truly are (``clean``, what decoding sees and
two streams train on), or as they are by now in the same copy (``joint``, what a single stream trains on, as the paper appears to). In every iteration each block
decides as many cells as the reveal policy gives it, the same policy that decoding uses. For a policy that never takes back, the codes
and the iterations are lossless: :func:`state` rebuilds what the teacher saw before any of them.

Legend: N rows, C noisy copies, L positions (whole blocks), Q codebooks, n blocks of a copy, B positions of a block, R = N x C x n rows of the policy,
K = N x C, M = B x Q cells of a block, D width, V classes, S text states, T positions of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.attention import CLEAN, NOISY, Meta, allow, join
from training.batches import Batch
from training.cache import Cache
from training.deciding import decide
from training.ending import only_first_ends
from training.layout import Noised, single_stream, speech
from training.policies.policy import Policy
from training.talker import Talker, Text
from training.taught import Taught, by_head, written

GIVEN = 0  # the iteration of a cell that was not masked; iterations count from 1
MOST = 255  # iterations that a byte can tell apart


@dataclass(frozen=True)
class Trace:
    """What the teacher did with each cell.

    step_NCLQ    uint8, the iteration at which it was decided; GIVEN where it was not masked
    token_NCLQ   the code that was written there; where it was given, what was shown
    sure_NCLQ    float32, log probability of that code in the teacher's eyes, nats; 0 where it was given
    hidden_NCLQD the teacher's final state at that iteration, if it was asked for; 0 where it was given
    """

    step_NCLQ: Tensor
    token_NCLQ: Tensor
    sure_NCLQ: Tensor
    hidden_NCLQD: Tensor | None = None


def state(step_NCLQ: Tensor, token_NCLQ: Tensor, iteration: int, mask: int) -> Tensor:
    """``ids_NCLQ`` that the teacher saw before ``iteration`` (from 1); behind the last one, what it ended with."""
    return torch.where(step_NCLQ.int() < iteration, token_NCLQ, mask)  # given cells among them; a byte has no 256


@dataclass(frozen=True)
class Teacher:
    """A frozen talker, the policy by which it decides, and in how many iterations.

    ``forced`` writes the true code wherever the teacher decides, so that later iterations see no mistakes of its own; else its choice.
    ``context`` is a name of :data:`CONTEXTS`: a student and its teacher have to see the same.
    Raises ValueError for iterations that a byte cannot hold.
    """

    talker: Talker
    policy: Policy
    steps: int
    forced: bool = False
    context: str = "clean"

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST:
            raise ValueError(f"a trajectory has 1 to {MOST} iterations, not {self.steps}")

    @torch.no_grad()
    def trace(self, x: Noised, text_NS: Tensor, states_N: Tensor, hidden: bool = False) -> Trace:
        """Decide every masked cell of every copy. Raises ValueError for a policy that draws, or compares with a prior."""
        seen = CONTEXTS[self.context](self.talker, x, text_NS, states_N)
        open_NCLQ = x.masked_NCLQ & x.valid_NL[:, None, :, None]
        ids_NCLQ = x.ids_NCLQ
        step_NCLQ = torch.zeros_like(open_NCLQ, dtype=torch.uint8)
        sure_NCLQ = torch.zeros(open_NCLQ.shape, device=open_NCLQ.device)
        states = None
        for step in range(1, self.steps + 1):
            hidden_NCLD = seen.hidden(ids_NCLQ)
            written_NCLQ, now_NCLQ, logp_NCLQ = self._decided(hidden_NCLD, ids_NCLQ, open_NCLQ, x, step)
            ids_NCLQ = torch.where(now_NCLQ, written_NCLQ, ids_NCLQ)
            step_NCLQ = step_NCLQ.masked_fill(now_NCLQ, step)
            sure_NCLQ = torch.where(now_NCLQ, logp_NCLQ, sure_NCLQ)
            if hidden:
                kept = hidden_NCLD[..., None, :] * now_NCLQ[..., None]
                states = kept if states is None else states + kept
            open_NCLQ = open_NCLQ & ~now_NCLQ
        return Trace(step_NCLQ, ids_NCLQ, sure_NCLQ, states)

    @torch.no_grad()
    def replay(self, x: Noised, text_NS: Tensor, states_N: Tensor, step_NCLQ: Tensor, token_NCLQ: Tensor) -> Tensor:
        """``hidden_NCLQD``: the final states of :meth:`trace`, from what it decided when."""
        seen, mask = CONTEXTS[self.context](self.talker, x, text_NS, states_N), self.talker.vocabulary.mask
        kept = None
        for step in range(1, self.steps + 1):
            hidden_NCLD = seen.hidden(state(step_NCLQ, token_NCLQ, step, mask))
            now = hidden_NCLD[..., None, :] * (step_NCLQ == step)[..., None]
            kept = now if kept is None else kept + now
        assert kept is not None
        return kept

    def taught(self, batch: Batch, picked_NR: Tensor) -> Taught:
        """The teacher's word on the picked positions of a batch, worked out now."""
        trace = self.trace(batch.noised, batch.text_NS, batch.states_N, hidden=True)
        assert trace.hidden_NCLQD is not None
        return self.said(trace.hidden_NCLQD, picked_NR)

    def said(self, hidden_NCLQD: Tensor, picked_NR: Tensor) -> Taught:
        """What final states of all cells mean at the picked positions."""
        hidden_PQD = hidden_NCLQD.reshape(*picked_NR.shape, *hidden_NCLQD.shape[3:])[picked_NR]
        return Taught((hidden_PQD,), by_head(self.talker.logits_of_books))

    def _decided(
        self, hidden_NCLD: Tensor, ids_NCLQ: Tensor, open_NCLQ: Tensor, x: Noised, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(what is written in every cell that is decided now, which these are, the log probabilities of what is written)."""
        v, block = self.talker.vocabulary, self.talker.settings.block
        logits_NCLQV = self.talker.logits(hidden_NCLD.flatten(1, 2)).unflatten(1, hidden_NCLD.shape[1:3])
        if v.codebooks > 1:
            only_first_ends(logits_NCLQV, v)
        stats = self.policy.stats(logits_NCLQV.reshape(-1, block * v.codebooks, v.classes), step)
        ids_RBQ, open_RBQ = (t_NCLQ.reshape(-1, block, v.codebooks) for t_NCLQ in (ids_NCLQ, open_NCLQ))
        truth_RBQ = x.codes_NLQ[:, None].expand_as(ids_NCLQ).reshape(open_RBQ.shape) if self.forced else None
        decided = decide(self.policy, stats, ids_RBQ, open_RBQ, step, self.steps, v, truth_RBQ=truth_RBQ)
        written_NCLQ, now_NCLQ = (x_RBQ.view(open_NCLQ.shape) for x_RBQ in decided)
        logp_NCLQ = logits_NCLQV.gather(-1, written_NCLQ[..., None])[..., 0] - stats.total_NM.view(open_NCLQ.shape)
        return written_NCLQ, now_NCLQ, logp_NCLQ.float()


@dataclass(frozen=True)
class Replayed:
    """A teacher that runs again over what it decided once."""

    teacher: Teacher

    def taught(self, batch: Batch, picked_NR: Tensor) -> Taught:
        targets = batch.recorded
        asked = (batch.noised, batch.text_NS, batch.states_N)
        return self.teacher.said(self.teacher.replay(*asked, targets.step_NCLQ, targets.token_NCLQ), picked_NR)


@dataclass(frozen=True)
class Writer:
    """A teacher of hard targets: it runs beside the student, and what it wrote is all it says."""

    teacher: Teacher

    def taught(self, batch: Batch, picked_NR: Tensor) -> Taught:
        return written(self.teacher.trace(batch.noised, batch.text_NS, batch.states_N).token_NCLQ, picked_NR)


class Seen(Protocol):
    """What noisy copies are run behind, as often as they change."""

    def hidden(self, ids_NCLQ: Tensor) -> Tensor:
        """``hidden_NCLD`` of the noisy copies as they are now."""
        ...


@dataclass(frozen=True)
class BehindClean:
    """The clean utterances and their text, run once; every block of a copy is behind the clean blocks before it."""

    talker: Talker
    cache: Cache
    meta: Meta
    allowed_NTT: Tensor
    text: Text
    copies: int

    @classmethod
    def of(cls, talker: Talker, x: Noised, text_NS: Tensor, states_N: Tensor) -> BehindClean:
        n, copies, length, _ = x.ids_NCLQ.shape
        device, clock = x.codes_NLQ.device, talker.clock
        read = talker.read(text_NS, states_N)
        clean = speech(0, length, clock, CLEAN, device).padded(x.valid_NL)
        x_NTD = talker.embed(x.codes_NLQ, clean, read)
        x_NTD, clean, _ = talker.behind_text(x_NTD, clean, read)
        noisy = join(*(speech(0, length, clock, NOISY, device, copy) for copy in range(copies)))
        noisy = noisy.padded(x.valid_NL.repeat(1, copies))
        s = talker.settings
        room = x_NTD.shape[1] + len(noisy)
        cache = Cache.empty(s.layers, n, s.heads, room, s.width // s.heads, x_NTD.dtype, device)
        talker.body(x_NTD, clean.pos_NT, allow(clean, clean), cache=cache)
        cache.commit(x_NTD.shape[1])
        return cls(talker, cache, noisy, allow(noisy, join(clean, noisy)), read, copies)

    def hidden(self, ids_NCLQ: Tensor) -> Tensor:
        x_NTD = self.talker.embed(ids_NCLQ.flatten(1, 2), self.meta, self.text)
        hidden_NTD = self.talker.body(x_NTD, self.meta.pos_NT, self.allowed_NTT, cache=self.cache)
        return hidden_NTD.unflatten(1, (self.copies, -1))


@dataclass(frozen=True)
class BehindItself:
    """Every copy is a row of its own: a block of it is behind its own blocks as they are by now."""

    talker: Talker
    meta: Meta
    text_KS: Tensor
    states_K: Tensor
    copies: int

    @classmethod
    def of(cls, talker: Talker, x: Noised, text_NS: Tensor, states_N: Tensor) -> BehindItself:
        copies = x.ids_NCLQ.shape[1]
        rows = single_stream(x, talker.clock, talker.vocabulary)
        return cls(
            talker, rows.meta, text_NS.repeat_interleave(copies, 0), states_N.repeat_interleave(copies, 0), copies
        )

    def hidden(self, ids_NCLQ: Tensor) -> Tensor:
        hidden_KLD = self.talker(ids_NCLQ.flatten(0, 1), self.meta, self.text_KS, self.states_K)
        return hidden_KLD.unflatten(0, (-1, self.copies))


CONTEXTS: dict[str, Callable[[Talker, Noised, Tensor, Tensor], Seen]] = {
    "clean": BehindClean.of,
    "joint": BehindItself.of,
}
