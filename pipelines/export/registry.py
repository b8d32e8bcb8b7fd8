"""The formats, by the name that ``--to`` takes."""

from __future__ import annotations

from pipelines.export.about import nearest
from pipelines.export.base import Format
from pipelines.export.cosyvoice import CosyVoice
from pipelines.export.errors import ExportError
from pipelines.export.hf import HuggingFace
from pipelines.export.shar import Shar
from pipelines.export.vocalnet import VocalNet

FORMATS: dict[str, Format] = {f.name: f for f in (VocalNet(), HuggingFace(), Shar(), CosyVoice())}


def format_named(name: str) -> Format:
    """Raises :class:`ExportError` for an unknown name."""
    if name not in FORMATS:
        raise ExportError(f"--to {name}: no such format; {nearest(name, list(FORMATS))}")
    return FORMATS[name]
