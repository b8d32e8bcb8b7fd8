"""Sounds for tests: made here, encoded in memory.

Legend: wave_T mono, wave_CT channels x samples; float32, full scale 1.0.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from manifests.audio.decode import DecodeLimits

LIMITS = DecodeLimits(max_seconds=600, max_bytes=2**30)
SOUNDFILE = {
    "wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"), "aiff": ("AIFF", "PCM_16"), "sph": ("NIST", "PCM_16"), "au": ("AU", "PCM_16"),
    "rf64": ("RF64", "PCM_16"), "w64": ("W64", "PCM_16"),
}  # fmt: skip


def voice(seconds: float, rate: int = 16_000, seed: int = 0, peak: float = 0.5) -> np.ndarray:
    """``wave_T`` something like speech: a buzz in noise, its loudness rising and falling four times a second."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(t))
    wave_T = (np.sin(2 * np.pi * 180 * t) + 0.5 * np.sin(2 * np.pi * 720 * t) + 0.1 * noise) * (
        0.6 + 0.4 * np.sin(8 * np.pi * t)
    )
    return (wave_T * peak / max(np.abs(wave_T).max(initial=0), 1e-9)).astype(np.float32)


def encode(wave: np.ndarray, rate: int = 16_000, kind: str = "wav", subtype: str | None = None) -> bytes:
    """Sound (``wave_T`` or ``wave_CT``) as a file of one of :data:`SOUNDFILE`."""
    import soundfile

    container, usual = SOUNDFILE[kind]
    file = io.BytesIO()
    soundfile.write(file, wave.T, rate, format=container, subtype=subtype or usual)
    return file.getvalue()


def encode_av(wave_CT: np.ndarray, rate: int, container: str, codec: str, streams: int = 1) -> bytes:
    """Sound as FFmpeg writes it: m4a (ipod, aac), webm (webm, libopus), ... in one or several equal streams."""
    import av

    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo"}[len(wave_CT)]
    with av.open(file, "w", format=container) as out:
        tracks: list[Any] = [out.add_stream(codec, rate=rate, layout=layout) for _ in range(streams)]
        for track in tracks:
            track.bit_rate = 64_000
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave_CT), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            for packet in [*track.encode(frame), *track.encode(None)]:
                out.mux(packet)
    return file.getvalue()


def speech_then_silence() -> np.ndarray:
    """``wave_T`` of 35 s that no estimate from its beginning gets right: loud, 20 s of silence, and loud again."""
    noise_T = 0.3 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    return np.concatenate([noise_T, voice(4.0, seed=1), np.zeros(20 * 16_000, np.float32), voice(10.0, seed=2)])


def untagged_mp3(wave_T: np.ndarray) -> bytes:
    """Mono at 16 kHz as an MP3 of variable bit rate without the first frame, which would tell its length."""
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", 16_000, 1, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    ) as sound:
        sound.write(wave_T)
    data = file.getvalue()
    kilobits = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[(data[2] >> 4) - 1]
    return data[72 * kilobits * 1000 // 16_000 + ((data[2] >> 1) & 1) :]


def correlation(a_T: np.ndarray, b_T: np.ndarray) -> float:
    """How alike two sounds are, at the best shift within 50 ms at 16 kHz; 1.0: the same but for loudness."""
    n = min(len(a_T), len(b_T)) - 1600
    a_T = a_T[800 : 800 + n]
    return max(float(np.corrcoef(a_T, b_T[k : k + n])[0, 1]) for k in range(0, 1600, 4))
