"""Transcripts that say what is said when: one reader a format, and the registry of them.

Each format was first tried with the libraries that read it (``pysubs2``, ``webvtt-py``, ``praatio``, Lhotse): all of them pass over what they cannot
read without a word, or take it for part of the caption before, and one loses the sign of negative times. A line that is lost here would be lost from the
ledger, so the lines are read here, each with its number.
"""

from __future__ import annotations

from collections.abc import Callable

from manifests.corpora.times.ctm import read_ctm
from manifests.corpora.times.rttm import read_rttm
from manifests.corpora.times.srt import read_srt
from manifests.corpora.times.textgrid import read_textgrid
from manifests.corpora.times.transcript import BadTranscript, Phrase, Word
from manifests.corpora.times.vtt import read_vtt

Reader = Callable[[str, str, str], list[Phrase]]
"""From the text of a file, its name, and the name of its recording, to phrases in the order of the file. Raises :class:`BadTranscript`."""

READERS: dict[str, Reader] = {
    "textgrid": read_textgrid,
    "ctm": read_ctm,
    "vtt": read_vtt,
    "srt": read_srt,
    "rttm": read_rttm,
}

__all__ = ["READERS", "BadTranscript", "Phrase", "Reader", "Word"]
