"""Silero VAD (MIT): a small network whose weights the package ``silero-vad`` brings along, run by ONNX Runtime.

The package itself is not imported: doing so loads torch and sets the threads of the whole process. Its model for whole sequences is read from where it is installed.

Legend: wave_T mono float32 at 16 kHz; frames_FS frames of 512 samples, each behind the 64 samples before it; score_F chance of speech.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from manifests.fingerprint import sha256
from manifests.settings.segment import SileroSettings
from tokenization.voice_activity.contract import Detector, DetectorError, Hearing, Threshold

FRAME, CONTEXT = 512, 64
FRAME_MS = 32
BLOCK = 256 * FRAME
STATE = (1, 1, 128)
FILE = "silero_vad_16k_sequence.onnx"
INSTALL = "pip install 'speechmill[vad]'"


class _Silero(Hearing):
    def __init__(self, session: Any) -> None:
        self._session = session
        self._hidden = self._cell = np.zeros(STATE, np.float32)
        self._context_S = np.zeros(CONTEXT, np.float32)
        self._parts: list[np.ndarray] = []

    def hear(self, block_T: np.ndarray) -> None:
        if not len(block_T):
            return
        if short := -len(block_T) % FRAME:
            block_T = np.pad(block_T, (0, short))
        frames_FS = block_T.reshape(-1, FRAME)
        before_FS = np.concatenate([self._context_S[None], frames_FS[:-1, -CONTEXT:]])
        self._context_S = frames_FS[-1, -CONTEXT:].copy()
        score_F, self._hidden, self._cell = self._session.run(
            ["speech_probs", "hn", "cn"],
            {"input": np.concatenate([before_FS, frames_FS], axis=1), "h": self._hidden, "c": self._cell},
        )
        self._parts.append(score_F.reshape(-1))

    def scores(self, level_G: np.ndarray) -> np.ndarray:
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)


def model_file() -> Path:
    """Where the package keeps its model. Raises :class:`DetectorError` where the extra is not installed, or is one of another shape."""
    try:
        version("onnxruntime")
        spec = find_spec("silero_vad")
    except PackageNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise DetectorError(f"the detector silero needs the packages silero-vad and onnxruntime: {INSTALL}")
    path = Path(spec.origin).parent / "data" / FILE
    if not path.is_file():
        raise DetectorError(f"this release of silero-vad has no {FILE}: {INSTALL}")
    return path


def open_silero(settings: SileroSettings) -> Detector:
    """Raises :class:`DetectorError`."""
    path = model_file()
    threshold = Threshold(settings.onset, settings.offset)
    session: list[Any] = []  # made with the first recording: whoever only asks for the version loads nothing

    def begin() -> Hearing:
        if not session:
            session.append(_session(path))
        return _Silero(session[0])

    return Detector("silero", sha256(path.read_bytes())[:16], BLOCK, FRAME_MS, threshold, begin)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
