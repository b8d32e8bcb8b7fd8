"""Which scores there are: the names of ``ScoresSettings`` to functions, each imported only when it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from manifests.settings.scores import ScoresSettings
from tokenization.scores.base import Score, Sound


def _snr(_: Any) -> Score:
    from tokenization.scores.snr import snr_db

    return snr_db


def _bandwidth(_: Any) -> Score:
    from tokenization.scores.bandwidth import bandwidth_hz

    return bandwidth_hz


def _rate(_: Any) -> Score:
    from tokenization.scores.rate import characters_per_second

    return characters_per_second


def _dnsmos(settings: Any) -> Score:
    from tokenization.scores.dnsmos import opened

    return opened(settings)


OPENERS: Mapping[str, Callable[[Any], Score]] = {
    "snr_db": _snr,
    "bandwidth_hz": _bandwidth,
    "characters_per_second": _rate,
    "dnsmos": _dnsmos,
}

REVISED: Mapping[str, int] = {"snr_db": 2}  # 2: digital silence is no noise in a sound with a DC offset, either
"""The scores that gave other numbers before: each by how often it was changed, and one. They enter the names of folders."""


def revised(names: Iterable[str]) -> list[tuple[str, int]]:
    """Those of ``names`` that are in :data:`REVISED`, with their versions."""
    return [(name, REVISED[name]) for name in names if name in REVISED]


def pinned(settings: ScoresSettings) -> ScoresSettings:
    """``settings`` that say exactly which models. Raises ``ScoreError`` where one is not here, or cannot be used."""
    if settings.dnsmos is None:
        return settings
    from tokenization.scores import dnsmos

    dnsmos.opened(settings.dnsmos)
    return settings.model_copy(update={"dnsmos": dnsmos.pinned(settings.dnsmos)})


@dataclass(frozen=True)
class Scorer:
    """Computes the scores in ``names``; their models are loaded with the first sound, in the process that hears it."""

    settings: ScoresSettings = field(default_factory=ScoresSettings)
    names: tuple[str, ...] = ()

    @cached_property
    def _scores(self) -> list[Score]:
        return [OPENERS[name](getattr(self.settings, name)) for name in self.names]

    def load(self) -> None:
        """Load the models now. Raises ``ScoreError`` where one is not here, or cannot be used."""
        assert len(self._scores) == len(self.names)

    def __call__(self, sound: Sound) -> dict[str, float]:
        """Values by column, in the order of ``names``: finite, rounded; one that a sound does not let be told is left out."""
        found = {column: value for score in self._scores for column, value in score(sound).items()}
        return {column: value for column, value in found.items() if value is not None and math.isfinite(value)}

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings, "names": self.names}  # models stay where they were loaded
