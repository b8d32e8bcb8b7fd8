"""DNSMOS P.835 (Reddy, Gopal, Cutler 2022): what listeners would say of speech, noise and the whole, by a network in an ONNX file.

The file is Microsoft's ``sig_bak_ovr.onnx`` (of pDNSMOS, where ``personalised``). As in its own script: 16 kHz, windows of 9.01 s a second
apart, shorter sounds repeated, the network's answers brought to the scale of listeners by its polynomials, windows averaged.

Legend: wave_T at 16 kHz; answer_WO by window: speech, background, overall.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from manifests.settings.scores import DnsmosSettings
from tokenization.scores.base import Score, ScoreError, Sound, Values

RATE = 16_000
SECONDS = 9.01
SAMPLES = int(SECONDS * RATE)
COLUMNS = ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl")
SCALES = (  # coefficients, highest power first, by column
    (
        (-0.08397278, 1.22083953, 0.0052439),
        (-0.13166888, 1.60915514, -0.39604546),
        (-0.06766283, 1.11546468, 0.04602535),
    ),
    (
        (-0.01019296, 0.02751166, 1.19576786, -0.24348726),
        (-0.04976499, 0.44276479, -0.1644611, 0.96883132),
        (-0.00533021, 0.005101, 1.18058466, -0.11236046),
    ),
)  # of DNSMOS, of pDNSMOS


def opened(settings: DnsmosSettings) -> Score:
    """The score, its model loaded. Raises :class:`ScoreError` where model or library are not here, or not the right ones."""
    data = _read(settings)
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError as error:
        raise ScoreError(f"scores.dnsmos needs onnxruntime ({error}): pip install 'speechmill[dnsmos]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # sums do not depend on the machine's cores
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        [given], [made] = session.get_inputs(), session.get_outputs()
        answer = session.run([made.name], {given.name: np.zeros((1, SAMPLES), np.float32)})[0]
    except Exception as error:  # the library's errors share no base
        raise ScoreError(
            f"scores.dnsmos.model: {settings.model} is not DNSMOS P.835 ({' '.join(str(error).split())[:200]}): "
            "give the file sig_bak_ovr.onnx"
        ) from error
    if np.shape(answer) != (1, len(COLUMNS)):
        raise ScoreError(
            f"scores.dnsmos.model: {settings.model} answers {np.shape(answer)}, not (1, 3): give sig_bak_ovr.onnx"
        )
    return _Dnsmos(session, given.name, SCALES[settings.personalised])


def pinned(settings: DnsmosSettings) -> DnsmosSettings:
    """``settings`` that say exactly which model: its checksum, and a place that every process finds. Raises :class:`ScoreError`."""
    data = _read(settings)
    place = str(Path(settings.model).expanduser().resolve())
    return settings.model_copy(update={"checksum": hashlib.sha256(data).hexdigest(), "model": place})


def _read(settings: DnsmosSettings) -> bytes:
    if not settings.model:
        raise ScoreError("scores.dnsmos.model: where is the ONNX file of DNSMOS? give its path")
    try:
        data = Path(settings.model).expanduser().read_bytes()
    except OSError as error:
        raise ScoreError(f"scores.dnsmos.model: {settings.model} cannot be read ({error.strerror})") from error
    found = hashlib.sha256(data).hexdigest()
    if settings.checksum not in (None, found):
        raise ScoreError(
            f"scores.dnsmos.model: {settings.model} has SHA-256 {found}, the recipe (scores.dnsmos.checksum) says "
            f"{settings.checksum}: another model gives other scores"
        )
    return data


class _Dnsmos:
    def __init__(self, session: Any, given: str, scales: tuple[tuple[float, ...], ...]) -> None:
        self._session, self._given, self._scales = session, given, scales

    def __call__(self, sound: Sound) -> Values:
        """The three scores, to a hundredth."""
        windows = _windows(_at_rate(sound.stored_T, sound.rate))
        answer_WO = np.concatenate([self._session.run(None, {self._given: w_T[None]})[0] for w_T in windows])
        means = [np.polyval(scale, answer_WO[:, o].astype(np.float64)).mean() for o, scale in enumerate(self._scales)]
        return {name: round(float(mean), 2) for name, mean in zip(COLUMNS, means, strict=True)}


def _at_rate(wave_T: np.ndarray, rate: int) -> np.ndarray:
    if rate == RATE:
        return wave_T
    import soxr

    return soxr.resample(wave_T, rate, RATE, quality="HQ")


def _windows(wave_T: np.ndarray) -> list[np.ndarray]:
    """Windows a second apart; of a shorter sound one, in which it is repeated. The last part of a second is not heard."""
    while len(wave_T) < SAMPLES:
        wave_T = np.concatenate([wave_T, wave_T])
    starts = range(0, max(len(wave_T) // RATE * RATE - SAMPLES, 0) + 1, RATE)
    return [np.ascontiguousarray(wave_T[start : start + SAMPLES], np.float32) for start in starts]
