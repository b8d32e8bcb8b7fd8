"""Signal to noise ratio, from the energies of frames.

Speech pauses, noise does not: the quietest tenth of the 20 ms frames tells the noise, what rises above it tells the speech. NIST's STNR reads
the histogram of frame energies in the same way. WADA-SNR (Kim & Stern 2008), which compares amplitudes with a Gamma distribution, was measured beside
it and left out: without noise it ran to its limit on half the sounds (docs/curation.md has the numbers).

Legend: power_F by frame.
"""

from __future__ import annotations

import numpy as np

from tokenization.scores.base import Sound, Values

FRAME_SECONDS = 0.02
NOISE, LOUD = 0.10, 0.95  # quantiles of frame power
RISES = 0.01  # of the way from noise to loud: where speech begins
LEAST_FRAMES = 10
LIMITS = (-20.0, 100.0)


def snr_db(sound: Sound) -> Values:
    """``snr_db`` to a tenth of a dB, within :data:`LIMITS`; None for fewer than :data:`LEAST_FRAMES` frames that are not digital silence."""
    size = max(round(FRAME_SECONDS * sound.rate), 1)
    frames_FS = sound.stored_T[: len(sound.stored_T) // size * size].reshape(-1, size)
    frames_FS = frames_FS[np.ptp(frames_FS, axis=1) > 0]  # less a DC offset, digital silence is constant but not zero
    power_F = np.einsum("fs,fs->f", frames_FS, frames_FS, dtype=np.float64) / size
    if len(power_F) < LEAST_FRAMES:
        return {"snr_db": None}
    noise, loud = np.quantile(power_F, (NOISE, LOUD))
    speech = float(power_F[power_F - noise >= RISES * (loud - noise)].mean() - noise)
    ratio = 10 * np.log10(max(speech, 1e-30) / noise)
    return {"snr_db": round(float(np.clip(ratio, *LIMITS)), 1)}
