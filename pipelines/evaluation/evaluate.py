"""``speechmill eval``: talkers and ways of decoding, judged on the same held-out sentences.

All decoding is done before the first process listens, so that times are those of decoding alone.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from manifests.dataset import Dataset, DatasetError
from manifests.fingerprint import pretty
from manifests.settings.recognisers import RecogniserSettings
from manifests.settings.run import RunSettings
from manifests.storage import Store
from pipelines.cluster import Cluster
from pipelines.engine.mapping import Mapper
from pipelines.engine.stopping import Stopping
from pipelines.evaluation import measures, speaking
from pipelines.evaluation.certainty import predictive_entropy
from pipelines.evaluation.comparing import HEARD_IN
from pipelines.evaluation.ears import ChosenEar
from pipelines.evaluation.listening import Hearing, Sound, sound_of
from pipelines.evaluation.page import write_page
from pipelines.evaluation.plot import draw
from pipelines.evaluation.rows import Row
from pipelines.evaluation.sentences import Sentence, held_out, is_demo
from pipelines.evaluation.systems import System, Ways, systems
from pipelines.subject import Subject, Unreachable
from pipelines.voice.device import device_of
from pipelines.voice.errors import SpeakError
from pipelines.voice.manner import Manner
from pipelines.voice.parts import SPEECH_FILE
from pipelines.voice.voice import Voice
from pipelines.voice.words import Words
from tokenization.recognisers.normalise import language_code

FOLDER, FIGURES, HEARD, PLOT, PAGE = "eval", "eval.json", "heard.jsonl", "eval.png", "index.html"
FORMAT = "speechmill-eval/1"
LONGEST = 2.0  # a talker is cut at so many times the longest recording


@dataclass(frozen=True)
class Asked:
    """What is to be evaluated.

    others    baselines, by the decoder wanted of them: ("ar", run)
    steps     of block decoding; None: as usual. So are policies, and accept of multi-token decoding
    data      the dataset; empty: where the run was trained
    heard     sentences that are heard without a grammar; None: all
    timed     sentences that are said alone and timed
    workers   processes that listen; 0: this one; None: one a core
    ear       a recogniser that hears all sentences as well
    """

    run: str
    others: tuple[tuple[str, str], ...] = ()
    data: str = ""
    sentences: int = 300
    steps: tuple[int, ...] | None = None
    policies: tuple[str, ...] | None = None
    heard: int | None = None
    timed: int = 40
    batch: int = 32
    threads: int = 1
    workers: int | None = None
    seed: int = 0
    precision: str = "fp32"
    accept: tuple[str, ...] | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    device: str | None = None
    ear: RecogniserSettings | None = None

    @property
    def ways(self) -> Ways:
        like = Manner(temperature=self.temperature, seed=self.seed, top_p=self.top_p)
        return Ways(self.steps, self.policies, self.accept, like)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation, opened: nothing is left that could be refused.

    unreachable   why recordings cannot be heard, and are left out; None where the corpus is in reach
    chosen        who hears as well; None: nobody
    """

    asked: Asked
    voice: Voice
    dataset: Dataset
    sentences: list[Sentence]
    systems: list[System]
    console: Console
    unreachable: str | None = None
    chosen: ChosenEar | None = None

    @classmethod
    def open(cls, asked: Asked, console: Console) -> Evaluation:
        """Load everything. Raises ``SpeakError``, ``CheckpointError``, ``DatasetError``; ``RecogniserError`` and ``TokenizerError`` for an ear that is not here."""
        chosen = None if asked.ear is None else ChosenEar.of(asked.ear)
        device = device_of(asked.device)
        voice = Voice.load(asked.run, device, asked.precision)
        dataset = _dataset(asked, voice)
        others = [(kind, Voice.load(run, device, asked.precision)) for kind, run in asked.others]
        for kind, other in others:
            _require_same_tokens(other, voice, kind)
        given = any(one.text_width is not None for one in (voice, *(other for _, other in others)))
        sentences = _understood(held_out(dataset, asked.sentences, given), chosen)
        limit = _limit(sentences, voice)
        rows = [
            replace(system, manner=replace(system.manner, max_seconds=limit))
            for system in systems(voice, others, asked.ways)
        ]
        for system in rows:
            words = [sentences[0].words(system.voice.text_width)]
            system.voice.decoder(system.manner, words)  # refused now, not after the first rows
            system.voice.batch(words)
        opened = cls(asked, voice, dataset, sentences, rows, console, _unreachable(dataset), chosen)
        for note in opened.notes:
            console.print(f"eval: {note}", soft_wrap=True)
        return opened

    def words(self, voice: Voice) -> list[Words]:
        """The sentences as a talker is told them."""
        return [s.words(voice.text_width) for s in self.sentences]

    @property
    def recorded(self) -> list[Sentence]:
        """The sentences that the dataset has a recording of."""
        return [s for s in self.sentences if s.key is not None]

    @property
    def notes(self) -> list[str]:
        """What is not judged, or not to be believed, and why, one line each."""
        found = []
        if self.recorded and self.unreachable:
            found.append(f"the row of recordings is left out: {self.unreachable}")
        foreign = sum(language_code(s.language) not in (None, HEARD_IN) for s in self.sentences[: self.asked.heard])
        if foreign:
            found.append(
                f"the open ear knows English, and {foreign} of its sentences are not: its error rate says nothing of them; --ear names "
                "another, and --open 0 leaves it out"
            )
        return found

    def rows(self) -> list[Row]:
        """Recordings, the codec, then every system: said and timed, not heard yet."""
        torch.set_num_threads(self.asked.threads)
        return [*self.ceilings(), *(self._row(system) for system in self.systems)]

    def ceilings(self) -> list[Row]:
        """The most that can be understood: recordings, where they are in reach, and recordings through the codec."""
        recorded, data = self.recorded, self.dataset.store.root
        if not recorded:
            return []
        codes = [s.codes_FQ for s in recorded if s.codes_FQ is not None]
        originals = [Sound(f"{s.sound}:{s.key}", data=data, key=str(s.key)) for s in recorded]
        again = Row("codec", "codec", recorded, [self.sound(c) for c in codes], measures.of_codes(codes, codes))
        return [again] if self.unreachable else [Row("recordings", "recordings", recorded, originals, {}), again]

    def _row(self, system: System) -> Row:
        self.console.print(f"eval: {system.name}", soft_wrap=True)
        asked, rate = self.asked, self.voice.parts.speech.spec.frame_rate
        words = self.words(system.voice)
        alone = speaking.timings(system, words[: asked.timed])
        said = speaking.spoken(system, words, asked.batch)
        figures = {
            **measures.of_codes(said.codes, [s.codes_FQ for s in self.sentences]), "unfinished": said.cut,
            "predictive_entropy_bits": predictive_entropy(system, words[: asked.timed], said.codes[: asked.timed]),
            "speed": {
                **speaking.speed(alone, rate), "batch": asked.batch,
                "batched_tokens_per_second": said.frames / said.seconds if said.seconds else 0.0,
            },
            "run": str(system.voice.run), "step": system.voice.facts["step"], "parameters": system.voice.talker.parameters_count,
            "decoder": {name: getattr(system.manner, name) for name in ("steps", "policy", "accept", "temperature", "top_p")},
        }  # fmt: skip
        return Row(system.name, system.kind, self.sentences, [self.sound(c) for c in said.codes], figures)

    def sound(self, codes: Any) -> Sound:
        parts = self.voice.parts
        return sound_of(codes, parts.facts.speech, parts.speech.spec.checksum)

    def listen(self, rows: Sequence[Row]) -> None:
        """Let the recogniser hear every row, with the demo's grammar where the texts are of it, and openly; then the one that was chosen."""
        ears = {"grammar": self.asked.sentences} if is_demo(self.dataset.description) else {}
        if self.asked.heard != 0:
            ears["open"] = self.asked.sentences if self.asked.heard is None else self.asked.heard
        store, cluster = self._store(), Cluster(RunSettings(workers=self.asked.workers))
        weights = self.voice.parts.facts.files.get(SPEECH_FILE)
        codebook = Store(str(self.voice.run)).sub("voice").read(SPEECH_FILE) if weights else None
        workers = (os.cpu_count() or 1) if self.asked.workers is None else self.asked.workers
        with Stopping(0.0) as stopping:
            mapper = Mapper(lambda: workers, cluster.start, stopping)
            hearing = Hearing(Path(store.path(HEARD)), mapper, self.voice.parts.facts.speech, codebook)
            try:
                for ear, count in ears.items():
                    sounds = [sound for row in rows for sound in row.sounds[:count]]
                    heard = hearing.hear(ear, sounds, _every(self.console, ear))
                    for row in rows:
                        row.take(ear, heard, count)
                if self.chosen is not None:
                    self._let_hear(self.chosen, hearing, rows)
            finally:
                cluster.stop()

    def _let_hear(self, chosen: ChosenEar, hearing: Hearing, rows: Sequence[Row]) -> None:
        """All sounds, in this process where it computes on a GPU: others would load it there once more each."""
        if chosen.on_gpu:
            hearing = replace(hearing, mapper=replace(hearing.mapper, workers=lambda: 0))
        sounds = [sound for row in rows for sound in row.sounds]
        heard = hearing.hear(chosen.key, sounds, _every(self.console, chosen.name), chosen.settings)
        for row in rows:
            row.take(chosen.name, heard, len(row.sounds))

    def _store(self) -> Store:
        return Store(str(self.voice.run)).sub(FOLDER)

    def publish(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Write ``eval.json``, the plot and the page; returns the figures."""
        value = {"format": FORMAT, "about": self._about(), "rows": [row.to_json() for row in rows]}
        store = self._store()
        store.publish(FIGURES, pretty(value))
        picture = draw(value)
        store.publish(PLOT, picture)
        store.publish(PAGE, write_page(value, picture, rows, self.voice.parts.speech))
        return value

    def _about(self) -> dict[str, Any]:
        asked, device = self.asked, self.voice.talker.place.weight.device
        return {
            "run": asked.run, "dataset": self.dataset.description["name"], "sentences": len(self.sentences),
            "recorded": len(self.recorded), "block": self.voice.block, "timed": asked.timed, "threads": asked.threads, "seed": asked.seed,
            "temperature": asked.temperature, "top_p": asked.top_p,
            "notes": self.notes, "ear": None if self.chosen is None else self.chosen.to_json(),
            "frame_rate": self.voice.parts.speech.spec.frame_rate,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            "torch": torch.__version__, "dtype": str(self.voice.talker.place.weight.dtype).removeprefix("torch."),
        }  # fmt: skip


def _dataset(asked: Asked, voice: Voice) -> Dataset:
    """The dataset that has the held-out sentences. Raises ``DatasetError``, :class:`SpeakError` where it is another one."""
    root = asked.data or voice.parts.facts.data
    try:
        dataset = Dataset.open(root)
    except DatasetError as error:
        raise DatasetError(f"{error}; --data says where the dataset lies that {asked.run} was trained on") from None
    for kind in ("speech", "text"):
        if dataset.description[kind]["checksum"] != voice.facts["dataset"][kind]["checksum"]:
            raise SpeakError(
                f"{root}: has another {kind} tokenizer than {asked.run} was trained with: give its own dataset by --data"
            )
    return dataset


def _understood(sentences: list[Sentence], chosen: ChosenEar | None) -> list[Sentence]:
    """Sentences of which nobody says a language are in the one that the chosen ear was told. Raises :class:`SpeakError` for a language that it does not know."""
    if chosen is None:
        return sentences
    chosen.require_languages(s.language for s in sentences)
    return [replace(s, language=s.language or chosen.language) for s in sentences]


def _unreachable(dataset: Dataset) -> str | None:
    """Why the recordings that a dataset was made of cannot be heard; None where they can be."""
    try:
        Subject.open(dataset.store.root).corpus_root()
    except Unreachable as error:
        return str(error)
    return None


def _require_same_tokens(other: Voice, voice: Voice, kind: str) -> None:
    for part in ("speech", "text"):
        theirs, ours = (v.facts["dataset"][part] for v in (other, voice))
        if (theirs["checksum"], theirs["vocab_size"]) != (ours["checksum"], ours["vocab_size"]):
            raise SpeakError(
                f"--{kind} {other.run}: trained with another {part} tokenizer than {voice.run}: they cannot be compared"
            )


def _limit(sentences: Sequence[Sentence], voice: Voice) -> float:
    """Seconds at which a talker that does not end is cut."""
    frames = max((len(s.codes_FQ) for s in sentences if s.codes_FQ is not None), default=0)
    return max(LONGEST * frames / voice.parts.speech.spec.frame_rate, 10.0)


def _every(console: Console, ear: str) -> Any:
    """Tells now and then how far listening has come."""
    last = [0]

    def tell(done: int, of: int) -> None:
        if done == of or done - last[0] >= 200:
            last[0] = done
            console.print(f"eval: heard {done} of {of} sounds ({ear})", soft_wrap=True)

    return tell


def evaluate(asked: Asked, console: Console) -> dict[str, Any]:
    """Evaluate and write RUN/eval; returns what stands in ``eval.json``.

    Raises ``SpeakError``, ``CheckpointError``, ``DatasetError``, ``Interrupted``.
    """
    opened = Evaluation.open(asked, console)
    rows = opened.rows()
    opened.listen(rows)
    value = opened.publish(rows)
    console.print(f"figures, plot and page: {escape(str(opened.voice.run))}/{FOLDER}/{PAGE}", soft_wrap=True)
    return value
