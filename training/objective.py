"""What a stage asks of a talker: from a batch to a weighted sum of losses. Objectives stand in :data:`OBJECTIVES`.

Legend: N rows, R wanted positions of a row, P positions picked from all rows, D width, Q codebooks, C classes; K noisy copies of all rows, n blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from manifests.settings.train import MASKED_LAYOUTS, StageSettings, WindowSettings
from training.batches import Batch
from training.layout import Noised, Rows, in_blocks, layout_of
from training.losses import WEIGHTINGS, Sum, chunked, cross_entropy, entropy_when_right, of_codes
from training.talker import Talker
from training.taught import Taught, Teaching

CHUNK = 8192  # positions whose logits exist at a time
SHARPER = 0.5  # temperature at which certainty is asked for (dParallel)

Forward = Callable[..., Tensor]
unsure = partial(entropy_when_right, tau=SHARPER)


@dataclass(frozen=True)
class Asked:
    """The hidden states of the positions that carry loss, with their true codes and what each counts; ``taught`` by whom, if by anybody."""

    hidden_PD: Tensor
    targets_PQ: Tensor
    weight_PQ: Tensor
    taught: Taught | None = None


def masked_cross_entropy(talker: Talker, x: Asked, stage: StageSettings) -> Sum:
    """Cross-entropy of the true codes; with ``certainty`` also the entropy of those that are right, so much of it."""

    def loss(hidden_PD: Tensor, targets_PQ: Tensor) -> Tensor:
        logits_PQC = talker.logits(hidden_PD)
        true_PQ = of_codes(cross_entropy, logits_PQC, targets_PQ)
        return torch.stack([of_codes(unsure, logits_PQC, targets_PQ), true_PQ]) if stage.certainty else true_PQ

    many = len(x.weight_PQ) > CHUNK
    found = chunked(loss, x.weight_PQ, x.hidden_PD, x.targets_PQ, chunk=CHUNK, recompute=many)
    return found.mixed(stage.certainty, 1.0) if stage.certainty else found


def distillation(talker: Talker, x: Asked, stage: StageSettings) -> Sum:
    """``alpha`` times the divergence from the teacher, and the rest cross-entropy of the true codes, at the same cells.

    With ``certainty`` also the entropy of cells that are right: in the teacher's eyes where targets are hard, else in truth.
    """
    d, taught = stage.taught, x.taught
    assert d is not None
    assert taught is not None, "a stage of this loss has a teacher"
    options = {"tau": d.tau, "floor": d.floor, "tau_squared": d.tau_squared}

    def loss(hidden_PD: Tensor, targets_PQ: Tensor, *said: Tensor) -> Tensor:
        logits_PQC = talker.logits(hidden_PD)
        kinds = [taught.apart(d.kl, logits_PQC, *said, **options)]
        if stage.certainty:
            kinds.append(of_codes(unsure, logits_PQC, said[0] if d.targets == "hard" else targets_PQ))
        return torch.stack([*kinds, of_codes(cross_entropy, logits_PQC, targets_PQ)])

    many = len(x.weight_PQ) > CHUNK
    found = chunked(loss, x.weight_PQ, x.hidden_PD, x.targets_PQ, *taught.inputs, chunk=CHUNK, recompute=many)
    certainty = (stage.certainty,) if stage.certainty else ()
    return found.mixed(d.alpha, *certainty, 1 - d.alpha)


OBJECTIVES: dict[str, Callable[[Talker, Asked, StageSettings], Sum]] = {
    "cross_entropy": masked_cross_entropy,
    "distillation": distillation,
}


def weights(rows: Rows, x: Noised, weighting: str, block: int) -> Tensor:
    """``weight_NRQ``: what each wanted cell counts. Every noisy copy is a row of its own; ``block`` positions are guessed together."""
    n, copies, _, codebooks = x.ids_NCLQ.shape
    loss_KRQ = rows.loss_NPQ.reshape(n * copies, -1, codebooks)
    valid_KR = rows.meta.valid_NT[:, rows.wanted].reshape(n * copies, -1)
    rate_KR1 = block_rates(loss_KRQ, valid_KR, block)
    return WEIGHTINGS[weighting](loss_KRQ, rate_KR1).reshape(rows.loss_NPQ.shape)


def block_rates(loss_KRQ: Tensor, valid_KR: Tensor, block: int) -> Tensor:
    """``rate_KR1``: the share of the cells of its block, of those that are there, that are to be guessed."""
    cells_Kn = valid_KR.unflatten(1, (-1, block)).sum(2) * loss_KRQ.shape[2]
    rate_Kn = loss_KRQ.unflatten(1, (-1, block)).sum((2, 3)) / cells_Kn.clamp_min(1)
    return rate_Kn.repeat_interleave(block, dim=1)[..., None]


def asked(
    talker: Talker, forward: Forward, batch: Batch, layout: str, weighting: str, block: int | None = None,
    teacher: Teaching | None = None, windows: WindowSettings | None = None,
) -> Asked:  # fmt: skip
    """Run a batch through the network in some layout. ``forward`` is the talker's own, or a compiled one."""
    x = batch.noised
    rows = layout_of(layout, batch.step, windows)(x, talker.clock, talker.vocabulary)
    if block is not None:
        rows = in_blocks(rows, block)
    again = len(rows.ids_NTQ) // len(batch)  # a layout may make several rows of an utterance
    text_NS, states_N = batch.text_NS.repeat_interleave(again, 0), batch.states_N.repeat_interleave(again, 0)
    hidden_NRD = forward(rows.ids_NTQ, rows.meta, text_NS, states_N, rows.wanted)
    picked_NR = rows.loss_NPQ.any(-1)
    together = (block or talker.clock.block) if layout in MASKED_LAYOUTS else 1  # else frame by frame
    weight_NRQ = weights(rows, x, weighting, together)
    taught = None if teacher is None else teacher.taught(batch, picked_NR)
    return Asked(hidden_NRD[picked_NR], rows.targets_NPQ[picked_NR], weight_NRQ[picked_NR], taught)


def loss_of(
    talker: Talker, forward: Forward, batch: Batch, stage: StageSettings, teacher: Teaching | None = None
) -> Sum:
    """The weighted sum of losses of a batch in a stage; what it is divided by is the weight of the whole batch."""
    x = asked(talker, forward, batch, stage.layout, stage.weighting, stage.block, teacher, stage.windows)
    return OBJECTIVES[stage.loss](talker, x, stage)
