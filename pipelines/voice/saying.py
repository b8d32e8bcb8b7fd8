"""Saying one text, or its text states: all at once, or block by block with the sound of each block leaving before the next is decided.

Legend: T samples, F frames, Q codebooks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.voice.files import Sink
from pipelines.voice.manner import Manner
from pipelines.voice.voice import Voice, blocks_of
from pipelines.voice.words import Words
from tokenization.adapter import Codes
from tokenization.streaming import open_stream
from training.decoding.protocol import Outcome
from training.noise.grid import Grid


@dataclass
class Times:
    """Seconds of work: reading the text, deciding codes, making sound of them."""

    reading: float = 0.0
    talker: float = 0.0
    vocoder: float = 0.0

    @property
    def total(self) -> float:
        return self.reading + self.talker + self.vocoder


@dataclass(frozen=True)
class Said:
    """What was said, and how long it took.

    first      until the first sound could leave: with a stream that of the first block, else all of it
    cut        the talker did not come to an end and was stopped
    forwards   passes through the layers, per block of the utterance
    """

    codes_FQ: Codes
    samples: int
    sample_rate: int
    times: Times
    first: Times
    forwards: float
    cut: bool

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of sound."""
        return self.times.total / self.seconds if self.seconds else float("inf")


def timed(work: Callable[[], object]) -> float:
    """How long some work took, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def say(voice: Voice, manner: Manner, text: Words, sink: Sink, stream: bool) -> Said:
    """Say ``text`` into ``sink``. Raises ``SpeakError`` for what cannot be said, ``TokenizerError`` for codecs that do not stream."""
    decoder, (text_NS, counts) = voice.decoder(manner, [text]), voice.batch([text])
    mouth = _Streamed(voice, sink) if stream else _Whole(voice, sink)
    times, first, said = Times(), None, []
    times.reading = timed(lambda: decoder.feed(text_NS, counts, ended=True))
    blocks = blocks_of(decoder, voice.block)
    while True:
        start = time.perf_counter()
        codes_FQ = next(blocks, None)
        times.talker += time.perf_counter() - start
        start = time.perf_counter()
        mouth.finish() if codes_FQ is None else mouth.take(codes_FQ)
        times.vocoder += time.perf_counter() - start
        if first is None and mouth.samples:
            first = Times(times.reading, times.talker, times.vocoder)
        if codes_FQ is None:
            break
        said.append(codes_FQ)
    codes_FQ = np.concatenate([np.zeros((0, voice.parts.speech.spec.codebooks), np.uint16), *said])
    spans = Grid(len(codes_FQ), codes_FQ.shape[1], voice.block).blocks
    return Said(
        codes_FQ, mouth.samples, voice.parts.speech.spec.sample_rate, times, first or times, decoder.work.forwards / spans,
        Outcome.LIMIT in decoder.outcomes,
    )  # fmt: skip


def warm_up(voice: Voice, manner: Manner, text: Words) -> None:
    """Say the first block into nothing, so that what follows is timed without the start of libraries."""
    decoder, (text_NS, counts) = voice.decoder(manner, [text]), voice.batch([text])
    decoder.feed(text_NS, counts, ended=True)
    for codes_FQ in blocks_of(decoder, voice.block):
        open_stream(voice.parts.speech).push(codes_FQ)
        return


class _Streamed:
    """Sound leaves with every block."""

    def __init__(self, voice: Voice, sink: Sink) -> None:
        self._stream, self._sink, self.samples = open_stream(voice.parts.speech), sink, 0

    def take(self, codes_FQ: Codes) -> None:
        self._give(self._stream.push(codes_FQ))

    def finish(self) -> None:
        self._give(self._stream.finish())

    def _give(self, wave_T: np.ndarray) -> None:
        self._sink.write(wave_T)
        self.samples += len(wave_T)


class _Whole:
    """Sound is made of all codes at the end, as well as the codec can."""

    def __init__(self, voice: Voice, sink: Sink) -> None:
        self._speech, self._sink, self._said, self.samples = voice.parts.speech, sink, list[Codes](), 0

    def take(self, codes_FQ: Codes) -> None:
        self._said.append(codes_FQ)

    def finish(self) -> None:
        wave_T = self._speech.decode(np.concatenate(self._said)) if self._said else np.zeros(0, np.float32)
        self._sink.write(wave_T)
        self.samples = len(wave_T)
