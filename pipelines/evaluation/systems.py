"""What is compared: talkers, each with a way of decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.voice.errors import SpeakError
from pipelines.voice.voice import Manner, Voice

GUESSES = ("unverified", "verified")  # ways of multi-token decoding that are measured


@dataclass(frozen=True, eq=False)
class System:
    """A row of the table: ``name`` for people, ``kind`` its decoder."""

    name: str
    kind: str
    voice: Voice
    manner: Manner


def systems(
    voice: Voice, others: Sequence[tuple[str, Voice]], steps: Sequence[int], policies: Sequence[str], seed: int
) -> list[System]:
    """The rows: baselines first, then the run by policy and steps.

    ``others`` are (kind wanted, voice). Raises :class:`SpeakError` where a run was trained for another kind.
    """
    found: list[System] = []
    for kind, other in others:
        if kind not in other.kinds:
            raise SpeakError(f"--{kind} {other.run}: trained for the decoder {' or '.join(other.kinds)}, not {kind}")
        found += _rows(other, kind, steps, policies, seed)
    return found + list(_rows(voice, voice.kinds[0], steps, policies, seed))


def _rows(voice: Voice, kind: str, steps: Sequence[int], policies: Sequence[str], seed: int) -> Iterator[System]:
    if kind == "block":
        for policy in policies:
            for count in steps:
                name = f"{count} step{'s' if count > 1 else ''}" + (f", {policy}" if len(policies) > 1 else "")
                yield System(name, kind, voice, Manner(kind, count, policy, seed=seed))
    elif kind == "mtp":
        for policy in GUESSES:
            yield System(f"MTP, {policy}", kind, voice, Manner(kind, policy=policy, seed=seed))
    else:
        yield System("AR", kind, voice, Manner(kind, seed=seed))
