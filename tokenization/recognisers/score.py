"""Word errors between what was said and what was heard, with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class WordErrors:
    """Counts over a set of utterances, and per utterance what the interval needs."""

    words: int
    errors: int
    substitutions: int
    deletions: int
    insertions: int
    empty: int
    each: tuple[tuple[int, int], ...]

    @property
    def rate(self) -> float:
        """Errors over words; 0 where nothing was said and nothing heard, infinite where only something was heard."""
        if self.words:
            return self.errors / self.words
        return 0.0 if not self.errors else float("inf")

    def interval(self, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """A percentile bootstrap interval of the rate over utterances; the same for the same *seed*."""
        if not 0 < level < 1:
            raise ValueError(f"interval: level must lie between 0 and 1, not {level}")
        if not self.words:
            return self.rate, self.rate
        words_N, errors_N = np.array(self.each).T
        picks_RN = np.random.default_rng(seed).integers(0, len(words_N), (RESAMPLES, len(words_N)))
        rates_R = errors_N[picks_RN].sum(axis=1) / np.maximum(words_N[picks_RN].sum(axis=1), 1)
        low, high = np.quantile(rates_R, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """The word errors of *hypotheses* against *references*, pair by pair; ValueError where their counts differ.

    An empty hypothesis deletes its whole reference and is counted in ``empty``.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"wer: {len(references)} references but {len(hypotheses)} hypotheses; give one for each")
    pairs = [_one(said, heard) for said, heard in zip(references, hypotheses, strict=True)]
    totals = [sum(column) for column in zip(*pairs, strict=True)] or [0, 0, 0, 0]
    words, substitutions, deletions, insertions = totals
    return WordErrors(
        words=words,
        errors=substitutions + deletions + insertions,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        empty=sum(not heard.split() for heard in hypotheses),
        each=tuple((pair[0], sum(pair[1:])) for pair in pairs),
    )


def _one(said: str, heard: str) -> tuple[int, int, int, int]:
    """Words, substitutions, deletions and insertions of one pair."""
    import jiwer

    if not said.split():
        return 0, 0, 0, len(heard.split())
    if not heard.split():
        return len(said.split()), 0, len(said.split()), 0
    out = jiwer.process_words(said, heard)
    return len(said.split()), out.substitutions, out.deletions, out.insertions
