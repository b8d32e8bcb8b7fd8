"""The contract of a speech tokenizer: a small adapter around one codec.

An adapter states what it is (:class:`TokenizerSpec`) and how many frames a waveform of so many samples gets, and turns
waveforms to codes, and back where the codec can. It is a pure function of settings and weights: nothing it returns may
depend on earlier calls, and the codes of a waveform may not depend on what it was batched with
(`tokenization/parity.py` measures that).

A codec with weights of its own (`tokenization/codecs`) is one more file: its settings name a path or hub id and the weights'
checksum, its library is imported when it is opened, it pads its batch itself, and cuts each result to
``frames(samples)``.

Shapes: T samples, F frames, Q codebooks, K codes of each, Z dimensions in which they are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint16]
Vectors = npt.NDArray[np.float32]


class TokenizerError(ValueError):
    """A tokenizer cannot do what is asked of it: says what, why and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """What a reader of the codes has to know.

    name         the adapter, as the recipe says it
    version      changes whenever the same weights would give other codes
    frame_rate   frames per second
    codebooks    codes per frame
    vocab_size   codes are below it, in every codebook
    sample_rate  of the waveforms that ``encode`` takes and ``decode`` gives, in Hz
    checksum     SHA-256 of the weights; empty where there are none
    """

    name: str
    version: str
    frame_rate: float
    codebooks: int
    vocab_size: int
    sample_rate: int
    checksum: str

    @property
    def bits_per_second(self) -> float:
        """What the codes cost when each is stored in log2(vocab_size) bits."""
        return float(self.frame_rate * self.codebooks * np.log2(self.vocab_size))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class SpeechTokenizer(Protocol):
    """What every adapter offers."""

    @property
    def spec(self) -> TokenizerSpec: ...

    @property
    def can_encode(self) -> bool: ...

    @property
    def can_decode(self) -> bool: ...

    def frames(self, samples: int) -> int:
        """How many frames a waveform of ``samples`` samples gets: zero for an empty one only."""
        ...

    def encode(self, waves: Sequence[Wave]) -> list[Codes]:
        """Mono float32 waveforms ``wave_T`` at ``spec.sample_rate`` to uint16 ``codes_FQ``, in the same order.

        Raises :class:`TokenizerError` for anything else, and where the adapter cannot encode.
        """
        ...

    def decode(self, codes_FQ: Codes) -> Wave:
        """One utterance's codes to a float32 ``wave_T``.

        Raises :class:`TokenizerError` for codes that are not its own, and where the adapter cannot decode.
        """
        ...

    def vectors(self) -> Vectors | None:
        """``vectors_QKZ``: the point that each code stands for, where the codec quantizes points; else None.

        Codes whose points lie near each other sound alike: a model need not learn that.
        """
        ...


def frames_by_hop(samples: int, hop: int) -> int:
    """Frames of ``hop`` samples that cover ``samples``, the last one padded."""
    return -(-samples // hop)


def checked_wave(wave_T: npt.ArrayLike) -> Wave:
    """``wave_T`` as a float32 vector.

    Raises :class:`TokenizerError` for other shapes and types, and for NaN or infinite samples.
    """
    wave = np.asarray(wave_T)
    if wave.ndim != 1 or wave.dtype.kind != "f":
        raise TokenizerError(
            f"a waveform must be one channel of floating-point samples, not {wave.dtype} of shape {wave.shape}: "
            "mix it down and scale it to -1..1 first"
        )
    if not np.isfinite(wave).all():
        raise TokenizerError(
            f"{int((~np.isfinite(wave)).sum())} of {wave.size} samples are NaN or infinite: clean the audio first"
        )
    return np.ascontiguousarray(wave, dtype=np.float32)


def checked_codes(codes_FQ: npt.ArrayLike, spec: TokenizerSpec) -> Codes:
    """``codes_FQ`` as uint16, shape (F, codebooks); of one codebook they may come as a vector.

    Raises :class:`TokenizerError` for other shapes, types and ranges.
    """
    codes = np.asarray(codes_FQ)
    if codes.dtype.kind not in "iu":
        raise TokenizerError(f"codes of {spec.name} must be whole numbers, not {codes.dtype}")
    if codes.ndim == 1 and spec.codebooks == 1:
        codes = codes[:, None]
    if codes.ndim != 2 or codes.shape[1] != spec.codebooks:
        raise TokenizerError(
            f"codes of {spec.name} must have shape (frames, {spec.codebooks}), not {codes.shape}: "
            "is `codebooks` in the recipe what made them?"
        )
    if codes.size and (codes.min() < 0 or codes.max() >= spec.vocab_size):
        raise TokenizerError(
            f"codes of {spec.name} must lie in 0..{spec.vocab_size - 1}, found {codes.min()}..{codes.max()}: "
            "is the vocabulary size in the recipe right?"
        )
    return np.ascontiguousarray(codes, dtype=np.uint16)
