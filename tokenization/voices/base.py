"""What a speech engine is: voices, a speaker that says text with a prosody, and how its phrases are put together.

Shapes: ``wave_T`` is int16 mono, T samples at the stated rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from manifests.demo.script import Manner, Prosody

__all__ = ["Engine", "Prosody", "Speaker", "Voice", "VoiceError", "say_phrases", "trim"]

Wave = np.ndarray
FRAME_SECONDS = 0.01
SPEECH_FLOOR = 0.003  # of the loudest frame (-50 dB): below it a frame at an edge counts as silence
MARGIN_FRAMES = 3  # kept around speech, so that soft consonants are not cut


class VoiceError(RuntimeError):
    """An engine that is missing, or did not say what it was asked to."""


@dataclass(frozen=True)
class Voice:
    """A candidate voice: the engine's name for it, and the rates and pitches (factors) its personas take."""

    name: str
    engine: str
    rates: tuple[float, ...] = (1.0,)
    pitches: tuple[float, ...] = (1.0,)


class Speaker(Protocol):
    """Says text. The samples are a function of (text, voice, prosody) alone, whatever was said before."""

    def say(self, text: str, voice: str, prosody: Prosody) -> tuple[Wave, int]:
        """``wave_T`` int16 and its sample rate; :class:`VoiceError` where the engine fails."""
        ...

    def close(self) -> None:
        """Let go of whatever the speaker holds."""
        ...


@dataclass(frozen=True)
class Engine:
    """One speech engine: where its candidates, its speaker and its version come from.

    ``candidates`` are in order of preference for the assistant, whose prosody is drawn from ``manner``.
    """

    name: str
    candidates: tuple[Voice, ...]
    manner: Manner
    available: Callable[[], bool]
    speaker: Callable[[], Speaker]
    versions: Callable[[], dict[str, str]]
    install: str


def trim(wave_T: Wave, rate: int) -> Wave:
    """*wave_T* without the silence at its edges; :class:`VoiceError` where there is no sound at all."""
    size = int(rate * FRAME_SECONDS)
    count = -(-len(wave_T) // size)
    frames_FS = np.pad(wave_T.astype(np.float64), (0, count * size - len(wave_T))).reshape(count, size)
    level_F = np.sqrt((frames_FS**2).mean(axis=1))
    if not count or not level_F.max() > 0:
        raise VoiceError("the engine returned no sound")
    loud = np.flatnonzero(level_F > SPEECH_FLOOR * level_F.max())
    first, last = max(int(loud[0]) - MARGIN_FRAMES, 0), int(loud[-1]) + 1 + MARGIN_FRAMES
    return wave_T[first * size : last * size]


def say_phrases(render: Callable[[str], tuple[Wave, int]], text: str, prosody: Prosody) -> tuple[Wave, int]:
    """*text* rendered phrase by phrase, with ``prosody.pause`` at its commas and ``prosody.lead`` before it."""
    parts: list[Wave] = []
    rate = 0
    for phrase in filter(None, (part.strip() for part in text.split(","))):
        wave_T, rate = render(phrase)
        seconds = prosody.pause if parts else prosody.lead
        parts += [np.zeros(round(seconds * rate), np.int16), trim(wave_T, rate)]
    if not parts:
        raise VoiceError(f"nothing to say in {text!r}: give at least one word")
    return np.concatenate(parts), rate
