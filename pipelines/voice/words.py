"""What a talker is told to say: a text, or text states of a language model.

Legend: S text states, W their width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from manifests.fingerprint import sha256
from manifests.text_states import StatesError, states_of
from pipelines.voice.errors import SpeakError

States = npt.NDArray[np.float32]
Words = str | States


def name_of(words: Words) -> str:
    """What draws depend on: a text itself, or a hash of given states."""
    return words if isinstance(words, str) else sha256(words.tobytes())


def read_states(path: str) -> States:
    """``states_SW`` of a ``.npy`` file. Raises :class:`SpeakError` where it is not there, or holds no text states."""
    try:
        return states_of(Path(path).read_bytes()).astype(np.float32)
    except OSError as error:
        raise SpeakError(f"--states {path}: cannot be read: {error.strerror}") from None
    except StatesError as error:
        raise SpeakError(f"--states {path}: {error}") from None
