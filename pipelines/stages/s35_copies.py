"""Copies by ear, only where a recipe asks for it: recordings that are there twice in another form, which only decoding shows.

Each unit of the plan becomes a file of fingerprints, on the engine; then, in plan order, every sound is held against those that stayed
before it, and the plan is written once more with the copies marked. What comes after reads this plan in place of the first. Only
what cleaning and filters let pass takes part, so that nothing is left out for the sake of what is not written itself. Of a dialogue the
response alone is compared.

Legend: words_PF fingerprints of one sound; packed_T uint32: the number of sounds, frames of each, then their words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson

from manifests.fingerprint import sha256
from manifests.ledger import Outcome
from manifests.recipe import Recipe
from manifests.settings.copies import CopiesSettings
from manifests.shards import npy
from manifests.storage import Store
from pipelines.engine.commit import crash_point
from pipelines.engine.contract import Beat, Made, Task, Unit
from pipelines.near.sound import PHASES, NearSounds, fingerprints
from pipelines.stages.hearing import Ear, Heard
from pipelines.stages.judging import Judge
from pipelines.stages.s30_plan import RECEIPT, plan_file, read_plan, unit_cuts, unit_name

VERSION = 2  # 2: joined files and MP3s without a length are heard to their ends, and parts end where the next begin
STAGE = "copies"
MARK = "sounds_like"
NONE_PF = np.zeros((PHASES, 0), np.uint32)


@dataclass(frozen=True)
class CopiesJob:
    """Take the fingerprints of the plan in ``plan``."""

    folder: str
    plan: str
    root: str
    recipe: Recipe
    units: tuple[Unit, ...]
    stage: str = STAGE

    def open(self) -> CopiesWorker:
        recipe, judge = self.recipe, Judge.of(self.recipe)
        ear = Ear.of(recipe, self.root, recipe.speech.sample_rate, judge.scores, judge)
        return CopiesWorker(self, ear)


@dataclass
class CopiesWorker:
    job: CopiesJob
    ear: Ear

    def process(self, task: Task, beat: Beat) -> Made:
        """The fingerprints of a unit, in plan order; none for what does not pass, which the tokens' receipts will tell of."""
        outcomes, prints = list[Outcome](), list[np.ndarray]()
        first, end = task.only or (0, task.unit.count)
        for position, cut in enumerate(unit_cuts(Store(self.job.plan), task.unit.index)):
            if not first <= position < end:
                continue
            skipped = task.skip.get(position)
            heard = Outcome(cut["id"], "quarantined", *skipped) if skipped else self.ear.hear(cut)
            outcomes.append(heard if isinstance(heard, Outcome) else Outcome(cut["id"], "written"))
            prints.append(self._words(heard))
            beat(1)
        return Made({prints_name(task.unit.index): packed(prints)}, tuple(outcomes))

    def _words(self, heard: Heard | Outcome) -> np.ndarray:
        if isinstance(heard, Outcome) or heard.response is None:
            return NONE_PF
        return fingerprints(heard.response.wave_T, self.ear.sample_rate)


def prints_name(unit: int) -> str:
    return f"unit-{unit:06d}.npy"


def packed(prints: list[np.ndarray]) -> bytes:
    """A unit's fingerprints as one file."""
    head = np.array([len(prints), *(words_PF.shape[1] for words_PF in prints)], np.uint32)
    return npy.dump(np.concatenate([head, *(words_PF.reshape(-1) for words_PF in prints)]).astype(np.uint32))


def unpacked(data: bytes) -> Iterator[np.ndarray]:
    """The inverse of :func:`packed`. Raises ``NpyError`` (a ValueError) for other bytes."""
    packed_T = npy.load(data)
    if packed_T.dtype != np.uint32 or packed_T.ndim != 1 or not len(packed_T) or int(packed_T[0]) >= len(packed_T):
        raise npy.NpyError("no fingerprints")
    count = int(packed_T[0])
    ends = np.cumsum(packed_T[1 : count + 1].astype(np.int64) * PHASES) + count + 1
    if int(ends[-1] if count else 1) != len(packed_T):
        raise npy.NpyError("fingerprints are missing")
    for start, end in zip([count + 1, *ends[:-1].tolist()], ends.tolist(), strict=False):
        yield packed_T[start:end].reshape(PHASES, -1)


def marked(
    plan: Store, prints: Store, units: tuple[Unit, ...], settings: CopiesSettings
) -> Iterator[tuple[Unit, bytes]]:
    """Each unit and the contents of its file in the plan with copies marked: a pure function of plan and fingerprints."""
    near = NearSounds(settings)
    for unit in units:
        words = unpacked(prints.read(prints_name(unit.index)))
        lines = plan.read(unit_name(unit.index)).splitlines()
        yield unit, b"".join(_line(near, line, words_PF) + b"\n" for line, words_PF in zip(lines, words, strict=True))


def _line(near: NearSounds, line: bytes, words_PF: np.ndarray) -> bytes:
    if not words_PF.size:
        return line
    cut = orjson.loads(line)
    found = near.resembled(cut["id"], words_PF)
    if found is None:
        return line
    cut["custom"][MARK] = list(found)
    return orjson.dumps(cut)


def write_marked(plan: Store, prints: Store, units: tuple[Unit, ...], settings: CopiesSettings) -> bool:
    """Write the marked plan beside the fingerprints, unless it stands there; True when it was written."""
    if read_plan(prints) is not None:
        return False
    rows = []
    for unit, data in marked(plan, prints, units, settings):
        prints.publish(unit_name(unit.index), data)
        rows.append((unit, sha256(data)))
    crash_point("before-marked-plan")
    prints.publish(RECEIPT, plan_file(rows))
    return True
