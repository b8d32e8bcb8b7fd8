"""Where speech ends, when frames have several codebooks: codebook 0 decides for all of them. One rule for teacher and decoder.

Legend: any leading axes, then Q codebooks, C classes.
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
