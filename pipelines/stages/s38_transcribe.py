"""Transcribe: a recogniser hears the corpus before anything is made of its texts; only where a recipe asks for one.

One unit of the plan to one side shard, in plan order, with ``KEY.json`` alone: what was heard of the utterance and of its query, and in how many seconds of sound.
What nobody needs to hear has an entry without either. What ends here (a file that does not decode, sound that does not pass the rules of cleaning) has none, and
ends the same way in the token stage; the ledger is that stage's.

The recogniser is given the cleaned sound at 16 kHz, in batches that the plan fixes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from manifests.fingerprint import canonical
from manifests.keys import key_of
from manifests.ledger import Outcome
from manifests.receipt import shard_stem
from manifests.recipe import Recipe
from manifests.settings.transcribe import STAGE, TranscribeSettings
from manifests.shards.writer import pack
from manifests.storage import Store
from manifests.utterance import Utterance, from_cut
from pipelines.engine.contract import Beat, Made, Task, Unit
from pipelines.stages.hearing import Ear, Heard, Side, ended
from pipelines.stages.listeners import Listeners, ear_for
from pipelines.stages.s20_ingest import fetcher
from pipelines.stages.s30_plan import batches, unit_cuts
from tokenization.adapter import TokenizerError
from tokenization.recognisers.base import RATE, Recogniser, RecogniserError, Transcript
from tokenization.recognisers.registry import open_recogniser

VERSION = 2  # 2: joined files and MP3s without a length are heard to their ends, and parts end where the next begin
SIDES = ("response", "query")


@dataclass(frozen=True)
class TranscribeJob:
    """Hear the corpus at ``root`` by the plan in ``plan``."""

    folder: str
    plan: str
    root: str
    recipe: Recipe
    units: tuple[Unit, ...]
    stage: str = STAGE

    @property
    def settings(self) -> TranscribeSettings:
        assert self.recipe.transcribe is not None, "there is no such stage without its block"
        return self.recipe.transcribe

    def open(self) -> TranscribeWorker:
        ear = Ear(fetcher(self.recipe.corpus, self.root), self.recipe.clean, RATE)
        return TranscribeWorker(self, ear_for(ear, self.recipe.run), open_recogniser(self.settings.recogniser))


def wanted(u: Utterance, use: str) -> tuple[str, ...]:
    """Which sides of an utterance are to be heard: those with sound that have no text (missing), have one (compare), or either (both)."""
    query = u.query
    sound = {"response": u.audio, "query": query.audio if query else None}
    text = {"response": u.text, "query": query.text if query else None}
    asked = {"missing": (False,), "compare": (True,), "both": (False, True)}[use]
    return tuple(side for side in SIDES if sound[side] is not None and _has_words(text[side]) in asked)


def _has_words(text: str | None) -> bool:
    return bool(text and text.strip())


@dataclass
class Tally:
    """Deterministic measurements of a unit: sides that were heard, seconds of them, characters of their texts."""

    sides: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    characters: int = 0

    def take(self, side: str, sound: Side, transcript: Transcript) -> None:
        self.sides[side] += 1
        self.seconds += sound.facts.seconds_out
        self.characters += len(transcript.text)

    def to_json(self) -> dict[str, Any]:
        return {
            **{side: self.sides[side] for side in SIDES},
            "seconds": round(self.seconds, 6),
            "characters": self.characters,
        }


@dataclass
class TranscribeWorker:
    job: TranscribeJob
    ear: Ear | Listeners
    recogniser: Recogniser

    def process(self, task: Task, beat: Beat) -> Made:
        """The side shard of a unit."""
        cuts = list(unit_cuts(Store(self.job.plan), task.unit.index))
        first, end = task.only or (0, len(cuts))
        outcomes: dict[int, Outcome] = {}
        values: dict[int, dict[str, Any]] = {}
        tally, listened = Tally(), list[int]()
        for i in range(first, end):
            outcome = self._unheard(cuts[i], task.skip.get(i))
            if outcome is None:
                listened.append(i)
                continue
            outcomes[i] = outcome
            if outcome.status == "written":
                values[i] = {"id": outcome.id}
            beat(1)
        for batch in self._batches(cuts, listened):
            self._batch(cuts, batch, outcomes, values, tally, beat)
        packed, stem = (
            pack((key_of(v["id"]), {"json": canonical(v)}) for _, v in sorted(values.items())),
            shard_stem(task.unit.index),
        )
        facts = {"recogniser": self.recogniser.spec.to_json(), **tally.to_json()}
        ends = tuple(outcomes[i] for i in sorted(outcomes))
        return Made({f"{stem}.tar": packed.tar, f"{stem}.idx": packed.index}, ends, facts)

    def _unheard(self, cut: dict[str, Any], poison: tuple[str, str] | None) -> Outcome | None:
        """The end of an utterance that needs no listening; None where it does."""
        if poison is not None:
            return Outcome(cut["id"], "quarantined", *poison)
        u = from_cut(cut)
        if (outcome := ended(cut, u)) is not None:
            return outcome
        return None if wanted(u, self.job.settings.use) else Outcome(u.id, "written")

    def _batches(self, cuts: list[dict[str, Any]], listened: list[int]) -> list[list[int]]:
        """Positions that are heard together: fixed by the plan's seconds, of which each utterance has at least the recogniser's window."""
        seconds = [max(cut["duration"], self.recogniser.spec.window) for cut in cuts]
        chosen = set(listened)
        return [
            part
            for batch in batches(seconds, self.job.settings.batch_seconds)
            if (part := [i for i in batch if i in chosen])
        ]

    def _batch(
        self, cuts: list[dict[str, Any]], batch: list[int], outcomes: dict[int, Outcome],
        values: dict[int, dict[str, Any]], tally: Tally, beat: Beat,
    ) -> None:  # fmt: skip
        heard: dict[int, Heard] = {}
        for i, result in zip(batch, self.ear.hear_all((cuts[i] for i in batch), beat), strict=True):
            if isinstance(result, Outcome):
                outcomes[i] = result
            else:
                heard[i] = result
            beat(0)
        sides = [(i, name, side) for i, h in heard.items() for name, side in self._sides(h)]
        texts = self._recognised([side for _, _, side in sides])
        values |= {i: {"id": h.utterance.id} for i, h in heard.items()}
        for (i, name, side), text in zip(sides, texts, strict=True):
            if isinstance(text, str):
                values.pop(i, None)
                outcomes[i] = Outcome(heard[i].utterance.id, "quarantined", "recognise_failed", text)
            elif i in values:
                values[i][name] = {**text.to_json(), "seconds": side.facts.seconds_out}
                tally.take(name, side, text)
        outcomes |= {i: Outcome(h.utterance.id, "written") for i, h in heard.items() if i not in outcomes}
        beat(len(batch))

    def _sides(self, heard: Heard) -> list[tuple[str, Side]]:
        """The sides of an utterance that are to be heard, with their names."""
        sounds = {"response": heard.response, "query": heard.query}
        return [
            (name, side)
            for name in wanted(heard.utterance, self.job.settings.use)
            if (side := sounds[name]) is not None
        ]

    def _recognised(self, sides: Sequence[Side]) -> list[Transcript | str]:
        """What is heard of each side; a sentence where it cannot be heard."""
        try:
            return list(self.recogniser.recognise([side.wave_T for side in sides])) if sides else []
        except (RecogniserError, TokenizerError, RuntimeError) as error:
            if len(sides) == 1:
                return [" ".join(str(error).split())]
        return [text for side in sides for text in self._recognised([side])]
