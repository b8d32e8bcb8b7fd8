"""Clean: the rules that sound must pass, each a small pure function that lets it pass or says why not, in a fixed order.

Quarantined is what is broken (the file does not hold what it should); filtered is what is sound but unwanted.

Legend: wave_CT channels x samples as stored, wave_T mono; float32, full scale 1.0. level_F is RMS by 20 ms frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from manifests.audio.decode import Decoded
from manifests.fingerprint import content_hash
from manifests.settings.clean import CleanSettings

FRAME_SECONDS = 0.02
SILENT_DB = -70.0  # a whole recording below this level is silence, however even
CLIP_LEVEL, CLIP_RUN = 0.999, 3  # samples at full scale count as clipped in runs of three or more
QUIETEST_DB = -120.0

REASONS: Mapping[str, str] = {
    "empty_file": "the file has no bytes",
    "not_audio": "no decoder reads the file",
    "no_audio": "the file holds no audio stream",
    "lfs_pointer": "a Git LFS pointer stands in for the file",
    "bad_header": "its header makes no sense",
    "no_samples": "the file decodes to nothing",
    "not_finite": "samples are NaN or infinite",
    "truncated": "much shorter than its header says",
    "too_long": "it decodes to more than the limits of the recipe",
    "no_such_channel": "the recording has no such channel",
    "low_rate": "its sample rate is under the recipe's limit",
    "silent": "nothing but silence, or mostly",
    "too_short": "shorter than the recipe's limit",
    "too_long_utterance": "longer than the recipe's limit",
    "clipped": "distorted by clipping",
    "too_quiet": "speech is quieter than the recipe's limit",
    "too_loud": "speech is louder than the recipe's limit",
    "duplicate_audio": "the same sound and text as an earlier utterance",
    "duplicate_id": "its id occurs earlier in the corpus",
    "missing_audio": "the corpus names a sound that is not there",
    "outside_root": "the corpus points outside its root",
    "worker_died": "the process that worked on it died",
    "worker_stalled": "the process that worked on it stood still",
    "encode_failed": "the speech tokenizer cannot encode it",
    "bad_units": "the tokens that came with it are not valid",
}


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What was measured on the way; seconds, dB of full scale, shares."""

    source_rate: int
    channels: int
    seconds_in: float
    seconds_out: float
    trim_start: float
    loudness_db: float
    peak_db: float
    clipped: float
    silence: float
    pcm_hash: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Clean:
    """Sound that passed: mono at the tokenizer's rate."""

    wave_T: np.ndarray
    facts: AudioFacts


@dataclass(frozen=True, slots=True)
class Dropped:
    """Sound that did not pass."""

    status: Literal["filtered", "quarantined"]
    reason: str
    detail: str


def decibels(value: float) -> float:
    """Amplitude in dB of full scale, rounded to a hundredth; at least :data:`QUIETEST_DB`."""
    return round(max(20 * float(np.log10(max(value, 1e-12))), QUIETEST_DB), 2)


def levels(wave_T: np.ndarray, rate: int) -> np.ndarray:
    """``level_F``: RMS of each 20 ms frame, the last one filled with zeros."""
    size = max(round(FRAME_SECONDS * rate), 1)
    frames = -(-len(wave_T) // size)
    padded = np.zeros(frames * size, np.float64)
    padded[: len(wave_T)] = wave_T
    return np.sqrt((padded.reshape(frames, size) ** 2).mean(axis=1))


def clipped_share(wave_CT: np.ndarray) -> float:
    """Share of samples in runs of at least :data:`CLIP_RUN` at full scale: a peak-normalised file touches it without a run."""
    full_CT = np.abs(wave_CT) >= CLIP_LEVEL
    if not full_CT.any():
        return 0.0
    total = 0
    for full_T in full_CT:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], full_T.view(np.int8), [0]])))
        runs = edges[1::2] - edges[::2]
        total += int(runs[runs >= CLIP_RUN].sum())
    return total / wave_CT.size


def _whole(d: Decoded, s: CleanSettings) -> Dropped | None:
    frames = d.wave_CT.shape[1]
    if not frames:
        return Dropped("quarantined", "no_samples", "the file decodes to no samples at all")
    missing = (d.declared_frames - frames) / d.sample_rate if d.declared_frames is not None else 0.0
    if missing > s.max_length_mismatch:
        return Dropped("quarantined", "truncated", f"its header promises {missing:.2f} s more than the {frames / d.sample_rate:.2f} s it holds")
    return None


def _finite(d: Decoded, s: CleanSettings) -> Dropped | None:
    bad = d.wave_CT.size - int(np.isfinite(d.wave_CT).sum())
    return Dropped("quarantined", "not_finite", f"{bad} of {d.wave_CT.size} samples are NaN or infinite") if bad else None


def _rate(d: Decoded, s: CleanSettings) -> Dropped | None:
    if d.sample_rate >= s.min_source_rate:
        return None
    return Dropped("filtered", "low_rate", f"{d.sample_rate} Hz is under clean.min_source_rate = {s.min_source_rate}")


def _clipping(d: Decoded, s: CleanSettings) -> Dropped | None:
    share = clipped_share(d.wave_CT)
    return Dropped("filtered", "clipped", f"{share:.2%} of samples clip; clean.max_clipped = {s.max_clipped:.2%}") if share > s.max_clipped else None


STORED_RULES: tuple[Callable[[Decoded, CleanSettings], Dropped | None], ...] = (_whole, _finite, _rate, _clipping)


