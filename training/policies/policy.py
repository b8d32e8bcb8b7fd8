"""A reveal policy is score x budget x filter. The teacher of distillation and the decoder call the same ``allocate``/``select``.

Everything is tensors on the device of the logits, a row never sees another, and nothing waits for the host.

Legend: N rows, M cells of a block (frames x codebooks, frame-major), C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from training.policies import stats as statistics
from training.policies.budgets import (
    BUDGETS,
    All,
    Allotment,
    AtLeast,
    Budget,
    ConfidentPrefix,
    DecayingThreshold,
    EntropyBound,
    Quantile,
    Schedule,
    Threshold,
    View,
    cosine,
    shifted,
)
from training.policies.filters import FILTERS, Dilated, Filter, MinGap, PrefixContiguous, Unfiltered
from training.policies.noise import Key
from training.policies.scores import SCORES, Moment, Score, left_to_right, margin, max_prob, neg_entropy, pmi, random
from training.policies.stats import Stats


@dataclass(frozen=True)
class Policy:
    """How a block is revealed. ``temperature`` 0 takes the likeliest class; ``tempered`` judges after temperature and nucleus.

    ``ends_last``: what lies behind the end of speech, as it is decided or would be by now, takes no part in the ranking
    (:func:`training.deciding.decide`). Else frames that fill a block up, of which a talker is sure, are decided before the last of speech.
    """

    score: Score = max_prob
    budget: Budget = field(default_factory=Schedule)
    filter: Filter = field(default_factory=Unfiltered)
    temperature: float = 0.0
    top_p: float = 1.0
    tempered: bool = False
    ends_last: bool = False

    def stats(self, logits_NMC: Tensor, step: int = 1, key: Key | None = None, prior: Tensor | None = None) -> Stats:
        """Choose a class for each cell. ``prior``: log probabilities (C,), (M, C) or (N, M, C), where the score needs one."""
        return statistics.stats(
            logits_NMC, temperature=self.temperature, top_p=self.top_p, tempered=self.tempered, key=key, step=step, prior=prior,
        )  # fmt: skip

    def allocate(
        self, stats: Stats, masked_NM: Tensor, step: int, steps: int, key: Key | None = None
    ) -> tuple[View, Allotment]:
        """What the budget gives each row at ``step`` (from 1) of ``steps``, before the filter."""
        view = View(stats, masked_NM, self.score(stats, Moment(step, steps, key)), step, steps)
        return view, self.budget(view)

    def select(
        self, stats: Stats, masked_NM: Tensor, step: int, steps: int, key: Key | None = None, codebooks: int = 1
    ) -> Tensor:
        """``reveal_NM``: a subset of ``masked_NM``, at least one cell of each row that has any, all of them at the last step.

        A loop over steps may stop as soon as nothing is masked, which can be before the last step.
        Raises ValueError where the score needs a key or a prior that is not there, or ``step`` is less than 1.
        """
        if step < 1:
            raise ValueError(f"steps count from 1, not {step}")
        if step >= steps:
            return masked_NM
        view, allotted = self.allocate(stats, masked_NM, step, steps, key)
        return self.filter(view, allotted, codebooks)


PRESETS: dict[str, Policy] = {
    "even": Policy(),
    "ending": Policy(ends_last=True),
    "cosine": Policy(budget=Schedule(cosine)),
    "margin": Policy(score=margin),
    "random": Policy(score=random),
    "pmi": Policy(score=pmi),
    "threshold": Policy(budget=Threshold(0.9)),
    "threshold_even": Policy(budget=AtLeast(Threshold(0.95), Schedule())),
    "decaying": Policy(budget=DecayingThreshold()),
    "entropy": Policy(score=neg_entropy, budget=EntropyBound()),
    "quantile": Policy(score=pmi, budget=AtLeast(Quantile(), Schedule(shifted))),
    "dilated": Policy(budget=All(), filter=Dilated()),
    "gap": Policy(filter=MinGap()),
    "gap_threshold": Policy(budget=Threshold(0.9), filter=MinGap()),
    "left_to_right": Policy(score=left_to_right),
    "prefix": Policy(score=left_to_right, budget=ConfidentPrefix(), filter=PrefixContiguous()),
}


def preset(name: str, **changes: Any) -> Policy:
    """A preset by name, with fields changed. Raises ValueError where there is no such preset."""
    if name not in PRESETS:
        raise ValueError(f"no policy {name!r}; there are {', '.join(sorted(PRESETS))}")
    return replace(PRESETS[name], **changes)


def build(
    score: str = "max_prob",
    budget: str = "even_ceil",
    filter: str = "none",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    **rest: Any,
) -> Policy:
    """A policy of registered parts; ``options`` has the arguments of ``budget`` and ``filter`` under those words.

    Raises ValueError where a part is not registered.
    """
    for kind, name, known in (("score", score, SCORES), ("budget", budget, BUDGETS), ("filter", filter, FILTERS)):
        if name not in known:
            raise ValueError(f"no {kind} {name!r}; there are {', '.join(sorted(known))}")
    given = options or {}
    made = BUDGETS[budget](**given.get("budget", {})), FILTERS[filter](**given.get("filter", {}))
    return Policy(SCORES[score], *made, **rest)
