"""What a reveal policy may know of a block: the chosen classes and how sure the model is.

Everything is computed when it is asked for: the default policy pays for a maximum and a log-sum-exp, not for entropies.

Legend: N rows, M cells of a block (frames x codebooks, frame-major), C classes. MASK is not among the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from training.policies.noise import Key, gumbel

COLDEST = 1e-4  # temperature: under it no draw is another than the likeliest class, until logits over it are no numbers any more
PRIOR_FLOOR = -20.0  # nats: a class that the prior never saw must not score without bound


@dataclass(frozen=True)
class Stats:
    """Choices ``token_NM`` (int64) and the distributions they are judged by; log probabilities are float32, nats.

    ``prior`` is log probabilities of shape (C,), (M, C) or (N, M, C).
    """

    logits_NMC: Tensor
    token_NM: Tensor
    prior: Tensor | None = None

    @cached_property
    def total_NM(self) -> Tensor:
        """Log of the sum over classes."""
        return self.logits_NMC.logsumexp(-1)

    @cached_property
    def best_NM(self) -> Tensor:
        """Log probability of the likeliest class."""
        return self.logits_NMC.amax(-1) - self.total_NM

    @cached_property
    def second_NM(self) -> Tensor:
        """Log probability of the second likeliest class."""
        return self.logits_NMC.topk(2, dim=-1).values[..., 1] - self.total_NM

    @cached_property
    def entropy_NM(self) -> Tensor:
        """Entropy; forbidden classes (logit -inf) count for nothing."""
        return torch.special.entr(self.logits_NMC.softmax(-1)).sum(-1)

    @cached_property
    def chosen_NM(self) -> Tensor:
        """Log probability of the chosen class."""
        return _at(self.logits_NMC, self.token_NM) - self.total_NM

    @cached_property
    def prior_NM(self) -> Tensor:
        """Log prior of the chosen class. Raises ValueError where there is no prior."""
        if self.prior is None:
            raise ValueError("this policy compares with a prior: give one to stats()")
        prior_NMC = self.prior.float().clamp_min(PRIOR_FLOOR).expand_as(self.logits_NMC)
        return _at(prior_NMC, self.token_NM)


def stats(
    logits_NMC: Tensor,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    tempered: bool = False,
    key: Key | None = None,
    step: int = 1,
    prior: Tensor | None = None,
) -> Stats:
    """Choose a class for every cell, and keep what the choice is judged by.

    Temperature 0, or under :data:`COLDEST`, takes the likeliest class. Above it, classes are drawn by Gumbel noise out of ``key`` after temperature and
    nucleus. Confidence is that of the model before both (Dimple's switch); ``tempered`` asks for after.

    Raises ValueError where a class is to be drawn without a key, or ``top_p`` is not within (0, 1].
    """
    if not 0.0 < top_p <= 1.0 or temperature < 0.0:
        raise ValueError(f"top_p {top_p} must be within (0, 1], temperature {temperature} not negative")
    logits_NMC = logits_NMC.float()
    if temperature < COLDEST:
        return Stats(logits_NMC, likeliest(logits_NMC), prior)
    if key is None:
        raise ValueError("a temperature above 0 needs a key to draw with")
    drawn_NMC = nucleus(logits_NMC / temperature, top_p)
    token_NM = likeliest(drawn_NMC + gumbel(key, step, drawn_NMC.shape[1], drawn_NMC.shape[2]))
    return Stats(drawn_NMC if tempered else logits_NMC, token_NM, prior)


def likeliest(logits_NMC: Tensor) -> Tensor:
    """The first of the likeliest classes. A maximum with its place is found sooner on a processor than the place alone."""
    return logits_NMC.max(-1).indices


def nucleus(logits_NMC: Tensor, top_p: float) -> Tensor:
    """Logits with -inf outside the smallest set of likeliest classes that holds ``top_p`` of the mass."""
    if top_p >= 1.0:
        return logits_NMC
    sorted_NMC, order_NMC = logits_NMC.sort(dim=-1, descending=True, stable=True)
    probs_NMC = sorted_NMC.softmax(-1)
    before_NMC = probs_NMC.cumsum(-1) - probs_NMC
    kept_NMC = sorted_NMC.masked_fill(before_NMC >= top_p, float("-inf"))
    kept_NMC[..., 0] = sorted_NMC[..., 0]  # rounding must not leave a cell without a class
    return torch.empty_like(kept_NMC).scatter_(-1, order_NMC, kept_NMC)


def _at(values_NMC: Tensor, index_NM: Tensor) -> Tensor:
    return values_NMC.gather(-1, index_NM.unsqueeze(-1)).squeeze(-1)
