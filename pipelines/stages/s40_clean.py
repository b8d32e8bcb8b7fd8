"""Clean: the rules that sound must pass, each a small pure function that lets it pass or says why not, in a fixed order.

Quarantined is what is broken (the file does not hold what it should); filtered is what is sound but unwanted. A file that is
shorter or longer than it promises is broken, not unwanted: its text no longer belongs to its sound.

Legend: wave_CT channels x samples as stored, used_CT the channels in use, wave_T mono; float32, full scale 1.0. level_F is RMS
by 20 ms frame. pcm_T is int16.
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
QUIETEST_DB = -120.0
CLIP_LEVEL, CLIP_RUN = 0.98, 3  # a plateau: so many samples at one value, or at full scale, no lower than this
FULL_SCALE = 32767 / 32768
CANCELLED_DB = -20.0  # a mix that is so far below its channels holds little of them
CANCELLED = "its channels cancel each other out when mixed: choose one with clean.channel"
PEAK = 0.999  # normalising never lifts a peak above this

REASONS: Mapping[str, str] = {
    # the file
    "empty_file": "the file has no bytes",
    "not_audio": "no decoder reads the file",
    "no_audio": "the file holds no audio stream",
    "unsupported": "no decoder here knows its codec",
    "lfs_pointer": "a Git LFS pointer stands in for the file",
    "bad_header": "its header makes no sense",
    "decode_failed": "decoding breaks off with an error",
    "changing_format": "its channels or sample rate change midway",
    "too_long": "it decodes to more than the limits of the recipe",
    # what was decoded
    "no_samples": "it decodes to nothing",
    "truncated": "much shorter than its header or the corpus says",
    "length_mismatch": "much longer than its header says",
    "no_such_channel": "the recording has no such channel",
    "not_finite": "samples are NaN or infinite",
    "low_rate": "its sample rate is under the recipe's limit",
    "clipped": "distorted by clipping",
    # what is heard
    "silent": "nothing but silence, or mostly",
    "too_short": "shorter than the recipe's limit",
    "too_long_utterance": "longer than the recipe's limit",
    "too_quiet": "speech is quieter than the recipe's limit",
    "too_loud": "speech is louder than the recipe's limit",
    # the corpus
    "no_speech": "nobody speaks in the recording",
    "text_without_times": "too long to be one utterance, and its text does not say what is said when",
    "duplicate_audio": "the same sound and text as an earlier utterance",
    "near_duplicate_text": "its text is nearly that of another utterance",
    "near_duplicate_audio": "the same recording as another utterance, in another form",
    "duplicate_id": "its id occurs earlier in the corpus",
    "missing_audio": "the corpus names a sound that is not there",
    "missing_units": "the recipe takes tokens of the corpus, and it has none",
    "outside_root": "the corpus points outside its root",
    "bad_line": "the corpus lists it in a line that cannot be read",
    "bad_transcript": "the transcript that lies beside it cannot be believed",
    "overlap": "it overlaps another caption of the same speaker",
    "unreadable_text": "the file that holds its text cannot be read",
    "bad_encoding": "its text is not valid UTF-8",
    "bad_cell": "the corpus names a table cell that is not there",
    "bad_range": "the corpus names bytes beyond the end of the file",
    "broken_tar": "the tar that should hold it is damaged",
    "broken_table": "the table that should hold it is damaged",
    "packed_tar": "its tar is compressed and cannot be read at random",
    "pipe_refused": "the corpus would have a command run to get it",
    "archive_refused": "its archive format is not read",
    "unsupported_cut": "a Lhotse cut of a kind that is not read",
    "too_big": "the file is larger than may be fetched",
    "not_a_file": "a folder, link, pipe or device stands in for the file",
    "no_permission": "this user may not read the file",
    "unreadable_file": "the file cannot be opened",
    # what a recogniser heard of it
    "text_mismatch": "its text is not what the recogniser hears",
    "wrong_language": "it is spoken in another language than the corpus says",
    "heard_nothing": "the recogniser hears no words in it, and it has no other text",
    "heard_loop": "the recogniser repeats itself, as it does where it does not understand",
    "heard_no_speech": "the recogniser thinks that nobody speaks",
    "heard_unlikely": "the recogniser is not sure of what it hears",
    "heard_too_fast": "more is heard than can be spoken in its time",
    # the work
    "worker_died": "the process that worked on it died",
    "worker_stalled": "the process that worked on it stood still",
    "encode_failed": "the speech tokenizer cannot encode it",
    "recognise_failed": "the recogniser cannot hear it",
    "bad_units": "the tokens that came with it are not valid",
}


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What was measured on the way: seconds, dB of full scale, shares of one. Rounded, so that equal sound gives equal JSON.

    trim_start, trim_end   seconds cut off at either end
    loudness_db            RMS of the frames that are not silence, before normalising
    clipped                share of samples on plateaus at full scale, as stored
    silence                share of frames that are silence, trimmed
    pcm_hash               128-bit BLAKE2b of the cleaned int16 samples
    """

    source_rate: int
    channels: int
    seconds_in: float
    seconds_out: float
    trim_start: float
    trim_end: float
    loudness_db: float
    peak_db: float
    clipped: float
    silence: float
    pcm_hash: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Clean:
    """Sound that passed: ``wave_T`` mono at the tokenizer's rate, each sample a multiple of 1/32768."""

    wave_T: np.ndarray
    facts: AudioFacts


