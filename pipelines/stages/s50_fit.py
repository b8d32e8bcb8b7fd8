"""Fit: what is learned from the corpus before tokens can be made of it: the speech codebook, the text tokenizer.

One unit, done by one worker through the same engine as everything else, so that a poisonous file costs only itself here too. The sample is the
head of the plan, which is a global shuffle: a seeded random sample. Only the training split is looked at, or all of the corpus, where that has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from manifests.ledger import Outcome
from manifests.recipe import Recipe
from manifests.settings.speech import PatchesSettings
from manifests.splits import split_of
from manifests.storage import Store
from manifests.utterance import from_cut
from pipelines.engine.contract import Beat, Made, Task, Unit
from pipelines.stages.hearing import Ear, Heard
from pipelines.stages.judging import Judge
from pipelines.stages.s45_verify_text import said_cuts

# 2: the text tokenizer of a corpus without a training split is fitted on all of its texts
# 3: joined files and MP3s without a length are heard to their ends, and parts end where the next begin
VERSION = 3
CODEBOOK, TEXT = "speech.safetensors", "text.json"
SPARE = 1.5  # seconds planned for each second wanted: some of them are filtered


@dataclass(frozen=True)
class FitJob:
    """Fit what ``recipe`` needs on the head of the plan in ``plan``."""

    folder: str
    plan: str
    root: str
    recipe: Recipe
    plan_units: tuple[Unit, ...]
    transcripts: str | None = None
    stage: str = "fit"

    def cuts(self, unit: int) -> Iterator[dict]:
        """The cuts of a unit, with the texts that tokens are made of."""
        heard = Store(self.transcripts) if self.transcripts else None
        return said_cuts(Store(self.plan), heard, self.recipe, unit)

    @property
    def units(self) -> tuple[Unit, ...]:
        head = self.head
        return (Unit(0, sum(u.count for u in head), sum(u.seconds for u in head)),)

    @property
    def head(self) -> list[Unit]:
        """The units whose utterances are looked at: enough for the speech sample; the first at least."""
        speech = self.recipe.speech
        wanted = speech.fit_seconds * SPARE if isinstance(speech, PatchesSettings) else 0.0
        head: list[Unit] = []
        for unit in self.plan_units:
            if head and sum(u.seconds for u in head) >= wanted:
                break
            head.append(unit)
        return head

    def open(self) -> FitWorker:
        recipe, judge = self.recipe, Judge.of(self.recipe)
        return FitWorker(self, Ear.of(recipe, self.root, recipe.speech.sample_rate, judge.scores, judge))


@dataclass
class FitWorker:
    job: FitJob
    ear: Ear

    def process(self, task: Task, beat: Beat) -> Made:
        """Fit codebook and text tokenizer. A probe only listens."""
        outcomes: list[Outcome] = []
        waves = self._waves(task, outcomes, beat, held_out=False)
        files: dict[str, bytes] = {}
        recipe = self.job.recipe
        if task.only is not None:
            for _ in waves:
                pass
            return Made({}, tuple(outcomes))
        if isinstance(recipe.speech, PatchesSettings):
            from tokenization.patches.files import save
            from tokenization.patches.fitting import fit

            first = next(waves, None)
            if first is None:  # a corpus so small that its training split is empty: better its own codebook than none
                outcomes.clear()
                waves = self._waves(task, outcomes, beat, held_out=True)
                first = next(waves, None)
            if first is None and len(self.job.head) == len(self.job.plan_units):
                first = np.zeros(
                    recipe.speech.sample_rate, np.float32
                )  # nothing here can be encoded, but all of it must be booked
            heard = waves if first is None else chain([first], waves)
            files[CODEBOOK] = save(
                fit(heard, recipe.speech, lambda *_: beat(0))
            )  # fitting may take longer than listening
        if recipe.text.kind == "bpe":
            from tokenization.text import fit_text

            texts = self._texts(beat)
            text = next(texts, None)
            if text is None:  # likewise
                texts = self._texts(beat, held_out=True)
            files[TEXT] = fit_text(texts if text is None else chain([text], texts), recipe.text)
        else:
            from tokenization.text import load_text

            files[TEXT] = load_text(recipe.text)
        return Made(files, tuple(outcomes))

    def _cuts(self) -> Iterator[dict]:
        for unit in self.job.head:
            yield from self.job.cuts(unit.index)

    def _waves(self, task: Task, outcomes: list[Outcome], beat: Beat, held_out: bool) -> Iterator:
        first, end = task.only or (0, task.unit.count)
        for position, cut in enumerate(self._cuts()):
            if not first <= position < end:
                continue
            if position in task.skip:
                outcomes.append(Outcome(cut["id"], "quarantined", *task.skip[position]))
            elif held_out or split_of(from_cut(cut), self.job.recipe.split) == "train":
                heard = self.ear.hear(cut)
                outcomes.append(heard if isinstance(heard, Outcome) else Outcome(cut["id"], "written"))
                if isinstance(heard, Heard):
                    yield from (side.wave_T for side in heard.sides)
            beat(1)

    def _texts(self, beat: Beat, held_out: bool = False) -> Iterator[str]:
        """Texts of the training split (with ``held_out``, of all), from the whole plan."""
        for unit in self.job.plan_units:
            beat(0)
            for cut in self.job.cuts(unit.index):
                utterance = from_cut(cut)
                skipped = utterance.fault or utterance.ended or "filtered" in cut["custom"]
                if skipped or not (held_out or split_of(utterance, self.job.recipe.split) == "train"):
                    continue
                query = utterance.query.text if utterance.query else None
                yield from (text for text in (utterance.text, query) if text)
