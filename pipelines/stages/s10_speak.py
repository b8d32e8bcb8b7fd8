"""Speak: the demo corpus is made, by the same engine as everything else. First voices are screened, then dialogues spoken.

A unit of `screen` is one candidate voice; a unit of `speak` is a run of dialogues, and makes one shard of wavs.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson

from manifests.corpora.demo import QUERY, RESPONSE, Demo
from manifests.demo.script import Cast, ScriptLine, script_line
from manifests.fingerprint import canonical, pretty
from manifests.keys import key_of
from manifests.ledger import Outcome
from manifests.receipt import read_receipt, shard_stem
from manifests.shards.writer import pack
from manifests.storage import Store
from pipelines.engine.contract import Beat, Job, Made, Task, Unit
from pipelines.engine.run import Engine
from pipelines.workspace import Workspace
from tokenization.recognisers.base import Recogniser
from tokenization.voices import choose_engine
from tokenization.voices.base import Engine as VoiceEngine
from tokenization.voices.base import Speaker
from tokenization.voices.cast import cast_of
from tokenization.voices.perform import Performance, perform
from tokenization.voices.screen import prompts, recognisers, screen

VERSION = 1
DIALOGUES_PER_UNIT = 100
SECONDS_PER_DIALOGUE = 6.0  # for the progress table only
VOICES = "voices.json"


@dataclass(frozen=True)
class ScreenJob:
    """Have every candidate voice say the same sentences to the recogniser."""

    folder: str
    demo: Demo
    engine: str
    stage: str = "screen"

    @property
    def units(self) -> tuple[Unit, ...]:
        count = self.demo.screening_sentences
        return tuple(Unit(k, 1, 3.0 * count) for k in range(len(choose_engine(self.engine).candidates)))  # type: ignore[arg-type]

    def open(self) -> ScreenWorker:
        return ScreenWorker(self, choose_engine(self.engine), recognisers())  # type: ignore[arg-type]


@dataclass
class ScreenWorker:
    job: ScreenJob
    engine: VoiceEngine
    recognisers: dict[Any, Recogniser]

    def process(self, task: Task, beat: Beat) -> Made:
        demo, voice = self.job.demo, self.engine.candidates[task.unit.index]
        [found] = screen(self.engine, [voice], prompts(demo.screening_sentences), self.recognisers, demo.max_wer)
        beat(1)
        value = {"voice": voice.name, "wer": round(found.wer, 6), "empty": found.empty, "sentences": found.sentences,
                 "kept": found.kept, "why": found.why}  # fmt: skip
        return Made({_voice_file(task.unit.index): pretty(value)}, (Outcome(voice.name, "written"),))


def _voice_file(unit: int) -> str:
    return f"voice-{unit:03d}.json"


@dataclass(frozen=True)
class SpeakJob:
    """Speak the script with the cast that the screening left."""

    folder: str
    demo: Demo
    cast: Cast
    stage: str = "speak"

    @property
    def units(self) -> tuple[Unit, ...]:
        counts = [min(DIALOGUES_PER_UNIT, self.demo.dialogues - first) for first in self._firsts]
        return tuple(Unit(k, count, count * SECONDS_PER_DIALOGUE) for k, count in enumerate(counts))

    @property
    def _firsts(self) -> range:
        return range(0, self.demo.dialogues, DIALOGUES_PER_UNIT)

    def open(self) -> SpeakWorker:
        return SpeakWorker(self, choose_engine(self.cast.engine).speaker())  # type: ignore[arg-type]


@dataclass
class SpeakWorker:
    job: SpeakJob
    speaker: Speaker

    def process(self, task: Task, beat: Beat) -> Made:
        first = task.unit.index * DIALOGUES_PER_UNIT
        samples, outcomes = [], []
        for position in range(*(task.only or (0, task.unit.count))):
            line = script_line(self.job.demo.seed, first + position, self.job.cast)
            spoken = perform(self.speaker, line)
            samples.append((key_of(line.dialogue.id), _members(line, spoken)))
            outcomes.append(Outcome(line.dialogue.id, "written"))
            beat(1)
        packed, stem = pack(samples), shard_stem(task.unit.index)
        return Made({f"{stem}.tar": packed.tar, f"{stem}.idx": packed.index}, tuple(outcomes))


def wav_bytes(wave_T: np.ndarray, sample_rate: int) -> bytes:
    """``wave_T`` as a 16-bit wav file."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, wave_T, sample_rate, format="WAV", subtype="PCM_16")
    return out.getvalue()


def _members(line: ScriptLine, spoken: Performance) -> dict[str, bytes]:
    said = line.dialogue
    meta = {
        "id": said.id, "split": said.split, "intent": said.intent,
        "query": {"text": said.query, **spoken.metadata["query"]},
        "response": {"text": said.response, **spoken.metadata["response"]},
    }  # fmt: skip
    rate = spoken.sample_rate
    return {
        "json": canonical(meta),
        RESPONSE: wav_bytes(spoken.response_wave_T, rate),
        QUERY: wav_bytes(spoken.query_wave_T, rate),
    }


def _reads(demo: Demo, voices: VoiceEngine) -> list[Any]:
    settings = demo.model_dump(mode="json", exclude={"root", "limit", "name"})
    return [voices.name, voices.versions(), [asdict(v) for v in voices.candidates], settings]


def screen_job_of(space: Workspace) -> ScreenJob:
    """The screening of a recipe's voices. Raises ``VoiceError`` without an engine."""
    demo = space.recipe.corpus
    assert isinstance(demo, Demo)
    voices = choose_engine(demo.engine)
    folder = space.folder("screen", VERSION, *_reads(demo, voices))
    return ScreenJob(space.store.sub(folder).root, demo, voices.name)


def speak(space: Workspace, engine: Engine) -> tuple[str, int]:
    """Screen, cast and speak; returns (folder of the spoken corpus, units done now). Raises ``VoiceError`` without an engine or a voice."""
    demo = space.recipe.corpus
    assert isinstance(demo, Demo)
    voices = choose_engine(demo.engine)
    reads = _reads(demo, voices)
    screen_job = screen_job_of(space)
    done = engine.run(screen_job)
    table = screening(screen_job)
    kept = {row["voice"] for row in table if row["kept"]}
    cast = cast_of(voices, [v for v in voices.candidates if v.name in kept], demo.variation)
    folder = space.store.sub(space.folder("spoken", VERSION, *reads, asdict(cast))).root
    if not Store(folder).exists(VOICES):
        Store(folder).publish(
            VOICES,
            pretty(
                {"engine": voices.name, "versions": voices.versions(), "screened": table, "assistant": cast.assistant}
            ),
        )
    return folder, done + engine.run(SpeakJob(folder, demo, cast))


def screening(job: Job) -> list[dict[str, Any]]:
    """What the screening found, voice by voice."""
    store = Store(job.folder)
    assert all(read_receipt(store, unit.index) for unit in job.units)
    return [orjson.loads(store.read(_voice_file(unit.index))) for unit in job.units]
