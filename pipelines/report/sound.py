"""Sound as data URIs: encoded for the browser's player, and as a picture of its log-mel spectrum.

Legend: wave_T mono float32; mel_FM log-mel (frames x bands); image_HW palette indices; palette_C3 colours;
codes_FQ codes.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

MELS = 80
FLOOR_DB = 70.0  # what lies further below the loudest point is drawn black
MAX_COLUMNS = 800
WINDOW_SECONDS = 0.032
BYTES_PER_SAMPLE_FLAC = 1.3  # measured on 16-bit speech: 0.9 to 1.2


def data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def flac_fits(samples: int, budget: int) -> bool:
    """Whether so many samples, losslessly encoded, stay within ``budget`` bytes."""
    return samples * BYTES_PER_SAMPLE_FLAC <= budget


def audio_uri(wave_T: npt.NDArray[Any], sample_rate: int, lossless: bool) -> str:
    """``wave_T`` as FLAC or Ogg Vorbis. Samples beyond full scale are clipped, as any player would."""
    import soundfile

    out = io.BytesIO()
    wave_T = np.clip(np.nan_to_num(np.asarray(wave_T, np.float32)), -1, 1)
    kind, subtype, mime = ("FLAC", "PCM_16", "audio/flac") if lossless else ("OGG", "VORBIS", "audio/ogg")
    with soundfile.SoundFile(out, "w", sample_rate, 1, subtype, format=kind) as file:
        for start in range(0, len(wave_T), sample_rate):  # Vorbis: libsndfile overflows its stack on one long write
            file.write(wave_T[start : start + sample_rate])
    return data_uri(mime, out.getvalue())


def mel_filters(sample_rate: int, bins: int, mels: int = MELS) -> npt.NDArray[np.float64]:
    """``filters_WM``: triangles evenly spaced on the HTK mel scale up to half the sample rate."""
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    bins_W = np.linspace(0, sample_rate / 2, bins)[:, None]
    rising_WM = (bins_W - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling_WM = (corners[2:] - bins_W) / (corners[2:] - corners[1:-1])
    return np.maximum(np.minimum(rising_WM, falling_WM), 0)


def log_mel(wave_T: npt.NDArray[Any], sample_rate: int) -> npt.NDArray[np.float64]:
    """``mel_FM`` in decibels below the loudest point, ``-FLOOR_DB`` at least; at most :data:`MAX_COLUMNS` frames."""
    window = max(int(WINDOW_SECONDS * sample_rate), 16)
    size = 1 << max(window - 1, 1023).bit_length()  # enough bins that the lowest bands are not empty
    hop = max(sample_rate // 100, -(-len(wave_T) // MAX_COLUMNS), 1)
    padded_T = np.pad(np.nan_to_num(np.asarray(wave_T, np.float64)), window // 2)
    frames_FT = np.lib.stride_tricks.sliding_window_view(padded_T, min(window, len(padded_T)))[::hop]
    power_FW = np.abs(np.fft.rfft(frames_FT * np.hanning(frames_FT.shape[1]), size, axis=1)) ** 2
    power_FM = power_FW @ mel_filters(sample_rate, size // 2 + 1)
    decibels_FM = 10 * np.log10(np.maximum(power_FM, 1e-12))
    return np.clip(decibels_FM - decibels_FM.max(initial=-120), -FLOOR_DB, 0)


def palette_png(image_HW: npt.NDArray[np.uint8], palette_C3: npt.NDArray[np.uint8]) -> bytes:
    """An 8-bit palette PNG (PNG specification, sections 5 and 11)."""
    height, width = image_HW.shape
    rows = np.hstack([np.zeros((height, 1), np.uint8), image_HW]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", palette_C3.tobytes()), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _colours(name: str) -> npt.NDArray[np.uint8]:
    """64 colours of a matplotlib map: as many as the eye tells apart here, at half the bytes of 256."""
    import matplotlib

    return (matplotlib.colormaps[name](np.linspace(0, 1, 64))[:, :3] * 255).round().astype(np.uint8)


def spectrogram_uri(wave_T: npt.NDArray[Any], sample_rate: int) -> str:
    """The log-mel of a waveform as a PNG, low bands at the bottom."""
    mel_FM = log_mel(wave_T, sample_rate)
    image_HW = np.round((mel_FM.T[::-1] / FLOOR_DB + 1) * 63).astype(np.uint8)
    return data_uri("image/png", palette_png(np.ascontiguousarray(image_HW), _colours("magma")))


def codes_uri(codes_FQ: npt.NDArray[Any]) -> str:
    """The codes as a strip, one row a codebook: equal codes have equal colours, neighbouring codes far ones."""
    golden = 0.6180339887498949
    image_HW = ((codes_FQ.T.astype(np.float64) * golden % 1) * 64).astype(np.uint8)
    return data_uri("image/png", palette_png(np.ascontiguousarray(image_HW), _colours("twilight_shifted")))
