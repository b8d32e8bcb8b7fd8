"""Near duplicates by text: what is said again with other case, punctuation or a word changed. The first in plan order stays.

Texts are compared as sets of five-character pieces, after case, punctuation and spaces are evened out: no language is presumed, and one wrong
letter in a sentence of fifty costs a tenth. What is likely alike is found by :mod:`pipelines.near.lsh` and then compared exactly.

Memory: under a kilobyte for each text that stays (its words, its id, and 14 entries of the table at 0.9): a gigabyte a million.

Legend: pieces_E distinct 64-bit hashes of pieces, sorted.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

import numpy as np
import orjson

from manifests.settings.plan import PlanSettings
from pipelines.near.lsh import GOLDEN, Index, jaccard, mixed

PIECE = 5  # characters
KEPT = "LMN"  # letters, marks, numbers; all else parts words


def evened(text: str) -> str:
    """``text`` without what only writing has: compatibility forms, case, punctuation, runs of spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(c if unicodedata.category(c)[0] in KEPT else " " for c in folded).split())


def pieces(even: str) -> np.ndarray:
    """``pieces_E`` of an evened text; a text that is shorter than a piece is one."""
    points_T = np.frombuffer(even.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if not len(points_T):
        return points_T
    size = min(PIECE, len(points_T))
    windows_WS = np.lib.stride_tricks.sliding_window_view(points_T, size)
    weights_S = mixed(np.arange(1, size + 1, dtype=np.uint64) * GOLDEN) | np.uint64(1)
    return np.unique(mixed((windows_WS * weights_S).sum(axis=1, dtype=np.uint64)))


@dataclass
class NearTexts:
    """The texts that stayed so far, each asked of once, in plan order."""

    threshold: float
    _ids: list[str] = field(default_factory=list)
    _texts: list[bytes] = field(default_factory=list)
    _index: Index = field(init=False)

    def __post_init__(self) -> None:
        self._index = Index.at(self.threshold)

    def resembled(self, utterance_id: str, text: str) -> tuple[str, float] | None:
        """(id, similarity) of the first text that stayed and is so much alike; with None this one stays."""
        even = evened(text)
        pieces_E = pieces(even)
        if not len(pieces_E):
            return None
        keys = self._index.minhash.keys(pieces_E)
        for item in self._index.candidates(keys):
            alike = jaccard(pieces_E, pieces(self._texts[item].decode("utf-8", "surrogatepass")))
            if alike >= self.threshold:
                return self._ids[item], round(alike, 4)
        self._index.add(keys, len(self._ids))
        self._ids.append(utterance_id)
        self._texts.append(even.encode("utf-8", "surrogatepass"))
        return None

    def marked(self, line: bytes) -> bytes:
        """A line of the plan, marked with whose text it nearly has. What is booked elsewhere already has no say."""
        cut = orjson.loads(line)
        custom, query = cut["custom"], cut["custom"].get("query") or {}
        if custom.keys() & {"fault", "filtered", "copy_of"}:
            return line
        said = (query.get("text"), cut["supervisions"][0].get("text"))
        found = self.resembled(cut["id"], "\n".join(text for text in said if text))
        if found is None:
            return line
        custom["near_text_of"] = list(found)
        return orjson.dumps(cut)


def marker(settings: PlanSettings) -> NearTexts | None:
    """What marks lines of the plan, in plan order; None where nobody asked for it."""
    return None if settings.near_text is None else NearTexts(settings.near_text)
