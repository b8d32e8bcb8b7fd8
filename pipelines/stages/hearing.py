"""From a cut to a clean waveform and its scores, or to the outcome that says why not: what `fit` and `tokenize` both begin with.

Legend: wave_T is mono float32 at the tokenizer's rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manifests.audio.decode import Decoded, DecodeLimits, Span, decode
from manifests.audio.probe import Unreadable
from manifests.fetch import Fetcher, FetchFailed, reading
from manifests.ledger import Outcome
from manifests.recipe import Recipe
from manifests.settings.clean import CleanSettings
from manifests.utterance import AudioRef, Utterance, from_cut
from pipelines.engine.contract import Beat
from pipelines.stages.judging import Judge
from pipelines.stages.s20_ingest import fetcher
from pipelines.stages.s40_clean import AudioFacts, Dropped, as_stored, clean
from tokenization.scores.base import Sound
from tokenization.scores.registry import Scorer

COPIES = (  # the mark in a cut, its reason, its sentence
    ("copy_of", "duplicate_audio", "the same sound and text as {}"),
    ("near_text_of", "near_duplicate_text", "its text is that of {0[0]} to {0[1]:.1%}"),
    (
        "sounds_like",
        "near_duplicate_audio",
        "the same recording as {0[0]}: {0[1]:.1%} of the bits of their fingerprints agree",
    ),
)


@dataclass(frozen=True)
class Side:
    """One cleaned sound, and its scores by column."""

    wave_T: np.ndarray
    facts: AudioFacts
    scores: Mapping[str, float] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """What filter rules may ask of it."""
        return {**self.facts.to_json(), "seconds": self.facts.seconds_out, **self.scores}


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
    if "filtered" in cut["custom"]:
        return Outcome(u.id, "filtered", *cut["custom"]["filtered"])
    if (copied := _copied(u.id, cut["custom"])) is not None:
        return copied
    return Outcome(u.id, *u.ended) if u.ended else None


@dataclass(frozen=True)
class Ear:
    """Fetches, decodes, cleans, scores and judges; every fault of an utterance comes back as its outcome."""

    fetch: Fetcher
    settings: CleanSettings
    sample_rate: int
    scorer: Scorer = field(default_factory=Scorer)
    judge: Judge = field(default_factory=Judge)

    @classmethod
    def of(cls, recipe: Recipe, root: str, sample_rate: int, scores: tuple[str, ...], judge: Judge) -> Ear:
        """The ear of a recipe whose corpus lies at ``root``: with these scores, and this judge."""
        scorer = Scorer(recipe.scores, scores)
        return cls(fetcher(recipe.corpus, root), recipe.clean, sample_rate, scorer, judge)

    def hear_all(self, cuts: Iterable[Mapping[str, Any]], beat: Beat) -> Iterator[Heard | Outcome]:
        """What is heard of each cut, in order, one when it is asked for."""
        return map(self.hear, cuts)

    def hear(self, cut: Mapping[str, Any]) -> Heard | Outcome:
        """The clean sound of a cut, or why there is none.

        Raises ``FetchFailed`` where storage does not answer, or a sound that was there when the corpus was listed is not there now.
        """
        u = from_cut(cut)
        if (outcome := ended(cut, u) or self.judge.unheard(u)) is not None:
            return outcome
        listed = "content" in cut["custom"]
        response = self._side(u.audio, u.start, u.seconds, u.channel, u.text, listed) if u.audio else None
        if isinstance(response, Dropped):
            return Outcome(u.id, response.status, response.reason, response.detail)
        if response is None and u.units is None:
            return Outcome(u.id, "quarantined", "missing_audio", "the corpus names neither sound nor tokens for it")
        query = self.query(u)
        if isinstance(query, Dropped):
            return Outcome(u.id, query.status, f"query_{query.reason}", f"its query: {query.detail}")
        heard = [side.columns() if side else {} for side in (response, query)]
        return self.judge.heard(u, *heard) or Heard(u, response, query)

    def query(self, u: Utterance) -> Side | Dropped | None:
        """The clean sound of its query; None where it has none."""
        q = u.query
        return self._side(q.audio, 0.0, None, q.channel, q.text) if q and q.audio else None

    def _side(
        self,
        ref: AudioRef,
        start: float,
        seconds: float | None,
        channel: int | None,
        text: str | None,
        listed: bool = False,
    ) -> Side | Dropped:
        """One sound, cleaned; ``listed``: it was read when the corpus was listed."""
        s = self.settings
        span = Span(start, seconds) if start or seconds is not None else None
        try:
            with reading(ref, listed):
                data = self.fetch.local_path(ref) or self.fetch.fetch(ref)
                decoded = decode(data, DecodeLimits(s.max_decoded_seconds, s.max_decoded_mb * 2**20), span)
        except FetchFailed as error:
            if error.transient:
                raise
            return Dropped("quarantined", error.reason, error.message)
        except Unreadable as error:
            return Dropped("quarantined", error.reason, error.message)
        result = clean(decoded, s, self.sample_rate, channel)
        if isinstance(result, Dropped):
            return result
        return Side(result.wave_T, result.facts, self._scores(decoded, result.facts, channel, text))

    def _scores(self, decoded: Decoded, facts: AudioFacts, channel: int | None, text: str | None) -> dict[str, float]:
        if not self.scorer.names:
            return {}
        stored_T = as_stored(decoded, self.settings, channel)
        return self.scorer(Sound(stored_T, decoded.sample_rate, text, facts.seconds_out * (1 - facts.silence)))


def _copied(utterance_id: str, custom: Mapping[str, Any]) -> Outcome | None:
    """The end of what was found to be a copy before it was heard."""
    for mark, reason, what in COPIES:
        if mark in custom:
            return Outcome(utterance_id, "filtered", reason, what.format(custom[mark]))
    return None
