"""Codes to sound while they still arrive: nothing that was given away is ever revised.

The last frame that is there waits for its successor, which its levels depend on. Until then it is a guess that the frames
before it lean on. Spectra of the other frames are settled: phases are recovered with the settled ones held fixed (real-time
iterative spectrogram inversion with look-ahead, Zhu, Beauregard & Wyse, 2007). Every sample that no later window touches leaves.

Shapes: T samples, F frames, Q codebooks, S spectra (4 per frame), W bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tokenization.adapter import Codes, Wave, checked_codes
from tokenization.patches.sound import Complex, magnitudes, phase_draws, settled, start_phases, synthesise
from tokenization.patches.spectrum import SPECTRA, STEPS_PER_DB, Float

if TYPE_CHECKING:
    from tokenization.patches.tokenizer import PatchesTokenizer

REACH = SPECTRA - 1  # windows before a window that share samples with it


class PatchesStream:
    """The sound of one utterance, frames in, samples out; all that leaves adds up to one ``hop`` a frame."""

    def __init__(self, tokenizer: PatchesTokenizer) -> None:
        self._tokenizer, self._draws = tokenizer, phase_draws()
        self._spectrum = tokenizer.spectrum
        bins = self._spectrum.hop // 2 + 1
        self._known_FQ: Codes = np.zeros(
            (0, tokenizer.spec.codebooks), np.uint16
        )  # the last settled frame, and the waiting one
        self._before_SW: Complex = np.zeros((0, bins), np.complex128)  # the last settled spectra
        self._guess_SW: Complex = np.zeros((0, bins), np.complex128)  # unit phases of the waiting frame
        self._begun = False

    def push(self, codes_FQ: Codes) -> Wave:
        """Take in frames; the samples that are certain now, maybe none. Raises ``TokenizerError`` for codes of other tokenizers."""
        codes = checked_codes(codes_FQ, self._tokenizer.spec)
        waiting = len(self._guess_SW) // SPECTRA
        self._known_FQ = np.concatenate([self._known_FQ, codes])
        fresh = waiting + len(codes)
        return self._sound(fresh, fresh - 1) if len(codes) and fresh > 1 else self._wait(fresh)

    def finish(self) -> Wave:
        """The rest of the samples; the stream takes nothing afterwards."""
        waiting = len(self._guess_SW) // SPECTRA
        return self._sound(waiting, waiting) if waiting else np.zeros(0, np.float32)

    def _wait(self, fresh: int) -> Wave:
        """The only frame there is waits."""
        self._guess_SW = self._phases(fresh)
        return np.zeros(0, np.float32)

    def _sound(self, fresh: int, sure: int) -> Wave:
        """Settle the first ``sure`` of the last ``fresh`` frames; the samples that no later window touches."""
        wanted_SW, phases_SW = self._magnitudes(fresh), self._phases(fresh)
        settings = self._tokenizer.settings
        found_SW = settled(
            wanted_SW * phases_SW, wanted_SW, self._before_SW, self._spectrum, settings.griffin_lim, settings.momentum
        )
        done, last = SPECTRA * sure, sure == fresh
        spectra_SW = np.concatenate([self._before_SW, found_SW[:done]])
        wave_T = self._cut(synthesise(spectra_SW, self._spectrum), last)
        self._before_SW, self._begun = spectra_SW[-REACH:], True
        self._guess_SW = np.exp(1j * np.angle(found_SW[done:]))
        self._known_FQ = self._known_FQ[len(self._known_FQ) - (fresh - sure) - 1 :]
        return wave_T

    def _cut(self, wave_T: Float, last: bool) -> Wave:
        """Of a waveform of settled spectra, what is new and final. Its first ``REACH`` shifts are not made of all their windows."""
        s = self._spectrum
        start = REACH * s.shift if self._begun else s.margin
        end = len(wave_T) - (s.margin if last else REACH * s.shift)
        return np.clip(wave_T[start:end], -1, 1).astype(np.float32)

    def _magnitudes(self, fresh: int) -> Float:
        """``magnitudes_SW`` of the last ``fresh`` frames, their levels drawn with the neighbours that are known."""
        levels_FD = self._tokenizer.codebook.levels(self._known_FQ)[-fresh:]
        return magnitudes(levels_FD.reshape(SPECTRA * fresh, -1) / STEPS_PER_DB, self._spectrum)

    def _phases(self, fresh: int) -> Complex:
        """Unit phases of the last ``fresh`` frames: as found of the one that waited, drawn for those that are new."""
        more = SPECTRA * fresh - len(self._guess_SW)
        return np.concatenate([self._guess_SW, start_phases(self._draws, more, self._spectrum)])
