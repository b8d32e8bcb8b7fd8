"""Tars of sound files and their transcripts: WebDataset, WeNet, Emilia.

Sounds are referred to by their bytes' place in the tar; nothing is unpacked. A link or a device that stands where a sound or a text
should is no content, and its sample is faulty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any, Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.columns import Columns, utterance_of
from manifests.corpora.lines import decode, opened
from manifests.corpora.listing import AUDIO_SUFFIXES, Fault, Names, folders, join, legible, split_of_folder
from manifests.corpora.members import PACKED, BrokenTar, Member, read_small, samples
from manifests.storage import Store
from manifests.utterance import AudioRef, Query, Utterance

TEXTS = ("normalized.txt", "txt", "text", "lab", "transcript", "trans")


class Tars(Corpus):
    """Every ``.tar`` at any depth below the root. The id is the tar's path, then the sample's name in it."""

    layout: Literal["tars"] = "tars"
    audio: str | None = Field(None, description="ending of the sound's member, e.g. answer.wav (default: any sound)")
    query: str | None = Field(None, description="ending of the member that the sound answers, e.g. question.wav")
    columns: Columns = Field(Columns(), description="names in .json members, where the usual ones do not do")

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """Tar by tar, sample by sample. What a tar's damage hides, and a packed tar, is one faulty line each.

        Raises :class:`CorpusError` where there is no tar.
        """
        any_tar = False
        for folder, names in folders(files):
            for name in names:
                if name.endswith((".tar", *PACKED)):
                    any_tar = True
                    yield from self._tar(files, join(folder, name))
        if not any_tar:
            raise CorpusError(f"no .tar file in {files.root}; set corpus.root to the folder of the tars")

    def _tar(self, files: Store, name: str) -> Iterator[Utterance]:
        if name.endswith(PACKED):
            sentence = f"{name} is packed, so its members cannot be read by position; unpack it to a plain .tar"
            yield legible(Utterance(name, fault=("packed_tar", sentence)))
            return
        names = Names()
        try:
            with opened(files, name) as file:
                for sample in samples(file, name, self._matters):
                    yield legible(names.apart(self._sample(file, name, sample)))
        except (BrokenTar, OSError) as error:
            why = f"{name} cannot be read ({error.strerror or error})" if isinstance(error, OSError) else str(error)
            yield legible(names.apart(Utterance(f"{name}:rest", fault=("broken_tar", why))))

    def _sample(self, file: IO[bytes], name: str, sample: list[Member]) -> Utterance:
        where = f"{name}: {sample[0].sample}"
        by_ending = {m.ending: m for m in sample}
        sound, query = self._sound(sample), by_ending.get(self.query or "")
        fault = None if sound else ("missing_audio", f"{where} has no sound file")
        fault = fault or _no_file([m for m in (sound, query) if m and m.kind], where)
        fault = fault or _cut_short([m for m in sample if not m.whole and not m.kind], where)
        row, text, wrong = _notes(file, sample, where)
        ref = AudioRef(name, sound.offset, sound.size) if sound and not sound.kind else None
        found = {f: c for f, c in self.columns.find(row).items() if f not in ("id", "audio", "query_audio")}
        key = f"{name.removesuffix('.tar')}/{sample[0].sample}"
        utterance = utterance_of(row, found, where, str, self.language, fault or wrong, ref, key)
        asked = utterance.query
        if query and not query.kind:
            asked = replace(asked or Query(), audio=AudioRef(name, query.offset, query.size))
        split = utterance.split or split_of_folder(name.rsplit("/", 1)[-1])
        text = text if text is not None else utterance.text
        return replace(utterance, text=text, split=split, query=asked)

    def _sound(self, sample: list[Member]) -> Member | None:
        files_first = sorted(sample, key=lambda m: m.kind is not None)
        if self.audio is not None:
            return next((m for m in files_first if m.ending == self.audio), None)
        return next((m for m in files_first if _is_sound(m) and m.ending != self.query), None)

    def _matters(self, member: Member) -> bool:
        """Whether an utterance hangs on this member."""
        return _is_sound(member) or member.ending in ("json", *TEXTS, self.audio, self.query)


def _is_sound(member: Member) -> bool:
    return f".{member.ending.rsplit('.', 1)[-1]}" in AUDIO_SUFFIXES


def _no_file(members: list[Member], where: str) -> Fault | None:
    """The first of the sounds that are links, devices or the like."""
    if not members:
        return None
    return ("not_a_file", f"{where}.{members[0].ending} is {members[0].kind}; pack the tar with the files themselves")


def _cut_short(members: list[Member], where: str) -> Fault | None:
    return ("broken_tar", f"{where} is cut short; fetch the tar again") if members else None


def _notes(file: IO[bytes], sample: list[Member], where: str) -> tuple[dict[str, Any], str | None, Fault | None]:
    """What the JSON member says, the text of the text member, and what is wrong with them."""
    row: dict[str, Any] = {}
    texts: dict[str, str] = {}
    fault: Fault | None = None
    for member in sample:
        if member.ending not in ("json", *TEXTS) or not member.whole:
            continue
        if member.kind:
            fault = fault or ("unreadable_text", f"{where}.{member.ending} is {member.kind}")
            continue
        try:
            text, wrong = decode(read_small(file, member), f"{where}.{member.ending}")
            fault = fault or wrong
            if member.ending == "json":
                row = _object(text)
            else:
                texts[member.ending] = " ".join(text.removeprefix("\ufeff").split())
        except (ValueError, TypeError, RecursionError) as error:
            fault = fault or ("bad_line", f"{where}.{member.ending} cannot be read ({error})")
    return row, next((texts[e] for e in TEXTS if e in texts), None), fault


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("no JSON object")
    return value
