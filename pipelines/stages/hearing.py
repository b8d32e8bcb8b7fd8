"""From a cut to a clean waveform, or to the outcome that says why not: what `fit` and `tokenize` both begin with.

Legend: wave_T is mono float32 at the tokenizer's rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifests.audio.decode import DecodeLimits, Span, decode
from manifests.audio.probe import Unreadable
from manifests.fetch import Fetcher, FetchFailed
from manifests.ledger import Outcome
from manifests.settings.clean import CleanSettings
from manifests.utterance import AudioRef, Utterance, from_cut
from pipelines.engine.contract import Beat
from pipelines.stages.s40_clean import AudioFacts, Dropped, clean


@dataclass(frozen=True)
class Side:
    """One cleaned sound."""

    wave_T: np.ndarray
    facts: AudioFacts


@dataclass(frozen=True)
class Heard:
    """An utterance that passed: its sound, and its query's where it has one."""

    utterance: Utterance
    response: Side | None
    query: Side | None

    @property
    def sides(self) -> list[Side]:
        return [side for side in (self.response, self.query) if side is not None]


def ended(cut: Mapping[str, Any], u: Utterance) -> Outcome | None:
    """The outcome of an utterance that ends before anybody listens; None where it does not."""
    if u.fault:
        return Outcome(u.id, "quarantined", *u.fault)
    if "copy_of" in cut["custom"]:
        return Outcome(u.id, "filtered", "duplicate_audio", f"the same sound and text as {cut['custom']['copy_of']}")
    return Outcome(u.id, *u.ended) if u.ended else None


@dataclass(frozen=True)
class Ear:
    """Fetches, decodes and cleans; every fault of an utterance comes back as its outcome."""

    fetch: Fetcher
    settings: CleanSettings
    sample_rate: int

    def hear_all(self, cuts: Iterable[Mapping[str, Any]], beat: Beat) -> Iterator[Heard | Outcome]:
        """What is heard of each cut, in order, one when it is asked for."""
        return map(self.hear, cuts)

    def hear(self, cut: Mapping[str, Any]) -> Heard | Outcome:
        """The clean sound of a cut, or why there is none."""
        u = from_cut(cut)
        if (outcome := ended(cut, u)) is not None:
            return outcome
        response = self._side(u.audio, u.start, u.seconds, u.channel) if u.audio else None
        if isinstance(response, Dropped):
            return Outcome(u.id, response.status, response.reason, response.detail)
        if response is None and u.units is None:
            return Outcome(u.id, "quarantined", "missing_audio", "the corpus names neither sound nor tokens for it")
        query = self.query(u)
        if isinstance(query, Dropped):
            return Outcome(u.id, query.status, f"query_{query.reason}", f"its query: {query.detail}")
        return Heard(u, response, query)

    def query(self, u: Utterance) -> Side | Dropped | None:
        """The clean sound of its query; None where it has none."""
        return self._side(u.query.audio, 0.0, None, u.query.channel) if u.query and u.query.audio else None

    def _side(self, ref: AudioRef, start: float, seconds: float | None, channel: int | None) -> Side | Dropped:
        s = self.settings
        span = Span(start, seconds) if start or seconds is not None else None
        try:
            data = self.fetch.local_path(ref) or self.fetch.fetch(ref)
            decoded = decode(data, DecodeLimits(s.max_decoded_seconds, s.max_decoded_mb * 2**20), span)
        except FetchFailed as error:
            if error.transient:
                raise
            return Dropped("quarantined", error.reason, error.message)
        except Unreadable as error:
            return Dropped("quarantined", error.reason, error.message)
        result = clean(decoded, s, self.sample_rate, channel)
        return result if isinstance(result, Dropped) else Side(result.wave_T, result.facts)
