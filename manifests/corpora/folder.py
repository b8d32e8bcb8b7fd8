"""A plain folder of sound files, without transcripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from manifests.corpora.base import Corpus
from manifests.corpora.listing import Pattern, at_least_one, audio_ref, folders, join, legible, pattern_reader, stems
from manifests.storage import Store
from manifests.utterance import Utterance


class Folder(Corpus):
    """Every sound file at any depth. The id is the path without its suffix."""

    layout: Literal["folder"] = "folder"
    speaker_pattern: Pattern | None = Field(
        None,
        description=r"regular expression on the path whose first group is the speaker, e.g. '^([^/]+)/' or '_(\w+)_'",
    )

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """Folder by folder, in the order of names. Raises :class:`CorpusError` where there is no sound file."""
        return at_least_one(self._listed(files), files)

    def _listed(self, files: Store) -> Iterator[Utterance]:
        speaker = pattern_reader(self.speaker_pattern)
        for folder, names in folders(files):
            for stem, name in stems(names):
                ref = audio_ref(folder, name)
                yield legible(Utterance(join(folder, stem), ref, None, speaker(ref.path), self.language))
