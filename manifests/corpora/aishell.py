"""AISHELL-1 (``wav/<split>/<speaker>/*.wav`` + ``transcript/*.txt``), and its published sample (a ``.txt`` beside each ``.wav``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.lines import Entry, read_keyed, read_keyed_if_there, read_note
from manifests.corpora.listing import (
    Names,
    at_least_one,
    audio_ref,
    folders,
    join,
    legible,
    missing_audio,
    split_of_folder,
    stems,
    subfolders,
)
from manifests.storage import Store
from manifests.utterance import Utterance

_SPEAKER = re.compile(r"S\d{4}")


class Aishell(Corpus):
    """The root is ``data_aishell``, the folder above it, or the folder of the sample."""

    layout: Literal["aishell"] = "aishell"
    words: bool = Field(False, description="keep the spaces that AISHELL puts between words")

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """The sound files folder by folder, then transcripts without one. Split and speaker from the path, gender into ``extra``.

        Raises :class:`CorpusError` where there is nothing, or only the packed archives of the download.
        """
        return at_least_one(self._listed(files), files)

    def _listed(self, files: Store) -> Iterator[Utterance]:
        above = "data_aishell" in subfolders(files)
        base = "data_aishell" if above else ""
        texts = _transcripts(files, join(base, "transcript"))
        genders = read_keyed_if_there(files, "resource_aishell/speaker.info") if above else {}
        names = Names()
        packed = None
        for folder, found in folders(files, join(base, "wav") if texts else base):
            packed = packed or next((join(folder, n) for n in found if n.endswith((".tar.gz", ".tgz"))), None)
            beside = frozenset(found)
            for key, name in stems(found):
                entry = texts.get(key) or _beside(files, folder, key, beside)
                utterance = self._utterance(key, folder, name, entry, genders)
                yield legible(names.once(utterance, folder))
        if not any(key in names for key in texts) and packed:
            raise CorpusError(
                f"{packed} is still packed; unpack the speakers' archives under {files.root}/{base} first"
            )
        for key, entry in texts.items():
            if key not in names:
                yield missing_audio(key, self._text(entry.value), "the transcript")

    def _text(self, text: str) -> str:
        return text if self.words else "".join(text.split())

    def _utterance(
        self, key: str, folder: str, name: str, entry: Entry | None, genders: dict[str, Entry]
    ) -> Utterance:  # fmt: skip
        match = _SPEAKER.search(key)
        speaker = match[0] if match else None
        gender = genders.get((speaker or "").removeprefix("S"))
        splits = (split_of_folder(part) for part in folder.split("/"))
        return Utterance(
            key,
            audio_ref(folder, name),
            self._text(entry.value) if entry else None,
            speaker,
            self.language or "zh",
            split=next((s for s in splits if s), None),
            fault=entry.fault if entry else None,
            extra={"gender": gender.value} if gender else {},
        )


def _transcripts(files: Store, folder: str) -> dict[str, Entry]:
    texts: dict[str, Entry] = {}
    for name in files.list(folder):
        if name.endswith(".txt"):
            texts |= read_keyed(files, join(folder, name))
    return texts


def _beside(files: Store, folder: str, key: str, names: frozenset[str]) -> Entry | None:
    if f"{key}.txt" not in names:
        return None
    text, fault = read_note(files, join(folder, f"{key}.txt"))
    return Entry(text, 1, fault)
