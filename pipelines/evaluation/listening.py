"""What an independent recogniser hears, worked out by several processes and kept: equal codes are heard once.

A sound is named by a hash of all that it is made of. What was heard of it stands in RUN/eval/heard.jsonl, one line a sound and ear.

Legend: T samples, F frames, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from manifests.fingerprint import canonical, sha256
from manifests.settings.recognisers import RecogniserSettings
from manifests.settings.speech import SpeechSettings
from pipelines.engine.mapping import Mapper
from pipelines.inspect import find, originals
from pipelines.subject import Subject
from pipelines.voice.errors import SpeakError
from tokenization.adapter import SpeechTokenizer
from tokenization.recognisers.base import Recogniser, at_rate
from tokenization.recognisers.registry import open_recogniser
from tokenization.registry import open_tokenizer

VERSION = 3  # changes whenever the same sound would be heard, or measured, otherwise
CHUNK = 8  # sounds a task
FRAME = 0.02  # seconds that are silent or not, as a whole
SILENT_DB, NOTHING_DB = -40.0, -60.0  # silent: below the loudest frame; or below full scale


class Unheard(SpeakError):
    """A recording of the dataset cannot be heard."""


@dataclass(frozen=True, eq=False)
class Sound:
    """Codes to be made sound of; or, with ``key``, a recording of the dataset under ``data``. ``name`` tells it from any other."""

    name: str
    codes_FQ: npt.NDArray[np.uint16] | None = None
    data: str = ""
    key: str = ""


@dataclass(frozen=True)
class Heard:
    """What an ear made of a sound. ``silence`` is the share of it that is silent."""

    words: str
    silence: float


def _grammar() -> Recogniser:
    from manifests.demo.grammar import jsgf
    from tokenization.recognisers.pocketsphinx import PocketsphinxRecogniser

    return PocketsphinxRecogniser(jsgf("response"), patient=True)


def _open() -> Recogniser:
    from tokenization.recognisers.pocketsphinx import PocketsphinxRecogniser

    return PocketsphinxRecogniser()


EARS: dict[str, Callable[[], Recogniser]] = {"grammar": cache(_grammar), "open": cache(_open)}
"""``grammar`` can hear the demo's responses only, or nothing; ``open`` hears English."""

_chosen: Callable[[Any], Recogniser] = cache(open_recogniser)
_tokenizer: Callable[[Any, bytes | None, str], SpeechTokenizer] = cache(open_tokenizer)
_subject: Callable[[str], Subject] = cache(Subject.open)


@dataclass(frozen=True)
class Listen:
    """Work of one task: makes sounds and lets an ear hear them: the one of :data:`EARS`, or ``chosen``."""

    ear: str
    speech: SpeechSettings
    weights: bytes | None
    chosen: RecogniserSettings | None = None

    def __call__(self, chunk: list[Sound]) -> list[Heard]:
        tokenizer = _tokenizer(self.speech, self.weights, "cpu")
        rate, waves = tokenizer.spec.sample_rate, [made(sound, tokenizer) for sound in chunk]
        recogniser = EARS[self.ear]() if self.chosen is None else _chosen(self.chosen)
        texts = recogniser.recognise([at_rate(wave_T, rate) for wave_T in waves])
        return [Heard(text.text, silence(wave_T, rate)) for text, wave_T in zip(texts, waves, strict=True)]

    def poisoned(self, chunk: list[Sound]) -> list[Heard]:
        """A sound that kills the recogniser is one in which nothing was heard."""
        return [Heard("", 1.0) for _ in chunk]


def made(sound: Sound, tokenizer: SpeechTokenizer) -> np.ndarray:
    """The wave of a sound, scaled down where it would clip. Raises :class:`Unheard` where a recording is out of reach."""
    wave_T = _recording(sound) if sound.codes_FQ is None else tokenizer.decode(sound.codes_FQ)
    return wave_T / max(1.0, float(np.abs(wave_T).max(initial=0.0)))


def _recording(sound: Sound) -> np.ndarray:
    wave_T = originals(_subject(sound.data), find(sound.data, sound.key)).get("speech-original")
    if wave_T is None:
        raise Unheard(
            f"{sound.data}: the recording of {sound.key} is out of reach, or no longer what it was: put it back and run again; what "
            "was heard of others is kept"
        )
    return wave_T


