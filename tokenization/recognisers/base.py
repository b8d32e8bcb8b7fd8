"""What a recogniser is: sound in, words out, whatever it heard before.

Shapes: ``wave_T`` is one utterance, mono, T samples.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np

from tokenization.adapter import Wave

RATE = 16_000  # Hz, of all that a recogniser hears
DIGITS = 4  # of what is kept of a probability


class RecogniserError(ValueError):
    """A recogniser cannot do what is asked of it: says what, why and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class RecogniserSpec:
    """What a reader of transcripts has to know.

    name        the recogniser, as the recipe says it
    version     changes whenever the same weights would hear other words
    checksum    SHA-256 of the weights; empty where they come with a package
    window      seconds of which it hears the whole, however short the utterance; 0: as long as it is
    language    the only one it knows; None: several
    """

    name: str
    version: str
    checksum: str
    window: float = 0.0
    language: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard in one utterance. A recogniser leaves None what it has no figure for.

    text                    the words, as the recogniser writes them; empty where there were none
    language, probability   the likeliest language, as its head hears it (ISO 639-1 where there is one)
    avg_logprob             mean log probability of the tokens, nats
    no_speech               probability that nobody speaks
    compression             signs of the text over the bytes that zlib makes of them: high where it repeats itself; of several windows the highest
    temperature             at which the words were taken; 0: nothing was drawn
    """

    text: str
    language: str | None = None
    probability: float | None = None
    avg_logprob: float | None = None
    no_speech: float | None = None
    compression: float | None = None
    temperature: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Without what is None; numbers are rounded, so that equal words give equal bytes."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: round(v, DIGITS) if isinstance(v, float) else v for k, v in named.items() if v is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Transcript:
        return cls(**{field.name: value.get(field.name) for field in fields(cls)})  # type: ignore[arg-type]


class Recogniser(Protocol):
    """Understands speech."""

    @property
    def spec(self) -> RecogniserSpec: ...

    def recognise(self, waves: Sequence[Wave]) -> list[Transcript]:
        """What is heard in each ``wave_T``: float32 in [-1, 1], mono, at :data:`RATE`; of no samples, nothing.

        The words are a function of an utterance's samples alone, not of earlier calls nor of what it is batched with; the figures
        beside them may differ in the last bits with the batch. Raises :class:`RecogniserError` for what cannot be heard, and
        ``TokenizerError`` for what is no waveform.
        """
        ...


def heard_words(recogniser: Recogniser, wave_T: np.ndarray, sample_rate: int) -> str:
    """The words heard in one sound: int16, or float in [-1, 1], at any rate. ValueError where it is not one channel."""
    return recogniser.recognise([at_rate(wave_T, sample_rate)])[0].text


def at_rate(wave_T: np.ndarray, sample_rate: int) -> Wave:
    """*wave_T* (int16, or float in [-1, 1]) as float32 at :data:`RATE`; ValueError where it is not one channel of sound."""
    if wave_T.ndim != 1:
        raise ValueError(
            f"recogniser: one channel is expected, not an array of shape {wave_T.shape}; mix it down first"
        )
    scale = 1 / 32768 if wave_T.dtype == np.int16 else 1.0
    float_T = wave_T.astype(np.float32) * np.float32(scale)
    if sample_rate == RATE:
        return float_T
    import soxr

    return soxr.resample(float_T, sample_rate, RATE)


def compression(text: str) -> float:
    """How far ``text`` repeats itself, as Whisper measures it of English: 0 for no text.

    Of a byte for each sign: in UTF-8 those of Devanagari or Tamil have three, two of them nearly always the same, and prose looks like a loop.
    """
    data = _bytes(text)
    return len(data) / len(zlib.compress(data))


def _bytes(text: str) -> bytes:
    """A byte for each sign, ASCII its own and others in order of appearance; more kinds of signs than bytes: two for each, as UTF-16."""
    signs = dict.fromkeys(text)
    others = [sign for sign in signs if not sign.isascii()]
    free = [*range(128, 256), *(byte for byte in range(128) if chr(byte) not in signs)]
    if len(others) > len(free):
        return text.encode("utf-16-be", "surrogatepass")
    byte_of = {sign: ord(sign) for sign in signs} | dict(zip(others, free, strict=False))
    return bytes(byte_of[sign] for sign in text)
