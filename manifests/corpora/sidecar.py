"""Sound files with a transcript file each (``.lab``, ``.txt``, ``.normalized.txt``), side by side or in a parallel folder.

LibriTTS, VCTK, Montreal Forced Aligner corpora, and most of what people record themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from manifests.corpora.beside import Beside, Place
from manifests.corpora.lines import read_note
from manifests.corpora.listing import (
    Fault,
    Pattern,
    audio_ref,
    join,
    legible,
    missing_audio,
    pattern_reader,
)
from manifests.storage import Store
from manifests.utterance import Utterance

NO_TRANSCRIPTS = frozenset(
    [
        "authors",
        "bibliography",
        "books",
        "changelog",
        "changes",
        "chapters",
        "contributing",
        "copying",
        "license",
        "licence",
        "notice",
        "readme",
        "speakers",
    ]
)


class Sidecar(Beside):
    """The id is the path of the sound file without its suffix. Files such as ``README.txt`` are not taken for transcripts."""

    layout: Literal["sidecar"] = "sidecar"
    suffixes: tuple[str, ...] = Field(
        (".normalized.txt", ".lab", ".txt", ".original.txt"),
        min_length=1,
        description="endings of transcripts, the preferred one first",
    )
    speaker_pattern: Pattern | None = Field(
        None, description=r"regular expression on the path whose first group is the speaker, e.g. '([^/]+)/[^/]*$'"
    )

    def recorded(self, files: Store, place: Place) -> Iterator[Utterance]:
        speaker, notes = pattern_reader(self.speaker_pattern), self._notes(place.names)
        for stem, name in place.audio:
            note = notes.get(name.rsplit(".", 1)[0])
            text, fault = read_note(files, join(place.notes, note)) if note else (None, None)
            ref = audio_ref(place.folder, name)
            key = join(place.below, stem)
            yield legible(Utterance(key, ref, text, speaker(ref.path), self.language, fault=fault))

    def unheard(self, files: Store, place: Place) -> Iterator[Utterance]:
        for stem, note in sorted(self._notes(place.names).items()):
            if stem not in place.heard and not (stem.lower() in NO_TRANSCRIPTS and note.endswith(".txt")):
                path = join(place.notes, note)
                text, fault = read_note(files, path)
                yield legible(_orphan(join(place.below, stem), text, fault, path))

    def _notes(self, names: list[str]) -> dict[str, str]:
        """Stem to the preferred transcript among ``names``."""
        longest = sorted(self.suffixes, key=len, reverse=True)  # a.normalized.txt is no .txt of a.normalized
        best: dict[str, tuple[int, str]] = {}
        for name in names:
            suffix = next((s for s in longest if name.endswith(s) and len(name) > len(s)), None)
            if suffix is not None:
                stem, rank = name[: -len(suffix)], self.suffixes.index(suffix)
                best[stem] = min(best.get(stem, (rank, name)), (rank, name))
        return {stem: name for stem, (_, name) in best.items()}


def _orphan(key: str, text: str, fault: Fault | None, note: str) -> Utterance:
    lost = missing_audio(key, text, note)
    return Utterance(key, text=text, fault=fault or lost.fault)
