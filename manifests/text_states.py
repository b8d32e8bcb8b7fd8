"""Text states of a language model, as files bring them: one ``.npy`` array for each utterance.

Legend: S text states, W their width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from manifests.shards import npy

States = npt.NDArray[np.float16] | npt.NDArray[np.float32]


class StatesError(ValueError):
    """Bytes that are no text states of the wanted width: says what they are."""


def states_of(data: bytes | memoryview, width: int | None = None) -> States:
    """``states_SW`` of the bytes of a ``.npy`` file, of the type they are written in; ``width``: None for any. Raises :class:`StatesError`."""
    try:
        found = npy.load(data)
    except npy.NpyError as error:
        raise StatesError(str(error)) from None
    if found.dtype not in (np.float16, np.float32) or found.ndim != 2 or not found.size:
        wanted = "width" if width is None else width
        raise StatesError(
            f"{found.dtype} of shape {found.shape}, not float16 or float32 of one or more states x {wanted}"
        )
    if width is not None and found.shape[1] != width:
        raise StatesError(f"states of width {found.shape[1]}, not {width}")
    if not np.isfinite(found).all():
        raise StatesError("some of its values are infinite or no numbers")
    return found