@dataclass(frozen=True, slots=True)
class Dropped:
    """Sound that did not pass: a code of :data:`REASONS`, and a sentence with its numbers."""

    status: Literal["filtered", "quarantined"]
    reason: str
    detail: str


@dataclass(frozen=True)
class _Stored:
    """What the first rules look at: the decode, and the channels in use."""

    decoded: Decoded
    used_CT: np.ndarray
    clipped: float

    @property
    def seconds(self) -> float:
        return self.decoded.wave_CT.shape[1] / self.decoded.sample_rate


@dataclass(frozen=True)
class _Heard:
    """What the later rules look at: mono, resampled, trimmed."""

    wave_T: np.ndarray
    rate: int
    cut_start: int
    cut_end: int
    rms: float
    peak: float
    silence: float

    @property
    def seconds(self) -> float:
        return len(self.wave_T) / self.rate


@dataclass
class Mixing:
    """The energy of channels and of their mix, from pieces of any length: tells where one is the other turned upside down."""

    channels: float = 0.0
    mix: float = 0.0

    def add(self, wave_CT: np.ndarray) -> None:
        self.channels += float(np.einsum("ct,ct->", wave_CT, wave_CT, dtype=np.float64)) / max(len(wave_CT), 1)
        mix_T = _mono(wave_CT)
        self.mix += float(np.einsum("t,t->", mix_T, mix_T, dtype=np.float64))

    def explained(self, dropped: Dropped) -> Dropped:
        """``dropped``, with the cause where it is the mixing."""
        if not self.mix < self.channels * 10 ** (CANCELLED_DB / 10):
            return dropped
        return replace(dropped, detail=f"{dropped.detail}; {CANCELLED}")


def decibels(value: float) -> float:
    """Amplitude in dB of full scale, rounded to a hundredth; at least :data:`QUIETEST_DB`."""
    return round(max(20 * float(np.log10(max(value, 1e-12))), QUIETEST_DB), 2)


def levels(wave_T: np.ndarray, rate: int) -> np.ndarray:
    """``level_F``: RMS of each 20 ms frame, the last one filled with zeros."""
    size = _frame_size(rate)
    whole = len(wave_T) // size
    frames_FS = wave_T[: whole * size].reshape(whole, size)
    power_F = np.einsum("fs,fs->f", frames_FS, frames_FS, dtype=np.float64)
    if len(rest_T := wave_T[whole * size :].astype(np.float64)):
        power_F = np.append(power_F, rest_T @ rest_T)
    return np.sqrt(power_F / size)


def _frame_size(rate: int) -> int:
    return max(round(FRAME_SECONDS * rate), 1)


def clipped_share(wave_CT: np.ndarray) -> float:
    """Share of samples on plateaus: at least :data:`CLIP_RUN` neighbours at one value, or at full scale, near full scale.

    A recording that is only loud, or normalised to its peak, touches full scale without staying there.
    """
    total = sum(_on_plateaus(wave_T) for wave_T in wave_CT)
    return total / wave_CT.size if wave_CT.size else 0.0


def _on_plateaus(wave_T: np.ndarray) -> int:
    loud = np.flatnonzero(np.abs(wave_T) >= CLIP_LEVEL)
    if len(loud) < CLIP_RUN:
        return 0
    value = np.clip(wave_T[loud], -FULL_SCALE, FULL_SCALE)
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(loud) > 1) | (np.diff(value) != 0)]))
    runs = np.diff(np.append(starts, len(loud)))
    return int(runs[runs >= CLIP_RUN].sum())


def _length_kept(x: _Stored, s: CleanSettings) -> Dropped | None:
    return length_kept(x.decoded, s)


