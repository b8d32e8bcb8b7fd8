"""LibriSpeech and its likes (mini LibriSpeech, MLS in its layout): ``<subset>/<speaker>/<chapter>/*.flac`` + ``*.trans.txt``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.lines import Entry, read_keyed, read_lines
from manifests.corpora.listing import (
    Fault,
    audio_ref,
    folders,
    is_audio,
    join,
    legible,
    missing_audio,
    split_name,
    split_of_folder,
    stems,
    subfolders,
)
from manifests.storage import Store
from manifests.utterance import Utterance


class LibriSpeech(Corpus):
    """The root is ``LibriSpeech``, the folder above it, or one subset."""

    layout: Literal["librispeech"] = "librispeech"
    subsets: tuple[str, ...] = Field((), description="only these subset folders (default: all that are there)")

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """Subset by subset, folder by folder. Split from the subset's name, speaker from the id, gender into ``extra``.

        Raises :class:`CorpusError` where no subset folder is found.
        """
        base = "LibriSpeech" if "LibriSpeech" in subfolders(files) else ""
        genders = _genders(files, join(base, "SPEAKERS.TXT"))
        for folder, subset in self._subsets(files, base):
            for name, names in folders(files, folder):
                yield from self._chapter(files, name, names, subset, genders)

    def _subsets(self, files: Store, base: str) -> list[tuple[str, str]]:
        """(folder, name) of each subset."""
        there = subfolders(files, base)
        absent = [s for s in self.subsets if s not in there]
        if absent:
            raise CorpusError(f"no subset {absent[0]!r} in {files.root}; there are: {', '.join(there) or 'none'}")
        if there and not self.subsets and all(n.isdigit() for n in there):
            return [(base, files.root.rstrip("/").rsplit("/", 1)[-1])]
        if not there:
            raise CorpusError(
                f"no subset folder such as train-clean-100 in {files.root}; set corpus.root to LibriSpeech"
            )
        return [(join(base, n), n) for n in there if not self.subsets or n in self.subsets]

    def _chapter(
        self, files: Store, folder: str, names: list[str], subset: str, genders: Mapping[str, str]
    ) -> Iterator[Utterance]:
        lists = [n for n in names if n.endswith(".trans.txt")]
        if not lists and not any(is_audio(n) for n in names):
            return
        texts, lost = _texts(files, [join(folder, n) for n in lists])
        audio = dict(stems(names))
        split, language = split_of_folder(subset), self.language or "en"
        extras: dict[str, dict[str, str]] = {}
        for key in sorted(audio.keys() | (texts.keys() - {split_name(n)[0] for n in audio.values()})):
            entry = texts.get(key) or texts.get(split_name(key)[0])
            text, fault = (entry.value, entry.fault) if entry else (None, lost)
            speaker = _speaker(key, folder)
            if speaker not in extras:
                extras[speaker] = {"subset": subset} | ({"gender": genders[speaker]} if speaker in genders else {})
            if key not in audio:
                fault = fault or missing_audio(key, text, folder).fault
            ref = audio_ref(folder, audio[key]) if key in audio else None
            yield legible(
                Utterance(key, ref, text, speaker, language, split=split, fault=fault, extra=extras[speaker])
            )  # fmt: skip


def _texts(files: Store, names: list[str]) -> tuple[dict[str, Entry], Fault | None]:
    """The transcripts of one folder, and why some of them are missing."""
    texts: dict[str, Entry] = {}
    lost: Fault | None = None
    for name in names:
        try:
            texts |= read_keyed(files, name)
        except (OSError, CorpusError) as error:
            lost = ("unreadable_text", f"the transcripts in {name} cannot be read ({error})")
    return texts, lost


def _speaker(key: str, folder: str) -> str:
    """``118`` of ``118-47824-0000``; else the name of the folder two above the file."""
    head = key.split("-", 1)[0]
    return head if head.isdigit() else folder.split("/")[-2 if "/" in folder else -1]


def _genders(files: Store, name: str) -> dict[str, str]:
    """Speaker to ``F`` or ``M`` from SPEAKERS.TXT; empty where there is none."""
    if not files.exists(name):
        return {}
    rows = (line.text.split("|") for line in read_lines(files, name) if not line.text.startswith(";"))
    return {r[0].strip(): r[1].strip() for r in rows if len(r) > 1 and r[1].strip() in ("F", "M")}