def _length(f: AudioFacts, s: CleanSettings) -> Dropped | None:
    if f.seconds_out < s.min_seconds:
        return Dropped("filtered", "too_short", f"{f.seconds_out:.2f} s is under clean.min_seconds = {s.min_seconds:g}")
    if f.seconds_out > s.max_seconds:
        return Dropped("filtered", "too_long_utterance", f"{f.seconds_out:.2f} s is over clean.max_seconds = {s.max_seconds:g}")
    return None


def _silence(f: AudioFacts, s: CleanSettings) -> Dropped | None:
    return Dropped("filtered", "silent", f"{f.silence:.0%} is silence; clean.max_silence = {s.max_silence:.0%}") if f.silence > s.max_silence else None


def _loudness(f: AudioFacts, s: CleanSettings) -> Dropped | None:
    if f.loudness_db < s.min_loudness_db:
        return Dropped("filtered", "too_quiet", f"{f.loudness_db:.1f} dB is under clean.min_loudness_db = {s.min_loudness_db:g}")
    if f.loudness_db > s.max_loudness_db:
        return Dropped("filtered", "too_loud", f"{f.loudness_db:.1f} dB is over clean.max_loudness_db = {s.max_loudness_db:g}")
    return None


HEARD_RULES: tuple[Callable[[AudioFacts, CleanSettings], Dropped | None], ...] = (_length, _silence, _loudness)


def _mono(d: Decoded, wanted: int | Literal["mix"]) -> np.ndarray | Dropped:
    """``wave_T``: one channel, or the mean of all."""
    channels = len(d.wave_CT)
    if wanted == "mix" or channels == 1:
        return d.wave_CT[0] if channels == 1 else d.wave_CT.mean(axis=0)
    if not 0 <= wanted < channels:
        return Dropped("quarantined", "no_such_channel", f"channel {wanted} is asked for; the recording has {channels}")
    return d.wave_CT[wanted]


def _resampled(wave_T: np.ndarray, source_rate: int, rate: int) -> np.ndarray:
    if source_rate == rate:
        return wave_T
    import soxr

    return soxr.resample(wave_T, source_rate, rate, quality="HQ")


def _trimmed(wave_T: np.ndarray, level_F: np.ndarray, rate: int, s: CleanSettings) -> tuple[int, int]:
    """First and last sample that stay."""
    if not s.trim:
        return 0, len(wave_T)
    size = max(round(FRAME_SECONDS * rate), 1)
    loud_F = np.flatnonzero(level_F > level_F.max() * 10 ** (s.trim_db / 20))
    keep = round(s.trim_keep * rate)
    return max(int(loud_F[0]) * size - keep, 0), min((int(loud_F[-1]) + 1) * size + keep, len(wave_T))


def clean(decoded: Decoded, settings: CleanSettings, sample_rate: int, channel: int | None = None) -> Clean | Dropped:
    """Mono sound at ``sample_rate`` that passed every rule, or the first rule it did not pass. Pure."""
    for rule in STORED_RULES:
        if (dropped := rule(decoded, settings)) is not None:
            return dropped
    mono_T = _mono(decoded, settings.channel if channel is None else channel)
    if isinstance(mono_T, Dropped):
        return mono_T
    wave_T = _resampled(mono_T, decoded.sample_rate, sample_rate)
    level_F = levels(wave_T, sample_rate)
    if not len(level_F) or decibels(float(level_F.max())) < SILENT_DB:
        return Dropped("filtered", "silent", f"no frame is louder than {SILENT_DB:g} dB of full scale")
    first, end = _trimmed(wave_T, level_F, sample_rate, settings)
    wave_T, level_F = wave_T[first:end], levels(wave_T[first:end], sample_rate)
    facts, rms = _measure(decoded, wave_T, level_F, first, sample_rate, settings)
    for heard_rule in HEARD_RULES:
        if (dropped := heard_rule(facts, settings)) is not None:
            return dropped
    pcm_T = _pcm(wave_T, rms, settings.normalise_db)
    return Clean(pcm_T.astype(np.float32) / np.float32(32768), replace(facts, pcm_hash=content_hash(pcm_T.tobytes())))


def _measure(
    d: Decoded, wave_T: np.ndarray, level_F: np.ndarray, first: int, rate: int, s: CleanSettings
) -> tuple[AudioFacts, float]:
    """The facts, and the RMS of the frames that are not silence."""
    loud_F = level_F > level_F.max() * 10 ** (s.trim_db / 20)
    rms = float(np.sqrt((level_F[loud_F] ** 2).mean()))
    facts = AudioFacts(
        source_rate=d.sample_rate, channels=len(d.wave_CT), seconds_in=round(d.wave_CT.shape[1] / d.sample_rate, 6),
        seconds_out=round(len(wave_T) / rate, 6), trim_start=round(first / rate, 6), loudness_db=decibels(rms),
        peak_db=decibels(float(np.abs(wave_T).max())), clipped=round(clipped_share(d.wave_CT), 6),
        silence=round(1 - float(loud_F.mean()), 6),
    )  # fmt: skip
    return facts, rms


def _pcm(wave_T: np.ndarray, rms: float, target_db: float | None) -> np.ndarray:
    """int16 samples: what is tokenized, hashed and heard is one thing. Gain stops where a peak would clip."""
    gain = 1.0
    if target_db is not None:
        gain = min(10 ** (target_db / 20) / rms, 0.999 / float(np.abs(wave_T).max()))
    return np.clip(np.rint(wave_T * np.float64(gain) * 32768), -32768, 32767).astype(np.int16)
