"""Codes of all sentences, and how fast they come: a batch at a time, and one sentence alone.

Times are wall-clock. Alone, a system is warmed up first; its seconds are those of reading the text and deciding codes, the sound is
timed apart. All systems give their first chunk after the same number of frames, one block.

Legend: F frames, Q codebooks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.systems import System
from pipelines.voice.saying import timed
from pipelines.voice.voice import blocks_of, rows_of
from pipelines.voice.words import Words
from tokenization.streaming import open_stream
from training.decoding.protocol import Outcome

Codes = npt.NDArray[np.uint16]

WARM_UP = 2  # sentences said before any is timed


@dataclass(frozen=True)
class Spoken:
    """All sentences in one system's codes. ``cut`` of them did not come to an end."""

    codes: list[Codes]
    cut: int
    seconds: float

    @property
    def frames(self) -> int:
        return sum(map(len, self.codes))


def spoken(system: System, texts: Sequence[Words], batch: int) -> Spoken:
    """Say ``texts``, ``batch`` of about the same length at a time: the longest one keeps the others waiting."""
    codes, cut, start = dict[int, Codes](), 0, time.perf_counter()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for first in range(0, len(order), batch):
        places = order[first : first + batch]
        rows = [texts[i] for i in places]
        decoder, (text_NS, counts) = system.voice.decoder(system.manner, rows), system.voice.batch(rows)
        decoder.feed(text_NS, counts, ended=True)
        said: list[list[Codes]] = [[] for _ in rows]
        for chunk in rows_of(decoder):
            for row, codes_FQ in enumerate(chunk):
                said[row].append(codes_FQ)
        codes |= zip(places, map(np.concatenate, said), strict=True)
        cut += sum(outcome is Outcome.LIMIT for outcome in decoder.outcomes)
    return Spoken([codes[i] for i in range(len(texts))], cut, time.perf_counter() - start)


@dataclass(frozen=True)
class Timing:
    """One sentence said alone, in seconds. ``first`` is (reading, talker, vocoder) until the first chunk is sound."""

    frames: int
    seconds: float
    blocks: int
    forwards: int
    commits: int
    first: tuple[float, float, float]


def timing(system: System, text: Words) -> Timing:
    """Say one text alone."""
    voice = system.voice
    decoder, (text_NS, counts) = voice.decoder(system.manner, [text]), voice.batch([text])
    stream = open_stream(voice.parts.speech)
    reading = timed(lambda: decoder.feed(text_NS, counts, ended=True))
    blocks, talker, vocoder, frames = blocks_of(decoder, voice.block), list[float](), 0.0, 0
    while True:
        start = time.perf_counter()
        codes_FQ = next(blocks, None)
        talker.append(time.perf_counter() - start)
        if codes_FQ is None:
            break
        if not frames:
            vocoder = timed(lambda codes_FQ=codes_FQ: stream.push(codes_FQ))
        frames += len(codes_FQ)
    occupied = frames // voice.block + 1
    work = decoder.work
    return Timing(frames, reading + sum(talker), occupied, work.forwards, work.commits, (reading, talker[0], vocoder))


def timings(system: System, texts: Sequence[Words]) -> list[Timing]:
    """Each text said alone, after a warm-up."""
    for text in texts[:WARM_UP]:
        timing(system, text)
    return [timing(system, text) for text in texts]


def speed(found: Sequence[Timing], frame_rate: float) -> dict[str, Any]:
    """The figures of one system: medians over sentences, and the slow end (95 of 100 are faster)."""
    told = [t for t in found if t.frames]
    if not told:
        return {"sentences": 0}
    per_frame = [t.seconds / t.frames for t in told]
    blocks = sum(t.blocks for t in told)
    names = ("reading", "talker", "vocoder")
    first = {name: _spread([1000 * t.first[i] for t in told]) for i, name in enumerate(names)}
    return {
        "sentences": len(told),
        "tokens_per_second": 1 / float(np.median(per_frame)),
        "tokens_per_second_slow": 1 / float(np.quantile(per_frame, 0.95)),
        "rtf": _spread([frame_rate * s for s in per_frame]),
        "block_ms": _spread([1000 * t.seconds / t.blocks for t in told]),
        "forwards_per_block": sum(t.forwards for t in told) / blocks,
        "commits_per_block": sum(t.commits for t in told) / blocks,
        "first_chunk_ms": {**first, "total": _spread([1000 * sum(t.first) for t in told])},
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "p95": float(np.quantile(values, 0.95))}
