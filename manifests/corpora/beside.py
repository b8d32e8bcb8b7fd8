"""Layouts of sound files with transcripts beside them, or in a parallel folder: how both are walked, folder by folder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from manifests.corpora.base import Corpus
from manifests.corpora.listing import at_least_one, folders, join, stems
from manifests.storage import Store
from manifests.utterance import Utterance


@dataclass(frozen=True)
class Place:
    """A folder of sound files and the one of its transcripts, which may be the same.

    below   the folder under the root of either, what ids begin with
    audio   (stem, name) of the sound files
    names   of the files among which the transcripts are
    """

    below: str
    folder: str
    audio: list[tuple[str, str]]
    notes: str
    names: list[str]

    @property
    def heard(self) -> set[str]:
        """Names of the sound files without their endings."""
        return {name.rsplit(".", 1)[0] for _, name in self.audio}


class Beside(Corpus):
    """A layout says what the sound of a place is, and which of its transcripts are of no sound."""

    audio: str = Field("", description="folder of the sound files, relative to the root")
    transcripts: str | None = Field(None, description="parallel folder of the transcripts (default: beside the sound)")

    @abstractmethod
    def recorded(self, files: Store, place: Place) -> Iterator[Utterance]:
        """The utterances of a place's sound files."""

    @abstractmethod
    def unheard(self, files: Store, place: Place) -> Iterator[Utterance]:
        """Its transcripts without sound, as faults."""

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """Folder by folder; a transcript without sound follows its folder or, in a parallel folder, comes last.

        Raises :class:`CorpusError` where nothing is found.
        """
        return at_least_one(self._listed(files), files)

    def _listed(self, files: Store) -> Iterator[Utterance]:
        top = self.audio.strip("/")
        notes_top = top if self.transcripts is None else self.transcripts.strip("/")
        for folder, names in folders(files, top):
            below = folder[len(top) :].strip("/")
            notes = _under(notes_top, below)
            place = Place(below, folder, stems(names), notes, names if notes == folder else files.list(notes))
            yield from self.recorded(files, place)
            if notes_top == top:
                yield from self.unheard(files, place)
        for folder, names in folders(files, notes_top) if notes_top != top else ():
            below = folder[len(notes_top) :].strip("/")
            sound = _under(top, below)
            yield from self.unheard(files, Place(below, sound, stems(files.list(sound)), folder, names))


def _under(top: str, below: str) -> str:
    return join(top, below) if below else top
