"""The rows of the table: what was measured of each system, of recordings, and of the codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.evaluation.comparing import compared
from pipelines.evaluation.listening import Heard, Sound, word_errors
from pipelines.evaluation.sentences import Sentence


@dataclass(frozen=True, eq=False)
class Row:
    """One row while it is made. ``heard`` by ear: what was heard of each sound.

    figures   everything that is not heard: codes, speed, certainty
    """

    name: str
    kind: str
    sentences: Sequence[Sentence]
    sounds: Sequence[Sound]
    figures: Mapping[str, Any]
    heard: dict[str, list[Heard]] = field(default_factory=dict)

    def take(self, ear: str, heard: Mapping[str, Heard], count: int) -> None:
        """Look up what ``ear`` heard of the first ``count`` sounds."""
        self.heard[ear] = [heard[sound.name] for sound in self.sounds[:count]]

    def compared(self, ear: str, place: int) -> tuple[str, str]:
        """(said, heard) of a sentence, both as words are counted."""
        sentence, heard = self.sentences[place], self.heard[ear][place]
        return compared(ear, sentence.text, sentence.language), compared(ear, heard.words, sentence.language)

    def to_json(self) -> dict[str, Any]:
        """All figures, and what was heard sentence by sentence."""
        pairs = {ear: [self.compared(ear, i) for i in range(len(h))] for ear, h in self.heard.items()}
        ears = {ear: word_errors([said for said, _ in of], [heard for _, heard in of]) for ear, of in pairs.items()}
        return {
            "name": self.name, "kind": self.kind, "sentences": len(self.sentences), **self.figures, "wer": ears,
            "silence_share": self._silence(), "heard": self._each(),
        }  # fmt: skip

    def _silence(self) -> float | None:
        longest = max(self.heard.values(), key=len, default=[])
        return float(np.mean([h.silence for h in longest])) if longest else None

    def _each(self) -> list[dict[str, Any]]:
        """What was said and heard, sentence by sentence."""
        return [
            {"said": s.text, **{ear: h[i].words for ear, h in self.heard.items() if i < len(h)}}
            for i, s in enumerate(self.sentences)
        ]
