"""Priors for the ``pmi`` score: what the model says when it knows nothing, or how frequent the codes are.

Legend: N rows, M cells of a block, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn


def mean_log_probs(logits_NMC: Tensor, per_cell: bool = False) -> Tensor:
    """Log of the mean predicted distribution, of blocks that are masked throughout: (C,), or (M, C) with ``per_cell``."""
    logp_NMC = logits_NMC.float().log_softmax(-1)
    n, m, _ = logp_NMC.shape
    if per_cell:
        return logp_NMC.logsumexp(0) - math.log(n)
    return logp_NMC.flatten(0, 1).logsumexp(0) - math.log(n * m)


def frequencies(counts_C: Tensor, smoothing: float = 1.0) -> Tensor:
    """Log frequencies (C,) of classes counted in a corpus, ``smoothing`` added to each. Sums in float64."""
    counts_C = counts_C.double() + smoothing
    return (counts_C.log() - counts_C.sum().log()).float()


@dataclass
class PriorCache:
    """A prior that a model made, made anew when any of its weights has changed."""

    compute: Callable[[], Tensor]
    _weights: tuple[tuple[int, int], ...] | None = field(default=None, init=False)
    _prior: Tensor | None = field(default=None, init=False)

    def get(self, model: nn.Module) -> Tensor:
        """The prior for the weights as they are now."""
        weights = tuple((p.data_ptr(), p._version) for p in model.parameters())
        if self._prior is None or weights != self._weights:
            self._prior, self._weights = self.compute(), weights
        return self._prior
