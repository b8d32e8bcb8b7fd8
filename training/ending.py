"""Where speech ends: at the first frame whose codebook 0 is EOS; that codebook decides for all others. One rule for teacher and decoder.

Legend: any leading axes, then B positions of a block, Q codebooks, C classes.
"""

from __future__ import annotations

from torch import Tensor

from training.vocabulary import Vocabulary


def only_first_ends(logits_QC: Tensor, vocabulary: Vocabulary) -> Tensor:
    """The same logits, in place, in which the codebooks after the first cannot say EOS."""
    logits_QC[..., 1:, vocabulary.eos] = float("-inf")
    return logits_QC


def ended(ids_Q: Tensor, masked_Q: Tensor, vocabulary: Vocabulary) -> Tensor:
    """``ended_Q``: masked cells of frames that codebook 0 has ended."""
    return (ids_Q[..., :1] == vocabulary.eos) & masked_Q


def behind(ids_BQ: Tensor, vocabulary: Vocabulary) -> Tensor:
    """``behind_BQ``: the cells, frame by frame, that come after the first of codebook 0 that is EOS. They are never heard."""
    ends_BQ = ids_BQ == vocabulary.eos
    ends_BQ[..., 1:] = False
    ends_M = ends_BQ.flatten(-2)
    return (ends_M.cumsum(-1) > ends_M).view(ids_BQ.shape)
