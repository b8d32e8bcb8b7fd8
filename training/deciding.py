"""One step of uncovering a block: what the policy decides, and what follows from an end. One rule for teacher and decoder.

Legend: R blocks (rows of the policy), B positions of a block, Q codebooks, M = B x Q cells, frame-major.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.ending import behind, ended
from training.policies.noise import Key
from training.policies.policy import Policy
from training.policies.stats import Stats
from training.vocabulary import Vocabulary


def decide(
    policy: Policy, stats: Stats, ids_RBQ: Tensor, open_RBQ: Tensor, step: int, steps: int, vocabulary: Vocabulary,
    key: Key | None = None, truth_RBQ: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(what is written in every cell that is decided now, which these are), both (R, B, Q).

    ``ids_RBQ`` is the block before the step, no EOS in its ``open_RBQ`` cells. Written is what ``stats`` chose, or ``truth_RBQ``; and EOS
    in cells that are over with a cell that is decided: those of a frame that codebook 0 has ended, and where the policy puts
    ends last, all behind it.

    Such a policy is not shown the cells behind an end until the last step: its budget counts what may still be heard, and the end
    itself. So a block that ends early takes its steps over its few frames, one that was believed to end and goes on is shown
    the rest and shares it out over the steps that are left, and all are decided by the last.
    """
    token_RBQ, q = stats.token_NM.view(open_RBQ.shape), vocabulary.codebooks
    shown_RBQ = open_RBQ
    if policy.ends_last and step < steps:
        shown_RBQ = open_RBQ & ~behind(torch.where(open_RBQ, token_RBQ, ids_RBQ), vocabulary)
    now_RBQ = policy.select(stats, shown_RBQ.flatten(1), step, steps, key, q).view(open_RBQ.shape)
    written_RBQ = token_RBQ if truth_RBQ is None else truth_RBQ
    if q == 1 and not policy.ends_last:
        return written_RBQ, now_RBQ
    ids_RBQ = torch.where(now_RBQ, written_RBQ, ids_RBQ)
    if policy.ends_last:
        over_RBQ = open_RBQ & behind(ids_RBQ, vocabulary)
    else:
        over_RBQ = ended(ids_RBQ, open_RBQ & ~now_RBQ, vocabulary)
    return written_RBQ.masked_fill(over_RBQ, vocabulary.eos), now_RBQ | over_RBQ
