"""Where a worker's time goes: a sample of utterances once more, step by step, with the functions that the stage itself calls."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from manifests.audio.decode import DecodeLimits, Span, decode
from manifests.audio.probe import Unreadable
from manifests.fetch import FetchFailed
from manifests.storage import Store
from manifests.utterance import Utterance, from_cut
from pipelines.engine.contract import Task, Unit
from pipelines.stages.hearing import Ear
from pipelines.stages.listeners import Listeners
from pipelines.stages.s30_plan import unit_cuts
from pipelines.stages.s38_transcribe import TranscribeJob, TranscribeWorker
from pipelines.stages.s40_clean import Dropped, clean
from pipelines.stages.s60_tokenize import TokenizeJob, TokenizeWorker

SOUNDS, FEW = 40, 6  # utterances of what encodes, and of what recognises, which takes far longer
WORDS = {
    "fetch": "fetching sound", "decode": "decoding", "clean": "cleaning and resampling", "encode": "encoding",
    "rest": "packing",
}  # fmt: skip
RECOGNISING = {**WORDS, "encode": "recognising"}
HEARING = ("fetch", "decode", "clean")
Encode = Callable[[list[np.ndarray]], Any]


def of_tokens(job: TokenizeJob, worker: TokenizeWorker, unit: Unit) -> dict[str, float]:
    """Shares of the work on the first utterances of a unit, by part: what the steps leave of the whole is the rest.

    Steps go first, so that what is fetched is fetched for the first time; the whole then has it at hand, and is given that time on top.
    """
    encode = worker.tokenizer.encode if worker.tokenizer.can_encode else None
    took = _steps(worker.ear, unit_cuts(Store(job.plan), unit.index), SOUNDS, encode)
    began = time.perf_counter()
    worker.process(Task(unit, only=(0, min(SOUNDS, unit.count))), lambda _: None)
    return shares(took, time.perf_counter() - began + took["fetch"])


def of_transcripts(job: TranscribeJob, worker: TranscribeWorker, unit: Unit) -> dict[str, float]:
    """Shares of the steps of hearing the first utterances of a unit: packing texts takes no time."""
    took = _steps(worker.ear, unit_cuts(Store(job.plan), unit.index), FEW, worker.recogniser.recognise)
    return shares(took, sum(took.values()))


def _steps(
    worker_ear: Ear | Listeners, cuts: Iterable[Mapping[str, Any]], most: int, encode: Encode | None
) -> Counter[str]:
    """Seconds by step, of the first so many utterances."""
    took = Counter[str]()
    ear = worker_ear if isinstance(worker_ear, Ear) else worker_ear.ear
    for cut in islice(cuts, most):
        utterance = from_cut(cut)
        if utterance.audio is not None and not utterance.fault:
            _heard(ear, utterance, encode, took)
    return took


def _heard(ear: Ear, utterance: Utterance, encode: Encode | None, took: Counter[str]) -> None:
    assert utterance.audio is not None
    s, marks = ear.settings, [time.perf_counter()]
    try:
        data: Any = ear.fetch.fetch(utterance.audio)  # also where a decoder would read the file as it goes
        marks.append(time.perf_counter())
        span = Span(utterance.start, utterance.seconds) if utterance.start or utterance.seconds is not None else None
        decoded = decode(data, DecodeLimits(s.max_decoded_seconds, s.max_decoded_mb * 2**20), span)
        marks.append(time.perf_counter())
        result = clean(decoded, s, ear.sample_rate, utterance.channel)
        marks.append(time.perf_counter())
        if not isinstance(result, Dropped) and encode is not None:
            encode([result.wave_T])
            marks.append(time.perf_counter())
    except (FetchFailed, Unreadable):
        marks.append(time.perf_counter())
    for part, began, ended in zip((*HEARING, "encode"), marks, marks[1:], strict=False):
        took[part] += ended - began  # type: ignore[assignment]


def shares(took: Mapping[str, float], whole: float) -> dict[str, float]:
    """Shares of ``whole`` seconds that steps took, and of the rest; none of nothing. They add up to 1."""
    steps = sum(took.values())
    whole = max(whole, steps)
    if not steps:
        return {}
    return {**{part: seconds / whole for part, seconds in took.items()}, "rest": 1 - steps / whole}
