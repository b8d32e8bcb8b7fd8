"""The embedded speech tokenizer: a fitted codebook behind the adapter's contract.

Shapes: T samples, F frames (patches), Q codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from manifests.fingerprint import sha256
from manifests.settings.speech import PatchesSettings
from tokenization.adapter import (
    Codes,
    TokenizerSpec,
    Vectors,
    Wave,
    checked_codes,
    checked_wave,
    frames_by_hop,
)
from tokenization.patches.codebook import PatchesCodebook
from tokenization.patches.files import save
from tokenization.patches.sound import sound
from tokenization.patches.spectrum import SPECTRA, STEPS_PER_DB, Spectrum
from tokenization.patches.streaming import PatchesStream

VERSION = "1"  # changes whenever the same codebook would give other codes


@dataclass(frozen=True)
class PatchesTokenizer:
    """25 Hz codes of 40 ms patches. The codes of a waveform are a function of the waveform and the codebook alone."""

    codebook: PatchesCodebook
    settings: PatchesSettings
    can_encode = True
    can_decode = True

    @property
    def spec(self) -> TokenizerSpec:
        s = self.settings
        rate = s.sample_rate / self.spectrum.hop
        return TokenizerSpec(s.name, VERSION, rate, s.codebooks, s.codebook_size, s.sample_rate, self.checksum)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the codebook's bytes."""
        return sha256(save(self.codebook))

    @cached_property
    def spectrum(self) -> Spectrum:
        return Spectrum.of(self.settings)

    def frames(self, samples: int) -> int:
        """One frame for every 40 ms begun."""
        return frames_by_hop(samples, self.spectrum.hop)

    def encode(self, waves: Sequence[Wave]) -> list[Codes]:
        return [self._encode(checked_wave(wave_T)) for wave_T in waves]

    def _encode(self, wave_T: Wave) -> Codes:
        book = self.codebook
        return book.quantize(book.project(self.spectrum.patches(wave_T)))

    def decode(self, codes_FQ: Codes) -> Wave:
        codes = checked_codes(codes_FQ, self.spec)
        if not len(codes):
            return np.zeros(0, dtype=np.float32)
        decibels_SM = self.codebook.levels(codes).reshape(SPECTRA * len(codes), -1) / STEPS_PER_DB
        return sound(decibels_SM, self.spectrum, self.settings.griffin_lim, self.settings.momentum)

    def vectors(self) -> Vectors:
        """The centroids, in steps of level along the principal axes."""
        return self.codebook.centroids_QKZ.astype(np.float32)

    def stream(self) -> PatchesStream:
        """The sound of one utterance, made while its codes arrive."""
        return PatchesStream(self)
