"""A corpus of long recordings made by the tests: voices with silences of known length between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from tests.small_corpus import RATE, tone

SPOKEN = ((1.0, 2.0), (4.0, 1.5), (7.0, 6.0), (15.0, 0.8))
"""(start, seconds) of what is said in every recording, which is of 17 s."""
SECONDS = 17.0


def recording(seed: int, rate: int = RATE) -> np.ndarray:
    """``wave_T`` of one recording, in a little noise."""
    wave_T = 3e-4 * np.random.default_rng(seed).standard_normal(int(SECONDS * RATE)).astype(np.float32)
    for i, (start, seconds) in enumerate(SPOKEN):
        said_T = tone(10 * seed + i, seconds)
        wave_T[int(start * RATE) :][: len(said_T)] += said_T
    return wave_T[:: RATE // rate] if rate != RATE else wave_T


def write_long_corpus(folder: Path, recordings: int = 5) -> Path:
    """``r<n>.flac`` that are cut up, and one of each that are not: nobody speaks, no sound, a text for the whole; and two copies."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id\taudio\ttext\tspeaker"]
    for i in range(recordings):
        soundfile.write(folder / f"r{i}.flac", recording(i), RATE, subtype="PCM_16")
        lines.append(f"r{i}\tr{i}.flac\t\ts{i % 3}")
    noise_T = 2e-3 * np.random.default_rng(99).standard_normal(RATE * 5).astype(np.float32)
    soundfile.write(folder / "noise.flac", noise_T, RATE, subtype="PCM_16")
    (folder / "broken.wav").write_bytes(b"RIFF, and nothing that is sound")
    soundfile.write(folder / "texted.flac", recording(50), RATE, subtype="PCM_16")
    soundfile.write(folder / "short.flac", tone(60, 2.0), RATE, subtype="PCM_16")
    for name in ("copy", "again"):
        (folder / f"{name}.flac").write_bytes((folder / "r0.flac").read_bytes())
    lines += [
        "noise\tnoise.flac\t\ts0",
        "broken\tbroken.wav\t\ts0",
        "texted\ttexted.flac\tall that is said in seventeen seconds\ts1",
        "short\tshort.flac\ta short sentence\ts2",
        "copy\tcopy.flac\t\ts1",
        "again\tagain.flac\t\ts1",
    ]
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
