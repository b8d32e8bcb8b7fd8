"""A line of the script turned into sound."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from manifests.demo.script import Line, ScriptLine
from tokenization.voices.base import Speaker, Wave

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Performance:
    """Both sides of a dialogue as int16 mono at ``sample_rate``, and how they were spoken, as plain values."""

    query_wave_T: Wave
    response_wave_T: Wave
    sample_rate: int
    metadata: dict[str, Any]


def perform(speaker: Speaker, line: ScriptLine) -> Performance:
    """*line* as *speaker* says it, at 16 kHz: a pure function of the line; :class:`VoiceError` where it fails."""
    metadata = {"intent": line.dialogue.intent, "query": _how(line.query), "response": _how(line.response)}
    return Performance(_said(speaker, line.query), _said(speaker, line.response), SAMPLE_RATE, metadata)


def _said(speaker: Speaker, line: Line) -> Wave:
    wave_T, rate = speaker.say(line.text, line.voice, line.prosody)
    return at_common_rate(wave_T, rate)


def at_common_rate(wave_T: Wave, rate: int) -> Wave:
    """``wave_T`` int16 at 16 kHz, without dither, so that the same samples always give the same samples."""
    if rate == SAMPLE_RATE:
        return wave_T
    import soxr

    float_T = soxr.resample(wave_T.astype(np.float32), rate, SAMPLE_RATE)
    return np.clip(np.rint(float_T), -32768, 32767).astype(np.int16)


def _how(line: Line) -> dict[str, Any]:
    return {"speaker": line.speaker, "voice": line.voice, **asdict(line.prosody)}
