"""The demo's dialogues: a query and the response that fits it, drawn from the grammar by counter.

A sentence belongs to ``train``, ``dev`` or ``test`` by a hash of its own words, whatever the seed. A dialogue is of a
split only when its query *and* its response are, so a held-out sentence never occurs in train on either side.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from manifests.demo.domain import INTENTS, RULES
from manifests.demo.draws import Draws, digest
from manifests.demo.formalism import Intent, draw, expansions, to_jsgf, vocabulary, words_only

Split = Literal["train", "dev", "test"]
Side = Literal["query", "response"]
SPLITS: tuple[Split, ...] = get_args(Split)
SIDES: tuple[Side, ...] = get_args(Side)
DEV_SHARE, TEST_SHARE = 0.05, 0.11


@dataclass(frozen=True)
class Dialogue:
    """One query and its response: words and single spaces, lower case.

    ``query_marked`` and ``response_marked`` are the same words with a comma where a speaker pauses.
    """

    id: str
    index: int
    intent: str
    query_marked: str
    response_marked: str
    split: Split

    @property
    def query(self) -> str:
        """The query's words."""
        return words_only(self.query_marked)

    @property
    def response(self) -> str:
        """The response's words."""
        return words_only(self.response_marked)


def split_of(sentence: str) -> Split:
    """The split a sentence belongs to: a hash of its words, so about 5 % dev and 11 % test."""
    return _share(digest("split", words_only(sentence)) / 2**64)


def dialogue(seed: int, index: int) -> Dialogue:
    """Dialogue *index* of *seed*: a pure function of the two.

    Its split is drawn first; then sentences are drawn until both sides belong to it.
    """
    draws = Draws(seed, ("dialogue", index))
    split = _share(draws.at("split").uniform())
    attempts = (_exchange(draws.at("attempt", attempt), split) for attempt in itertools.count())
    intent, query, response = next(filter(None, attempts))
    return Dialogue(f"dialogue-{index:06d}", index, intent, query, response, split)


def dialogues(seed: int, count: int) -> Iterator[Dialogue]:
    """Dialogues 0 to *count* - 1 of *seed*; a longer run begins with a shorter one."""
    return (dialogue(seed, index) for index in range(count))


def sentences(side: Side) -> Iterator[str]:
    """Every distinct sentence of one side, without pause marks, in the grammar's order."""
    seen: set[str] = set()
    for intent in INTENTS:
        for pattern in patterns_of(intent, side):
            for text in map(words_only, expansions(pattern, RULES)):
                if text not in seen:
                    seen.add(text)
                    yield text


def words() -> frozenset[str]:
    """Every word of the grammar."""
    patterns = (text for intent in INTENTS for side in SIDES for text in patterns_of(intent, side))
    alternatives = (text for rule in RULES.values() for text in rule)
    return vocabulary(patterns) | vocabulary(alternatives)


@cache
def jsgf(side: Side | None = None) -> str:
    """The grammar as JSGF: public rules ``query`` and ``response``, or only the *side* asked for."""
    sides = SIDES if side is None else (side,)
    lists = {name: tuple(text for intent in INTENTS for text in patterns_of(intent, name)) for name in sides}
    return to_jsgf(lists, RULES)


def patterns_of(intent: Intent, side: Side) -> tuple[str, ...]:
    """The patterns of one side of *intent*."""
    return intent.queries if side == "query" else intent.responses


def is_plain(sentence: str) -> bool:
    """Whether *sentence* is lower-case words with single spaces, no digits, no other marks."""
    return re.fullmatch(r"[a-z']+( [a-z']+)*", sentence) is not None


def _exchange(draws: Draws, split: Split) -> tuple[str, str, str] | None:
    """An intent's name, a query and a response that share their references' values; None where not both are of *split*.

    The response is drawn only for a query of the split, which spares most of the work.
    """
    intent = draws.at("intent").choice(INTENTS)
    query = draw(draws.at("query").choice(intent.queries), RULES, draws.at("values"))
    if split_of(query) != split:
        return None
    response = draw(draws.at("response").choice(intent.responses), RULES, draws.at("values"))
    return (intent.name, query, response) if split_of(response) == split else None


def _share(unit: float) -> Split:
    if unit < DEV_SHARE:
        return "dev"
    return "test" if unit < DEV_SHARE + TEST_SHARE else "train"
