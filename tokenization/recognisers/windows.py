"""What all Whispers have in common: windows of 30 s, and another try where a text looks bad.

A longer utterance is cut at its quietest places; its windows are heard like any others, and their texts are joined. Where a text looks like a
loop, or is unlikely, the window is heard again at the next temperature; that draws, by a seed of the window's own samples.

Shapes: ``wave_T`` is mono audio, T samples at 16 kHz; ``level_H`` is the level of each of H steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from manifests.fingerprint import content_hash, draw
from manifests.settings.recognisers import WhisperFamily
from tokenization.adapter import Wave, checked_wave
from tokenization.codecs.neural import computing
from tokenization.recognisers.base import RATE, RecogniserSpec, Transcript, compression

BLOCK = "transcribe.recogniser"  # of the recipe
WINDOW = 30.0  # seconds
SEARCHED = 10.0  # seconds at the end of a window in which the quietest place is looked for
STEP, PAUSE = 320, 10  # samples; steps over which a place has to be quiet
LOOP, UNLIKELY, SILENT = (
    2.4,
    -1.0,
    0.6,
)  # Whisper's own limits: compression, mean log probability, probability of no speech


@dataclass(frozen=True, slots=True)
class Piece:
    """What was heard in one window. ``tokens`` counts those of the text and its end."""

    text: str
    tokens: int
    avg_logprob: float
    no_speech: float
    temperature: float
    language: str | None = None
    probability: float | None = None

    @property
    def loops(self) -> bool:
        return compression(self.text) > LOOP

    @property
    def bad(self) -> bool:
        """Whether it should be heard again; silence is none the better for it."""
        silent = self.no_speech > SILENT and self.avg_logprob < UNLIKELY
        return not silent and (self.loops or self.avg_logprob < UNLIKELY)


class Engine(Protocol):
    """A Whisper of some library. Windows hold at least one sample and at most :data:`WINDOW` seconds."""

    def likeliest(self, windows: Sequence[Wave]) -> list[Piece]:
        """What is heard at temperature 0, all of it at once."""
        ...

    def drawn(self, window_T: Wave, temperature: float, seed: int) -> Piece:
        """What is heard at a temperature above 0: a function of all that is given."""
        ...


@dataclass(frozen=True)
class WhisperRecogniser:
    """An engine, and how it is asked. One thread computes: words do not depend on how many there are."""

    spec: RecogniserSpec
    settings: WhisperFamily
    engine: Any

    def recognise(self, waves: Sequence[Wave]) -> list[Transcript]:
        """What is heard in each wave."""
        windows = [list(cut(checked_wave(wave_T))) for wave_T in waves]
        flat = [window_T for part in windows for window_T in part]
        with computing():
            first = self.engine.likeliest(flat) if flat else []
            pieces = iter([self._best(window_T, piece) for window_T, piece in zip(flat, first, strict=True)])
        return [joined([next(pieces) for _ in part]) for part in windows]

    def _best(self, window_T: Wave, first: Piece) -> Piece:
        """The first piece that is not bad; where all are, the likeliest of those that are no loops."""
        tried = [first]
        for temperature in self.settings.temperatures[1:]:
            if not tried[-1].bad:
                return tried[-1]
            seed = draw("whisper", self.settings.seed, temperature, content_hash(window_T.tobytes()))
            tried.append(self.engine.drawn(window_T, temperature, seed))
        return tried[-1] if not tried[-1].bad else max(tried, key=lambda piece: (not piece.loops, piece.avg_logprob))


def cut(wave_T: Wave) -> Iterator[Wave]:
    """Windows of at most :data:`WINDOW` seconds that make up the whole; none of no samples."""
    size, searched = int(WINDOW * RATE), int(SEARCHED * RATE)
    while len(wave_T) > size:
        place = size - searched + _quietest(wave_T[size - searched : size])
        yield wave_T[:place]
        wave_T = wave_T[place:]
    if len(wave_T):
        yield wave_T


def _quietest(wave_T: Wave) -> int:
    """The middle of the quietest pause, in samples."""
    steps_HT = wave_T[: len(wave_T) // STEP * STEP].reshape(-1, STEP).astype(np.float64)
    level_H = np.convolve((steps_HT**2).mean(axis=1), np.ones(PAUSE), mode="valid")
    return (int(level_H.argmin()) + PAUSE // 2) * STEP


def joined(pieces: Sequence[Piece]) -> Transcript:
    """The transcript of an utterance: language as its first window has it, means over tokens, the least doubt that somebody speaks.

    Its compression is that of the worst window, as the longer a text is, the better it is compressed: a loop is one within its window.
    """
    if not pieces:
        return Transcript("")
    text = " ".join(piece.text for piece in pieces if piece.text)
    tokens = sum(piece.tokens for piece in pieces)
    return Transcript(
        text,
        pieces[0].language,
        pieces[0].probability,
        sum(piece.avg_logprob * piece.tokens for piece in pieces) / tokens,
        min(piece.no_speech for piece in pieces),
        max(compression(piece.text) for piece in pieces),
        max(piece.temperature for piece in pieces),
    )
