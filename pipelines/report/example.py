"""One utterance to hear and see.

Legend: *_T mono float32 waveforms at ``sample_rate``; *_FQ codes (frames x codebooks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.report.sound import audio_uri, codes_uri, flac_fits, spectrogram_uri

Array = npt.NDArray[Any]

MAX_EXAMPLES = 8
CLIP_SECONDS = 12.0  # what is longer is cut here, so that the page stays small
AUDIO_BUDGET = 1_100_000  # bytes of sound, before base64, up to which it is lossless


@dataclass(frozen=True, eq=False)
class Example:
    """An utterance as the caller fetched and decoded it; None for what there is not.

    frame_rate   of the codes, in frames per second
    """

    id: str
    text: str | None
    query_text: str | None
    original_T: Array | None
    resynthesised_T: Array | None
    sample_rate: int
    codes_FQ: Array | None
    frame_rate: float
    query_original_T: Array | None = None
    speaker: str | None = None
    split: str | None = None

    @property
    def waves(self) -> list[tuple[str, Array]]:
        """The sounds there are, with their titles, in the order they are heard."""
        named = (
            ("query", self.query_original_T),
            ("original", self.original_T),
            ("resynthesised", self.resynthesised_T),
        )
        return [(title, wave_T) for title, wave_T in named if wave_T is not None and len(wave_T)]


@dataclass(frozen=True)
class Track:
    """One row of an example: a picture over a part of the time axis, and the sound it is of."""

    title: str
    image: str
    percent: float
    seconds: float
    audio: str | None = None
    rows: int = 0


@dataclass(frozen=True)
class Shown:
    """An example as the page needs it."""

    example: Example
    tracks: tuple[Track, ...]
    seconds: float
    clipped: bool


def _clip(wave_T: Array, rate: float) -> Array:
    return wave_T[: int(CLIP_SECONDS * rate)]


def _tracks(example: Example, axis: float, lossless: bool) -> list[Track]:
    tracks, rate = [], example.sample_rate
    for title, whole_T in example.waves:
        wave_T = _clip(whole_T, rate)
        seconds = len(wave_T) / rate
        audio = audio_uri(wave_T, rate, lossless)
        tracks.append(Track(title, spectrogram_uri(wave_T, rate), 100 * seconds / axis, seconds, audio))
    if example.codes_FQ is not None and example.codes_FQ.size:
        codes_FQ = _clip(np.atleast_2d(example.codes_FQ), example.frame_rate)
        seconds = len(codes_FQ) / example.frame_rate
        tracks.append(Track("tokens", codes_uri(codes_FQ), 100 * seconds / axis, seconds, None, codes_FQ.shape[1]))
    return tracks


def _axis(example: Example) -> float:
    """The seconds that the example's time axis spans, uncut."""
    spans = [len(wave_T) / example.sample_rate for _, wave_T in example.waves]
    if example.codes_FQ is not None and example.codes_FQ.size:
        spans.append(len(example.codes_FQ) / example.frame_rate)
    return max(spans, default=0.0)


def show(examples: Sequence[Example]) -> list[Shown]:
    """The first :data:`MAX_EXAMPLES`, drawn and encoded: losslessly where all of them together stay small."""
    examples = examples[:MAX_EXAMPLES]
    samples = sum(len(_clip(wave_T, e.sample_rate)) for e in examples for _, wave_T in e.waves)
    lossless = flac_fits(samples, AUDIO_BUDGET)
    shown = []
    for example in examples:
        whole = _axis(example)
        axis = min(whole, CLIP_SECONDS)
        shown.append(Shown(example, tuple(_tracks(example, axis, lossless)), axis, whole > CLIP_SECONDS))
    return shown
