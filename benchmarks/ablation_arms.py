"""The arms of the ablation: which masks, which loss, how many streams, in how many steps or how much time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

TEACHES_IN, TAU, ALPHA = 4, 2.0, 0.7  # the paper's
CERTAINTY = 2.0  # dParallel's


@dataclass(frozen=True)
class Arm:
    """One way to go on. ``alpha`` is the weight of the teacher's word, None where nobody teaches; ``like`` an arm whose time it is given.

    ``pulls`` multiplies the teacher's word by tau squared, which the paper does not say: without it, it hardly pulls (benchmarks/pull.py).
    ``targets`` that are hard are the codes it wrote; ``certainty`` is dParallel's.
    """

    name: str
    layout: str
    masks: str
    alpha: float | None = None
    like: str | None = None
    pulls: bool = False
    targets: str = "soft"
    certainty: float = 0.0

    @property
    def folder(self) -> str:
        return self.name.replace(", ", "-").replace(" ", "-").replace(".", "")

    def stage(self, steps: int) -> dict[str, Any]:
        stage: dict[str, Any] = {"name": "arm", "layout": self.layout, "masks": self.masks, "steps": steps}
        if self.certainty:
            stage["certainty"] = self.certainty
        if self.alpha is None:
            return stage
        how = {"tau": TAU, "tau_squared": self.pulls} if self.targets == "soft" else {"targets": self.targets}
        taught = {"alpha": self.alpha, "iterations": TEACHES_IN, **how}
        return {**stage, "loss": "distillation", "distillation": taught}


def arms() -> tuple[Arm, ...]:
    """Of both layouts the paper's four cells, and cross entropy at the teacher's time; of two streams other weights of the teacher too, its codes
    as targets, and the demo's masks."""
    found = []
    for layout, short in (("two_stream", "two"), ("single_stream", "one")):
        for masks in ("bernoulli", "hierarchical"):
            taught = Arm(f"{short}, {masks}, ISD", layout, masks, ALPHA)
            found += [Arm(f"{short}, {masks}", layout, masks), taught]
            found.append(Arm(f"{short}, {masks}, same time", layout, masks, like=taught.name))
    pulling = [
        Arm(f"two, {m}, ISD tau squared", "two_stream", m, ALPHA, pulls=True)
        for m in ("bernoulli", "hierarchical", "decoding")
    ]
    weights = [Arm(f"two, hierarchical, ISD alpha {a}", "two_stream", "hierarchical", a) for a in (0.5, 0.9)]
    written = partial(Arm, layout="two_stream", targets="hard")
    hard = [
        written("two, hierarchical, hard", masks="hierarchical", alpha=ALPHA),
        written("two, hierarchical, hard, certain", masks="hierarchical", alpha=ALPHA, certainty=CERTAINTY),
        written("two, decoding, hard", masks="decoding", alpha=ALPHA),
        written("two, decoding, hard alpha 1", masks="decoding", alpha=1.0),
    ]
    return (*found, *pulling, *weights, *hard, Arm("two, decoding", "two_stream", "decoding"))


def layout_of(name: str) -> str | None:
    """Of the arm of that name; None where there is none."""
    return next((arm.layout for arm in arms() if arm.name == name), None)


def needed(arm: Arm) -> tuple[Arm, Arm]:
    """Of an arm at another's time: that other one, and itself at equal steps."""
    taught = next(a for a in arms() if a.name == arm.like)
    return taught, replace(arm, name=arm.name.removesuffix(", same time"), like=None)


def chosen_of(parts: Sequence[str] | None, without: Sequence[str]) -> list[Arm]:
    """All arms, or those with one of ``parts`` in their name, and none of ``without``, and what these need."""
    asked = [a for a in arms() if not parts or any(part in a.name for part in parts)]
    wanted = [a for a in asked if not any(part in a.name for part in without)]
    names = {a.name for w in wanted for a in ((w,) if w.like is None else (w, *needed(w)))}
    return [a for a in arms() if a.name in names]
