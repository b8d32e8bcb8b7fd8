"""Near duplicates by ear: one recording in another encoding, at another level or sample rate, or cut otherwise.

A fingerprint is that of Haitsma & Kalker (2002), on a coarser clock: sixteen words a second, each bit the sign of how the energy difference of two
neighbouring bands changes in time. A gain changes no sign, an encoder few. Halves of words are the elements that candidates share
(:mod:`pipelines.near.lsh`); then the two are laid over each other where most halves meet, and their bits are counted.

Memory: 64 bytes for each second of the sounds that stay and 1.7 kB for each of them: 1.5 GB for a thousand hours of five-second utterances.

Legend: stored_T mono as stored; words_F uint32 by frame, 0 for silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from manifests.settings.copies import CopiesSettings
from pipelines.near.lsh import Index, MinHash, mixed

RATE = 8000
HOP, WINDOW = 500, 2960  # 1/16 s, 0.37 s
PHASES = 4  # fingerprints of one sound, a quarter of a hop apart: a cut falls anywhere
BANDS, LOW, HIGH = 33, 300.0, 3000.0
SILENT = 1e-4  # of the energy of the loudest frame
LEAST_WORDS = 24  # 1.5 s that are no silence; below it strangers may agree by chance
OFFSETS = 3  # overlays that are tried
OFTEN = 16  # times that a half may stand in a fingerprint and still tell where to lay it
BANDS_OF_KEYS, ROWS = 64, 2  # finds pairs that share a fifth of their halves in 92 of 100 cases, a third in all


def fingerprints(stored_T: np.ndarray, rate: int) -> np.ndarray:
    """``words_PF`` of a sound; without frames where it is shorter than a window and two hops."""
    import soxr

    wave_T = stored_T if rate == RATE else soxr.resample(stored_T, rate, RATE, quality="HQ")
    if len(wave_T) < WINDOW + 2 * HOP:
        return np.zeros((PHASES, 0), np.uint32)
    frames_FS = np.lib.stride_tricks.sliding_window_view(wave_T, WINDOW)[:: HOP // PHASES]
    energy_FM = np.concatenate([_energies(frames_FS[f : f + 512]) for f in range(0, len(frames_FS), 512)])
    slope_FB = np.diff(energy_FM, axis=1)
    bits_FB = slope_FB[PHASES:] > slope_FB[:-PHASES]
    words_F = bits_FB @ (np.uint32(1) << np.arange(BANDS - 1, dtype=np.uint32))
    loud_F = energy_FM.sum(axis=1)[PHASES:]
    words_F = np.where(loud_F > SILENT * loud_F.max(), words_F, 0).astype(np.uint32)
    return words_F[: len(words_F) // PHASES * PHASES].reshape(-1, PHASES).T


def _energies(frames_FS: np.ndarray) -> np.ndarray:
    """Energy by frame and band."""
    window_S = np.hanning(WINDOW).astype(np.float32)
    spectrum_FK = np.fft.rfft(frames_FS * window_S, axis=1)
    power_FK = spectrum_FK.real.astype(np.float64) ** 2 + spectrum_FK.imag.astype(np.float64) ** 2
    edges = np.round(LOW * (HIGH / LOW) ** (np.arange(BANDS + 1) / BANDS) * WINDOW / RATE).astype(int)
    return np.stack([power_FK[:, a : max(b, a + 1)].sum(axis=1) for a, b in pairwise(edges.tolist())], axis=1)


def halves(words_F: np.ndarray) -> np.ndarray:
    """Distinct halves of the words that are no silence, each knowing which half it is, as 64-bit hashes."""
    loud = words_F[words_F != 0]
    return np.unique(mixed(np.concatenate([_upper(loud), _lower(loud) | np.uint32(1 << 16)]).astype(np.uint64)))


def agreement(a_F: np.ndarray, b_F: np.ndarray, overlap: float) -> float:
    """Share of bits that agree where two fingerprints are laid over each other best; 0 where too little of the shorter lies in the longer."""
    wanted = max(LEAST_WORDS, overlap * min(np.count_nonzero(a_F), np.count_nonzero(b_F)))
    return max((_agree(a_F, b_F, offset, wanted) for offset in _offsets(a_F, b_F)), default=0.0)


def _offsets(a_F: np.ndarray, b_F: np.ndarray) -> list[int]:
    """How far ``b_F`` has to be moved: where most halves meet."""
    loud_a, loud_b = np.flatnonzero(a_F), np.flatnonzero(b_F)
    votes = np.concatenate(
        [_meetings(loud_a, half(a_F[loud_a]), loud_b, half(b_F[loud_b])) for half in (_upper, _lower)]
    )
    offsets, counts = np.unique(votes, return_counts=True)
    return offsets[np.lexsort((offsets, -counts))][:OFFSETS].tolist()


def _upper(words_F: np.ndarray) -> np.ndarray:
    return words_F >> np.uint32(16)


def _lower(words_F: np.ndarray) -> np.ndarray:
    return words_F & np.uint32(0xFFFF)


def _meetings(at_a: np.ndarray, a: np.ndarray, at_b: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of every pair of frames that hold the same half. Halves that ``b`` holds often tell nothing, and would be many pairs."""
    order = np.argsort(b, kind="stable")
    first, end = (np.searchsorted(b[order], a, side) for side in ("left", "right"))
    times = np.where(end - first > OFTEN, 0, end - first)
    nth = np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)
    return np.repeat(at_a, times) - at_b[order[np.repeat(first, times) + nth]]


def _agree(a_F: np.ndarray, b_F: np.ndarray, offset: int, wanted: float) -> float:
    a, b = a_F[max(offset, 0) :], b_F[max(-offset, 0) :]
    count = min(len(a), len(b))
    a, b = a[:count], b[:count]
    loud = (a != 0) & (b != 0)
    heard = int(loud.sum())
    if heard < wanted:
        return 0.0
    return 1 - int(np.bitwise_count(a[loud] ^ b[loud]).sum()) / ((BANDS - 1) * heard)


@dataclass
class NearSounds:
    """The sounds that stayed so far, each asked of once, in plan order."""

    settings: CopiesSettings
    _ids: list[str] = field(default_factory=list)
    _prints: list[np.ndarray] = field(default_factory=list)
    _index: Index = field(default_factory=lambda: Index(MinHash(BANDS_OF_KEYS, ROWS)))

    def resembled(self, utterance_id: str, words_PF: np.ndarray) -> tuple[str, float] | None:
        """(id, agreement) of the first sound that stayed and is the same recording; with None this one stays."""
        if np.count_nonzero(words_PF[0]) < LEAST_WORDS:
            return None
        keys = [self._index.minhash.keys(halves(words_F)) if words_F.any() else [] for words_F in words_PF]
        for item in self._index.candidates([key for of_phase in keys for key in of_phase]):
            agree = max(agreement(self._prints[item], words_F, self.settings.overlap) for words_F in words_PF)
            if agree >= 1 - self.settings.bit_errors:
                return self._ids[item], round(agree, 4)
        self._index.add(keys[0], len(self._ids))
        self._ids.append(utterance_id)
        self._prints.append(words_PF[0].copy())
        return None
