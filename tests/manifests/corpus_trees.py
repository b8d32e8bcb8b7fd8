"""Small corpora that tests write themselves."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from manifests.corpora import LAYOUTS
from manifests.storage import Store
from manifests.utterance import Utterance


def write(root: Path, tree: Mapping[str, str | bytes]) -> Path:
    """Files below ``root``, in the order given."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return root


def read(layout: str, root: Path | str, **settings: object) -> list[Utterance]:
    """All utterances of a corpus."""
    corpus = LAYOUTS[layout].model_validate({"layout": layout, "root": str(root), **settings})
    return list(corpus.utterances(Store(str(root))))


def by_id(utterances: Iterable[Utterance]) -> dict[str, Utterance]:
    """Id to utterance; every id comes once."""
    found: dict[str, Utterance] = {}
    for u in utterances:
        assert u.id not in found
        found[u.id] = u
    return found


def faults(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Id to reason, of the faulty ones."""
    return {u.id: u.fault[0] for u in utterances if u.fault}


def wav(seconds: float = 0.1, rate: int = 16_000, channels: int = 1, level: float = 0.1) -> bytes:
    """A sine as a 16-bit wav."""
    import soundfile

    wave_TC = np.tile(level * np.sin(np.arange(int(seconds * rate)) / 10)[:, None], (1, channels))
    out = io.BytesIO()
    soundfile.write(out, wave_TC, rate, format="WAV", subtype="PCM_16")
    return out.getvalue()


def tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """An uncompressed tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()
