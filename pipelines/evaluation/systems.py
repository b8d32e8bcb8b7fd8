"""What is compared: talkers, each with a way of decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pipelines.voice.errors import SpeakError
from pipelines.voice.manner import Manner
from pipelines.voice.voice import Voice

STEPS = (1, 2, 4, 8, 16)
GUESSES = ("unverified", "confident", "verified")  # ways of multi-token decoding that are measured


@dataclass(frozen=True, eq=False)
class System:
    """A row of the table: ``name`` for people, ``kind`` its decoder."""

    name: str
    kind: str
    voice: Voice
    manner: Manner


@dataclass(frozen=True)
class Ways:
    """How runs are decoded. None is as usual; what is asked for is asked of some run.

    steps, policies   of block decoding, each with each
    accept            of multi-token decoding
    like              what all rows share
    """

    steps: tuple[int, ...] | None = None
    policies: tuple[str, ...] | None = None
    accept: tuple[str, ...] | None = None
    like: Manner = field(default_factory=Manner)

    def require_use(self, kinds: Sequence[str]) -> None:
        """Raise :class:`SpeakError` for what no run here would be decoded by."""
        asked = (
            ("--steps", self.steps, "block"),
            ("--policies", self.policies, "block"),
            ("--accept", self.accept, "mtp"),
        )
        for option, value, kind in asked:
            if value is not None and kind not in kinds:
                raise SpeakError(
                    f"{option} is of the decoder {kind}, and {' and '.join(dict.fromkeys(kinds))} is what decodes here: leave it out"
                )


def systems(voice: Voice, others: Sequence[tuple[str, Voice]], ways: Ways) -> list[System]:
    """The rows: baselines first, then the run by policy and steps.

    ``others`` are (kind wanted, voice). Raises :class:`SpeakError` where a run was trained for another kind, or nothing goes by what is asked.
    """
    found: list[System] = []
    ways.require_use([*(kind for kind, _ in others), voice.kinds[0]])
    for kind, other in others:
        if kind not in other.kinds:
            raise SpeakError(f"--{kind} {other.run}: trained for the decoder {' or '.join(other.kinds)}, not {kind}")
        found += _rows(other, kind, ways)
    return found + list(_rows(voice, voice.kinds[0], ways))


def _rows(voice: Voice, kind: str, ways: Ways) -> Iterator[System]:
    like = replace(ways.like, decoder=kind)
    if kind == "block":
        policies = ways.policies or ("even",)
        for policy in policies:
            for count in ways.steps or STEPS:
                name = f"{count} step{'s' if count > 1 else ''}" + (f", {policy}" if len(policies) > 1 else "")
                yield System(name, kind, voice, replace(like, steps=count, policy=policy))
    elif kind == "mtp":
        for accept in ways.accept or GUESSES:
            yield System(f"MTP, {accept}", kind, voice, replace(like, accept=accept))
    else:
        yield System("AR", kind, voice, like)