def silence(wave_T: np.ndarray, rate: int) -> float:
    """The share of 20 ms frames far below the loudest, or near nothing at all."""
    size = max(int(FRAME * rate), 1)
    frames_FT = wave_T[: len(wave_T) // size * size].reshape(-1, size).astype(np.float64)
    if not len(frames_FT):
        return 1.0
    level_F = 10 * np.log10((frames_FT**2).mean(axis=1) + 1e-12)
    return float((level_F < max(level_F.max() + SILENT_DB, NOTHING_DB)).mean())


def sound_of(codes_FQ: npt.NDArray[np.uint16], speech: SpeechSettings, checksum: str) -> Sound:
    """The sound of codes under a tokenizer."""
    about = {"codes": sha256(np.ascontiguousarray(codes_FQ).tobytes()), "shape": list(codes_FQ.shape), "weights": checksum,
             "speech": speech.model_dump(mode="json")}  # fmt: skip
    return Sound(sha256(canonical(about)), codes_FQ)


@dataclass(frozen=True)
class Hearing:
    """The recogniser's desk of one evaluation: what it heard before, and processes to hear more."""

    path: Path
    mapper: Mapper
    speech: SpeechSettings
    weights: bytes | None

    def hear(
        self,
        ear: str,
        sounds: Iterable[Sound],
        tell: Callable[[int, int], None],
        chosen: RecogniserSettings | None = None,
    ) -> Mapping[str, Heard]:
        """What ``ear`` hears of each sound, by its name: the one of :data:`EARS`, or ``chosen``, whose words are kept under the name ``ear``."""
        known, wanted = self._known(ear), {sound.name: sound for sound in sounds}
        missing = [sound for name, sound in wanted.items() if name not in known]
        chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
        done = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            heard = self.mapper.map(Listen(ear, self.speech, self.weights, chosen), iter(chunks), "listening")
            for chunk, results in zip(chunks, heard, strict=True):
                for sound, result in zip(chunk, results, strict=True):
                    known[sound.name] = result
                    file.write(orjson.dumps(_line(ear, sound.name, result)) + b"\n")
                file.flush()
                done += len(chunk)
                tell(done, len(missing))
        return {name: known[name] for name in wanted}

    def _known(self, ear: str) -> dict[str, Heard]:
        """What was heard before; a line that a killed run left unfinished is passed over."""
        found: dict[str, Heard] = {}
        for line in self.path.read_bytes().splitlines() if self.path.is_file() else ():
            value = _parsed(line)
            if value.get("ear") == ear and value.get("version") == VERSION:
                found[value["sound"]] = Heard(value["words"], value["silence"])
        return found


def _line(ear: str, name: str, heard: Heard) -> dict[str, Any]:
    return {"version": VERSION, "ear": ear, "sound": name, "words": heard.words, "silence": round(heard.silence, 6)}


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def word_errors(said: Sequence[str], heard: Sequence[str]) -> dict[str, Any]:
    """Word error rate with its 95 % bootstrap interval; sentences in which nothing was heard are counted apart.

    ``rate_heard`` is the rate over sentences in which something was heard; ``empty_part`` the part of the rate that is due to the
    others, whose words all count as deleted.
    """
    from tokenization.recognisers.score import wer

    found = wer(said, heard)
    low, high = found.interval()
    silent = [pair for pair, words in zip(found.each, heard, strict=True) if not words.split()]
    words, errors = found.words - sum(w for w, _ in silent), found.errors - sum(e for _, e in silent)
    return {
        "rate": found.rate, "low": low, "high": high, "words": found.words, "errors": found.errors,
        "substitutions": found.substitutions, "deletions": found.deletions, "insertions": found.insertions,
        "sentences": len(said), "wrong_sentences": sum(e > 0 for _, e in found.each), "empty": found.empty,
        "rate_heard": errors / words if words else 0.0,
        "empty_part": sum(e for _, e in silent) / found.words if found.words else 0.0,
    }  # fmt: skip
