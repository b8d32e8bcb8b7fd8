"""What talkers are judged on: sentences that training never saw, distinct, in an order of their own.

The test split of the dataset comes first. The demo's grammar has more: its script goes on behind the dialogues that were
spoken, and a sentence of its test split is in nobody's training. Those have no recording. Never dev: it steered the training.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.dataset import Dataset
from manifests.fingerprint import draw
from pipelines.voice.errors import SpeakError
from pipelines.voice.words import States, Words

AHEAD = 100_000  # dialogues of the script that are looked through at most


@dataclass(frozen=True, eq=False)
class Sentence:
    """A text; where the dataset has a recording of it, that sample's key, codes, and the hash of its sound.

    language   as the corpus says it; None where it does not
    states_SW  its text states, where they are asked for
    """

    text: str
    key: str | None = None
    codes_FQ: npt.NDArray[np.uint16] | None = None
    sound: str = ""
    language: str | None = None
    states_SW: States | None = None

    def words(self, text_width: int | None) -> Words:
        """What a talker is told that reads states of this width, or (None) text."""
        if text_width is None:
            return self.text
        assert self.states_SW is not None, "sentences were chosen that have them"
        return self.states_SW


def is_demo(description: Mapping[str, Any]) -> bool:
    """Whether the texts are sentences of the demo's grammar."""
    return description["recipe"]["corpus"]["layout"] == "demo"


def held_out(dataset: Dataset, count: int, given: bool = False) -> list[Sentence]:
    """``count`` distinct sentences of the test split; where text states are ``given``, of those that have them.

    Raises :class:`SpeakError` where there are not so many, ``DatasetError`` for states of a dataset that has none.
    """
    found = {s.text: s for s in _recorded(dataset, given)}
    if not given and is_demo(dataset.description):
        more = (s for s in _scripted(dataset.description) if s.text not in found)
        found |= {s.text: s for s in itertools.islice(more, max(count - len(found), 0))}
    if len(found) < count:
        raise SpeakError(
            f"{dataset.store.root}: {len(found)} distinct held-out sentences{' with text states' if given else ''} in the test split, {count} are asked for: "
            + (
                f"give --sentences {len(found)}"
                if found
                else "the dataset needs a test split (split.test in its recipe)"
            )
        )
    return list(found.values())[:count]


def _recorded(dataset: Dataset, given: bool) -> list[Sentence]:
    """Distinct texts of the test split, in the order of a draw by text."""
    found: dict[str, Sentence] = {}
    for i, sample in enumerate(dataset):
        text = str(sample.meta.get("text") or "")
        if sample.meta["split"] == "test" and text.strip() and text not in found:
            states_SW = dataset.states[i].arrays.get("states") if given else None
            if given and states_SW is None:
                continue
            sound = str((sample.meta.get("audio") or {}).get("pcm_hash", ""))
            codes_FQ, language = sample.arrays["speech"].copy(), sample.meta.get("language")
            found[text] = Sentence(
                text, sample.key, codes_FQ, sound, language, None if states_SW is None else states_SW.astype(np.float32)
            )
    return sorted(found.values(), key=lambda s: draw("evaluation", s.text))


def _scripted(description: Mapping[str, Any]) -> Iterator[Sentence]:
    """Test sentences of the demo's script, from behind what was spoken of it on; distinct."""
    from manifests.demo.grammar import dialogue, split_of

    corpus = description["recipe"]["corpus"]
    seen: set[str] = set()
    for index in range(corpus["dialogues"], corpus["dialogues"] + AHEAD):
        said = dialogue(corpus["seed"], index)
        if said.split == "test" and split_of(said.response) == "test" and said.response not in seen:
            seen.add(said.response)
            yield Sentence(said.response)
