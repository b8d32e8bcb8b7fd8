"""The bytes of a codebook: a safetensors file, always the same for the same codebook.

The format is written out here (an 8-byte length, a JSON header, the arrays) so that the header's order is fixed; any
safetensors reader opens it. The header carries a SHA-256 of the arrays, so damage is found even where nobody kept the
file's checksum.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from manifests.fingerprint import canonical, sha256
from manifests.settings.speech import PatchesSettings
from tokenization.adapter import TokenizerError
from tokenization.patches.codebook import PatchesCodebook

FORMAT = "speechmill-patches-1"
ARRAYS = ("mean_D", "basis_DZ", "centroids_QKZ", "levels_QKD", "smoother_CD")
AGAIN = "make it again with the fit stage"


class CodebookDamaged(TokenizerError):
    """The bytes are not those of a codebook that was saved."""


class CodebookMismatch(TokenizerError):
    """The codebook was fitted under other settings than the recipe's."""


def save(codebook: PatchesCodebook) -> bytes:
    """The codebook's bytes; their SHA-256 is its checksum."""
    header: dict[str, Any] = {}
    data = b""
    for name in ARRAYS:
        array = np.ascontiguousarray(getattr(codebook, name), dtype="<i2")
        start, data = len(data), data + array.tobytes()
        header[name] = {"dtype": "I16", "shape": list(array.shape), "data_offsets": [start, len(data)]}
    meta = {"format": FORMAT, "sha256": sha256(data), "encoding": codebook.encoding, "facts": codebook.facts}
    header["__metadata__"] = {"speechmill": canonical(meta).decode()}
    head = canonical(header)
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + data


def _parsed(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Header, metadata and array bytes. Raises ValueError, KeyError or TypeError for anything else."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise ValueError(f"{len(data)} bytes are too few")
    header = json.loads(data[8 : 8 + size])
    meta = json.loads(header["__metadata__"]["speechmill"])
    arrays = data[8 + size :]
    if meta["format"] != FORMAT:
        raise ValueError(f"its format is {meta['format']!r}, not {FORMAT!r}")
    if meta["sha256"] != sha256(arrays):
        raise ValueError("its arrays do not have the checksum in its header")
    return header, meta, arrays


def _array(header: dict[str, Any], arrays: bytes, name: str) -> Any:
    entry = header[name]
    start, end = entry["data_offsets"]
    return np.frombuffer(arrays[start:end], dtype="<i2").reshape(entry["shape"]).astype(np.int16)


def _shapes_fit(book: PatchesCodebook, settings: PatchesSettings) -> bool:
    values, dims = 4 * settings.mels, book.basis_DZ.shape[-1]
    shape = (settings.codebooks, settings.codebook_size)
    return (
        book.mean_D.shape == (values,)
        and book.basis_DZ.shape == (values, dims)
        and book.centroids_QKZ.shape == (*shape, dims)
        and book.levels_QKD.shape == (*shape, values)
        and book.smoother_CD.shape == (3 * dims, values)
    )


def load(data: bytes, settings: PatchesSettings) -> PatchesCodebook:
    """The codebook that :func:`save` wrote.

    Raises :class:`CodebookDamaged` for other or altered bytes, and :class:`CodebookMismatch` where it was fitted under
    settings that give other codes than ``settings``.
    """
    try:
        header, meta, arrays = _parsed(data)
        book = PatchesCodebook(
            *(_array(header, arrays, n) for n in ARRAYS), encoding=meta["encoding"], facts=meta["facts"]
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise CodebookDamaged(f"the codebook cannot be read ({error}): {AGAIN}") from error
    wanted, found = settings.encoding(), dict(book.encoding)
    other = [f"{k} is {found.get(k)!r}, the recipe says {v!r}" for k, v in wanted.items() if found.get(k) != v]
    if other:
        raise CodebookMismatch(f"the codebook was fitted under other settings ({'; '.join(other)}): {AGAIN}")
    if not _shapes_fit(book, settings):
        raise CodebookDamaged(f"the codebook's arrays do not have the shapes its settings ask for: {AGAIN}")
    return book