def length_kept(d: Decoded, s: CleanSettings) -> Dropped | None:
    """Why what was decoded is not what was promised; None where it is."""
    frames = d.wave_CT.shape[1]
    promised = d.declared_frames if d.declared_frames is not None else frames
    off = (frames - promised) / d.sample_rate
    if not frames:
        said = f", though {promised / d.sample_rate:.2f} s are promised" if promised else ""
        return Dropped("quarantined", "no_samples", f"it decodes to no samples at all{said}")
    if d.broken_off:
        return Dropped(
            "quarantined", "truncated", f"after {frames / d.sample_rate:.2f} s the file ends in the middle of a page"
        )
    if -off > s.max_length_mismatch:
        limit = f"clean.max_length_mismatch = {s.max_length_mismatch:g}"
        return Dropped(
            "quarantined",
            "truncated",
            f"{promised / d.sample_rate:.2f} s are promised, {frames / d.sample_rate:.2f} s are there; {limit}",
        )
    if off > s.max_length_mismatch:
        return Dropped(
            "quarantined",
            "length_mismatch",
            f"its header says {promised / d.sample_rate:.2f} s, {frames / d.sample_rate:.2f} s are there",
        )
    return None


def _finite(x: _Stored, s: CleanSettings) -> Dropped | None:
    with np.errstate(invalid="ignore"):
        if np.isfinite(x.used_CT.sum(dtype=np.float64)):  # one pass: no sum of finite samples overflows float64
            return None
    bad = int((~np.isfinite(x.used_CT)).sum())
    return Dropped("quarantined", "not_finite", f"{bad} of {x.used_CT.size} samples are NaN or infinite")


def _rate(x: _Stored, s: CleanSettings) -> Dropped | None:
    if x.decoded.sample_rate >= s.min_source_rate:
        return None
    return Dropped(
        "filtered", "low_rate", f"{x.decoded.sample_rate} Hz is under clean.min_source_rate = {s.min_source_rate}"
    )


def _enough(x: _Stored, s: CleanSettings) -> Dropped | None:
    return _too_short(x.seconds, s)


def _clipping(x: _Stored, s: CleanSettings) -> Dropped | None:
    if x.clipped <= s.max_clipped:
        return None
    return Dropped("filtered", "clipped", f"{x.clipped:.2%} of samples clip; clean.max_clipped = {s.max_clipped:.2%}")


STORED_RULES: tuple[Callable[[_Stored, CleanSettings], Dropped | None], ...] = (
    _length_kept, _finite, _rate, _enough, _clipping,
)  # fmt: skip


def _too_short(seconds: float, s: CleanSettings) -> Dropped | None:
    if seconds and seconds >= s.min_seconds:
        return None
    return Dropped("filtered", "too_short", f"{seconds:.4g} s is under clean.min_seconds = {s.min_seconds:g}")


def _length(x: _Heard, s: CleanSettings) -> Dropped | None:
    if x.seconds > s.max_seconds:
        return Dropped(
            "filtered", "too_long_utterance", f"{x.seconds:.2f} s is over clean.max_seconds = {s.max_seconds:g}"
        )
    return _too_short(x.seconds, s)


def _silence(x: _Heard, s: CleanSettings) -> Dropped | None:
    if x.silence <= s.max_silence:
        return None
    return Dropped("filtered", "silent", f"{x.silence:.1%} is silence; clean.max_silence = {s.max_silence:.1%}")


def _loudness(x: _Heard, s: CleanSettings) -> Dropped | None:
    db = decibels(x.rms)
    if db < s.min_loudness_db:
        return Dropped("filtered", "too_quiet", f"{db:.1f} dB is under clean.min_loudness_db = {s.min_loudness_db:g}")
    if db > s.max_loudness_db:
        return Dropped("filtered", "too_loud", f"{db:.1f} dB is over clean.max_loudness_db = {s.max_loudness_db:g}")
    return None


HEARD_RULES: tuple[Callable[[_Heard, CleanSettings], Dropped | None], ...] = (_length, _silence, _loudness)


def clean(decoded: Decoded, settings: CleanSettings, sample_rate: int, channel: int | None = None) -> Clean | Dropped:
    """Mono sound at ``sample_rate`` (Hz) that passed every rule, or the first rule it did not pass.

    ``channel`` is the cut's own, where it has one; a channel that is not used can spoil nothing. A pure function.
    """
    stored = _stored(decoded, settings.channel if channel is None else channel)
    if isinstance(stored, Dropped):
        return stored
    for rule in STORED_RULES:
        if (dropped := rule(stored, settings)) is not None:
            return dropped
    heard = _heard(_centred(_resampled(_mono(stored.used_CT), decoded.sample_rate, sample_rate)), sample_rate, settings)
    if isinstance(heard, Dropped):
        return _explained(heard, stored)
    for heard_rule in HEARD_RULES:
        if (dropped := heard_rule(heard, settings)) is not None:
            return _explained(dropped, stored)
    pcm_T = _pcm(heard, settings.normalise_db)
    return Clean(pcm_T * np.float32(1 / 32768), _facts(stored, heard, content_hash(pcm_T.tobytes())))


