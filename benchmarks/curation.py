"""What scores and fingerprints find in real speech, and what they cost: docs/curation.md has its numbers.

    python benchmarks/curation.py FOLDER [--texts 20000]

FOLDER holds recordings of speech, at any depth. Noise is added at known levels and looked for, by the score and by WADA-SNR; files are made again in other
forms and looked for among all; each is held against all others; and seconds of one processor are counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import io
import random
import time
from collections.abc import Callable

import numpy as np
import soundfile
import soxr
from rich.console import Console
from rich.table import Table

from manifests.settings.copies import CopiesSettings
from manifests.settings.scores import ScoresSettings
from pipelines.near.sound import LEAST_WORDS, NearSounds, agreement, fingerprints
from pipelines.near.text import NearTexts
from tokenization.scores.base import Sound
from tokenization.scores.registry import Scorer
from tokenization.scores.snr import snr_db

ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
PLAIN = ("snr_db", "bandwidth_hz", "characters_per_second")
LEVELS = (30, 20, 15, 10, 5, 0)
WADA_DB = tuple(range(-20, 101, 4))
WADA = (  # log of the mean minus mean of the log of amplitudes, of Gamma speech (shape 0.4) in Gaussian noise, by integration
    0.40943, 0.40964, 0.41069, 0.41497, 0.42865, 0.46184, 0.52342, 0.61388, 0.72419, 0.84167, 0.95582, 1.06039, 1.15269,
    1.23234, 1.3001, 1.35727, 1.40523, 1.44534, 1.47882, 1.50673, 1.52997, 1.54932, 1.56543, 1.57882, 1.58997, 1.59924,
    1.60696, 1.61337, 1.61871, 1.62315, 1.62684,
)  # fmt: skip

Wave = tuple[np.ndarray, int]


def _read(file: Path) -> Wave:
    wave_CT, rate = soundfile.read(file, dtype="float32", always_2d=True)
    wave_T = wave_CT.mean(axis=1)
    return wave_T - wave_T.mean(), rate


def _speech_power(wave_T: np.ndarray, rate: int) -> float:
    size = rate // 50
    power_F = (wave_T[: len(wave_T) // size * size].reshape(-1, size) ** 2).mean(axis=1)
    return float(power_F[power_F > power_F.max() * 1e-4].mean())


def _wada(wave_T: np.ndarray) -> float:
    size_T = np.abs(wave_T[wave_T != 0].astype(np.float64))
    return float(np.interp(np.log(size_T.mean()) - np.log(size_T).mean(), WADA, WADA_DB))


def _energies(wave_T: np.ndarray, rate: int) -> float:
    return snr_db(Sound(wave_T, rate, None, 1.0))["snr_db"] or 0.0


def noise(waves: list[Wave]) -> Table:
    """Median and standard deviation of what is found, by what was added."""
    table = Table("noise added", *(f"{db} dB" for db in LEVELS), "none", title="signal to noise: median (deviation)")
    draws = np.random.default_rng(0)
    found: dict[str, list[list[float]]] = {"snr_db": [], "WADA-SNR": []}
    for db in (*LEVELS, None):
        noised = [
            (w if db is None else w + draws.standard_normal(len(w)).astype(np.float32) * np.sqrt(_speech_power(w, r) * 10 ** (-db / 10)), r)
            for w, r in waves
        ]  # fmt: skip
        found["snr_db"].append([_energies(w, r) for w, r in noised])
        found["WADA-SNR"].append([_wada(w) for w, _ in noised])
    for name, columns in found.items():
        table.add_row(name, *(f"{np.median(c):.1f} ({np.std(c):.1f})" for c in columns))
    return table


def _encoded(wave_T: np.ndarray, rate: int, kind: str, subtype: str | None = None, small: bool = False) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, wave_T, rate, format=kind, subtype=subtype, compression_level=0.9 if small else None)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def _cut(wave_T: np.ndarray, rate: int) -> np.ndarray:
    return wave_T[round(0.281 * rate) : -round(0.4 * rate)]


CHANGES: dict[str, Callable[[np.ndarray, int], Wave]] = {
    "a third as loud": lambda w, r: (w * 0.3, r),
    "MP3": lambda w, r: (_encoded(w, r, "MP3"), r),
    "MP3, smallest": lambda w, r: (_encoded(w, r, "MP3", small=True), r),
    "Vorbis, smallest": lambda w, r: (_encoded(w, r, "OGG", "VORBIS", small=True), r),
    "8 kHz, mu-law": lambda w, r: (_encoded(soxr.resample(w, r, 8000), 8000, "WAV", "ULAW"), 8000),
    "0.28 s and 0.4 s cut off": lambda w, r: (_cut(w, r), r),
    "the same, then MP3, smallest": lambda w, r: (_encoded(_cut(w, r), r, "MP3", small=True), r),
    "noise 20 dB below": lambda w, r: (w + np.random.default_rng(0).standard_normal(len(w)).astype(np.float32) * w.std() * 0.1, r),
}  # fmt: skip


def copies(waves: list[Wave]) -> tuple[Table, float]:
    """How many are found again in each form; and the most that two strangers agree."""
    prints = [fingerprints(*wave) for wave in waves]
    near = NearSounds(CopiesSettings())
    alike = sum(near.resembled(str(i), words_PF) is not None for i, words_PF in enumerate(prints))
    table = Table(
        "form", "found", "bits that agree: median", "least", title=f"{alike} sounds resemble another as they are"
    )
    for name, change in CHANGES.items():
        again = [fingerprints(*change(*wave)) for wave in waves]
        told = [
            i
            for i, p in enumerate(again)
            if np.count_nonzero(p[0]) >= LEAST_WORDS and np.count_nonzero(prints[i][0]) >= LEAST_WORDS
        ]
        hits = sum((found := near.resembled("copy", again[i])) is not None and found[0] == str(i) for i in told)
        agree = [max(agreement(prints[i][0], phase, 0.6) for phase in again[i]) for i in told]
        table.add_row(name, f"{hits} of {len(told)}", f"{np.median(agree):.1%}", f"{min(agree):.1%}")
    strangers = max(agreement(a[0], phase, 0.6) for i, a in enumerate(prints) for b in prints[:i] for phase in b)
    return table, strangers


def _scored(name: str) -> Callable[[Wave], object]:
    scorer = Scorer(ScoresSettings(), (name,))
    return lambda wave: scorer(Sound(*wave, "some words", 1.0))


def costs(waves: list[Wave], texts: int) -> Table:
    """Times real time, on one processor; and microseconds a text."""
    table = Table("what", "cost on one processor")
    seconds = sum(len(wave_T) / rate for wave_T, rate in waves)
    works = {name: _scored(name) for name in PLAIN} | {"fingerprint": lambda wave: fingerprints(*wave)}
    for name, work in works.items():
        started = time.process_time()
        for wave in waves:
            work(wave)
        table.add_row(name, f"{seconds / (time.process_time() - started):,.0f} times real time")
    draws = random.Random(0)
    words = ["".join(draws.choices("abcdefghijklmnopqrstuvwxyz", k=draws.randint(2, 9))) for _ in range(5000)]
    said, near = [" ".join(draws.choices(words, k=draws.randint(4, 20))) for _ in range(texts)], NearTexts(0.9)
    started = time.process_time()
    for i, text in enumerate(said):
        near.resembled(str(i), text)
    table.add_row("near_text: 0.9", f"{1e6 * (time.process_time() - started) / texts:,.0f} µs a text")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=20_000)
    options = parser.parse_args()
    waves = [_read(f) for f in sorted(options.folder.rglob("*")) if f.suffix in ENDINGS]
    console = Console(width=160)
    console.print(f"{len(waves)} files, {sum(len(w) / r for w, r in waves):.0f} s")
    console.print(noise(waves))
    table, strangers = copies(waves)
    console.print(table)
    console.print(f"strangers agree in at most {strangers:.1%} of their bits")
    console.print(costs(waves, options.texts))


if __name__ == "__main__":
    main()
