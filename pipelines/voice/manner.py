"""How a talker is asked to decide its codes, and which of it each decoder goes by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipelines.voice.errors import SpeakError

MAX_SECONDS = 30.0  # what a talker that does not come to an end is cut at
STEPS = 4

# Settings of one decoder alone, by the option that says them.
OWN = {
    "steps": ("--steps", "block"),
    "policy": ("--policy", "block"),
    "tempered": ("--judge-tempered", "block"),
    "accept": ("--accept", "mtp"),
}


@dataclass(frozen=True)
class Manner:
    """How codes are decided.

    decoder      ``block``, ``ar`` or ``mtp``; None: what the run was trained for
    steps        block: of each block; None: :data:`STEPS`
    policy       block: the order in which a block is revealed, a preset or written out (``training.policies.policy_of``); None: even
    temperature  0 takes the likeliest codes; above it, they are drawn
    top_p        draws are among the likeliest codes that hold so much of the mass
    tempered     block: the policy judges codes by what temperature and top_p made of them, not by what the model said
    accept       mtp: which guesses are kept, as in ``confident:0.9``; None: all of them
    """

    decoder: str | None = None
    steps: int | None = None
    policy: str | None = None
    temperature: float = 0.0
    seed: int = 0
    max_seconds: float = MAX_SECONDS
    top_p: float = 1.0
    tempered: bool = False
    accept: str | None = None

    def require_fit(self, kind: str) -> None:
        """Raise :class:`SpeakError` for what the decoder ``kind`` would pass over, and for numbers out of range."""
        for name, (option, owner) in OWN.items():
            if getattr(self, name) not in (None, False) and kind != owner:
                raise SpeakError(f"{option} is of the decoder {owner}, and {kind} is what decodes: leave it out")
        if self.steps is not None and self.steps < 1:
            raise SpeakError(f"a block takes at least one step, not {self.steps}")
        if not 0 <= self.temperature < math.inf:
            raise SpeakError(f"--temperature {self.temperature}: nothing can be said so; give 0 or more")
        if not 0 < self.top_p <= 1:
            raise SpeakError(f"--top-p {self.top_p}: give a share of the mass, above 0 and at most 1")
        for option, asked in (("--top-p", self.top_p < 1), ("--judge-tempered", self.tempered)):
            if asked and self.temperature == 0:
                raise SpeakError(f"{option} is for codes that are drawn: give a --temperature above 0, or leave it out")