def as_stored(decoded: Decoded, settings: CleanSettings, channel: int | None = None) -> np.ndarray:
    """Mono sound at its own rate, without DC offset: what scores are measured on. Of a decode that :func:`clean` let pass."""
    wanted = settings.channel if channel is None else channel
    if wanted == "mix" or len(decoded.wave_CT) == 1:
        return _centred(_mono(decoded.wave_CT))
    return _centred(_mono(decoded.wave_CT[wanted : wanted + 1]))


def _explained(dropped: Dropped, x: _Stored) -> Dropped:
    """Whether the recording is to blame for what is too quiet, or the mixing of its channels."""
    if dropped.reason not in ("silent", "too_quiet"):
        return dropped
    mixing = Mixing()
    mixing.add(x.used_CT - x.used_CT.mean(axis=1, keepdims=True, dtype=np.float64))  # an offset does not cancel out
    return mixing.explained(dropped)


def _stored(d: Decoded, wanted: int | Literal["mix"]) -> _Stored | Dropped:
    """The channels in use: one, or all of them."""
    channels = len(d.wave_CT)
    if wanted == "mix" or channels == 1:  # of a mono file there is nothing to choose, whatever side of a call it was
        used_CT = d.wave_CT
    elif 0 <= wanted < channels:
        used_CT = np.ascontiguousarray(d.wave_CT[wanted : wanted + 1])
    else:
        return Dropped("quarantined", "no_such_channel", f"channel {wanted} is asked for; the recording has {channels}")
    return _Stored(d, used_CT, clipped_share(used_CT))


def _mono(used_CT: np.ndarray) -> np.ndarray:
    return used_CT[0] if len(used_CT) == 1 else used_CT.mean(axis=0)


def _resampled(wave_T: np.ndarray, source_rate: int, rate: int) -> np.ndarray:
    if source_rate == rate:
        return wave_T
    import soxr

    return soxr.resample(wave_T, source_rate, rate, quality="HQ")


def _centred(wave_T: np.ndarray) -> np.ndarray:
    """Without its DC offset, which would count as loudness and take room from peaks."""
    return wave_T - np.float32(wave_T.mean(dtype=np.float64)) if len(wave_T) else wave_T


def _heard(wave_T: np.ndarray, rate: int, s: CleanSettings) -> _Heard | Dropped:
    """Trimmed and measured. Silence is what lies far below the loudest frame."""
    level_F = levels(wave_T, rate)
    loudest = float(level_F.max(initial=0.0))
    if decibels(loudest) < SILENT_DB:
        return Dropped("filtered", "silent", f"no part of it is louder than {SILENT_DB:g} dB of full scale")
    floor = loudest * 10 ** (s.trim_db / 20)
    first, end = _kept(np.flatnonzero(level_F > floor), len(wave_T), rate, s) if s.trim else (0, len(wave_T))
    part_T = wave_T[first:end]
    level_F = levels(part_T, rate)
    loud_F = level_F > floor
    rms = float(np.sqrt((level_F[loud_F] ** 2).mean()))  # never of nothing: trim_db leaves room for a frame cut in two
    peak = max(float(part_T.max()), -float(part_T.min()))
    return _Heard(part_T, rate, first, len(wave_T) - end, rms, peak, 1 - float(loud_F.mean()))


def _kept(loud: np.ndarray, samples: int, rate: int, s: CleanSettings) -> tuple[int, int]:
    """First and last sample that stay, given the frames that are not silence."""
    size, keep = _frame_size(rate), round(s.trim_keep * rate)
    return max(int(loud[0]) * size - keep, 0), min((int(loud[-1]) + 1) * size + keep, samples)


def _pcm(x: _Heard, target_db: float | None) -> np.ndarray:
    """int16 samples: what is tokenized, hashed and heard is one thing. Gain stops where a peak would clip."""
    gain = 1.0 if target_db is None else min(10 ** (target_db / 20) / x.rms, PEAK / x.peak)
    scaled_T = x.wave_T * np.float32(gain * 32768)
    np.rint(scaled_T, out=scaled_T)
    return np.clip(scaled_T, -32768, 32767, out=scaled_T).astype(np.int16)


def _facts(x: _Stored, heard: _Heard, pcm_hash: str) -> AudioFacts:
    return AudioFacts(
        source_rate=x.decoded.sample_rate, channels=len(x.decoded.wave_CT),
        seconds_in=round(x.seconds, 6), seconds_out=round(heard.seconds, 6),
        trim_start=round(heard.cut_start / heard.rate, 6), trim_end=round(heard.cut_end / heard.rate, 6),
        loudness_db=decibels(heard.rms), peak_db=decibels(heard.peak),
        clipped=round(x.clipped, 6), silence=round(heard.silence, 6), pcm_hash=pcm_hash,
    )  # fmt: skip
