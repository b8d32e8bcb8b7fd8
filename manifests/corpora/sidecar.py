"""Sound files with a transcript file each (``.lab``, ``.txt``, ``.normalized.txt``), side by side or in a parallel folder.

LibriTTS, VCTK, Montreal Forced Aligner corpora, and most of what people record themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from manifests.corpora.base import Corpus
from manifests.corpora.lines import read_note
from manifests.corpora.listing import (
    Fault,
    Pattern,
    at_least_one,
    audio_ref,
    folders,
    join,
    legible,
    missing_audio,
    pattern_reader,
    stems,
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


class Sidecar(Corpus):
    """The id is the path of the sound file without its suffix."""

    layout: Literal["sidecar"] = "sidecar"
    audio: str = Field("", description="folder of the sound files, relative to the root")
    transcripts: str | None = Field(None, description="parallel folder of the transcripts (default: beside the sound)")
    suffixes: tuple[str, ...] = Field(
        (".normalized.txt", ".lab", ".txt", ".original.txt"),
        min_length=1,
        description="endings of transcripts, the preferred one first",
    )
    speaker_pattern: Pattern | None = Field(
        None, description=r"regular expression on the path whose first group is the speaker, e.g. '([^/]+)/[^/]*$'"
    )

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """Folder by folder; a transcript without sound follows its folder (or, in a parallel folder, comes last).

        Files such as ``README.txt`` are not taken for transcripts. Raises :class:`CorpusError` where nothing is found.
        """
        return at_least_one(self._listed(files), files)

    def _listed(self, files: Store) -> Iterator[Utterance]:
        parallel = self.transcripts is not None and self.transcripts.strip("/") != self.audio.strip("/")
        for folder, names in folders(files, self.audio.strip("/")):
            notes_at = self._parallel(folder) if parallel else folder
            notes = self._notes(files.list(notes_at) if parallel else names)
            audio = stems(names)
            yield from self._with_audio(files, folder, audio, notes_at, notes)
            if not parallel:
                yield from self._without_audio(files, folder, audio, notes)
        if parallel:
            yield from self._parallel_orphans(files)

    def _parallel(self, folder: str) -> str:
        below = folder[len(self.audio.strip("/")) :].strip("/")
        return "/".join(p for p in ((self.transcripts or "").strip("/"), below) if p)

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

    def _with_audio(
        self, files: Store, folder: str, audio: list[tuple[str, str]], notes_at: str, notes: dict[str, str]
    ) -> Iterator[Utterance]:
        speaker = pattern_reader(self.speaker_pattern)
        for stem, name in audio:
            note = notes.get(name.rsplit(".", 1)[0])
            text, fault = read_note(files, join(notes_at, note)) if note else (None, None)
            ref = audio_ref(folder, name)
            key = join(folder[len(self.audio.strip("/")) :].strip("/"), stem)
            yield legible(Utterance(key, ref, text, speaker(ref.path), self.language, fault=fault))

    def _without_audio(
        self, files: Store, folder: str, audio: list[tuple[str, str]], notes: dict[str, str]
    ) -> Iterator[Utterance]:
        heard = {name.rsplit(".", 1)[0] for _, name in audio}
        for stem, note in sorted(notes.items()):
            if stem not in heard and not (stem.lower() in NO_TRANSCRIPTS and note.endswith(".txt")):
                text, fault = read_note(files, join(folder, note))
                yield legible(_orphan(join(folder, stem), text, fault, join(folder, note)))

    def _parallel_orphans(self, files: Store) -> Iterator[Utterance]:
        top = (self.transcripts or "").strip("/")
        for folder, names in folders(files, top):
            below = folder[len(top) :].strip("/")
            audio = stems(files.list(join(self.audio.strip("/"), below) if below else self.audio))
            for orphan in self._without_audio(files, folder, audio, self._notes(names)):
                yield orphan.renamed(orphan.id[len(top) :].strip("/"))


def _orphan(key: str, text: str, fault: Fault | None, note: str) -> Utterance:
    lost = missing_audio(key, text, note)
    return Utterance(key, text=text, fault=fault or lost.fault)
