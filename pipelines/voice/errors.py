"""What ends ``say`` and ``eval`` with one clear line. Light to import: the command line knows it before torch is there."""

from __future__ import annotations


class SpeakError(ValueError):
    """A talker cannot speak, or be judged, as asked: says what, why and what to do."""
