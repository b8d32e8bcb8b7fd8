"""Lhotse Shar: ``cuts.000000.jsonl.gz`` beside ``recording.000000.tar``, whose sounds stand in the order of the cuts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, Self

from manifests.corpora.listing import Fault, join
from manifests.corpora.members import BrokenTar, Member, members
from manifests.storage import Store
from manifests.utterance import AudioRef

_CUTS = re.compile(r"cuts\.(\d+)\.jsonl(\.gz)?")


def shar_parts(files: Store, folder: str) -> list[tuple[str, str]]:
    """(cuts, tar of sounds) of each shard in ``folder``, in order; empty where it is no Shar folder."""
    names = files.list(folder)
    pairs = ((n, f"recording.{match[1]}.tar") for n in names if (match := _CUTS.fullmatch(n)))
    return [(join(folder, cuts), join(folder, tar)) for cuts, tar in pairs if tar in names]


class SharSounds(AbstractContextManager["SharSounds"]):
    """The sounds of one tar, asked for in the order of its cuts."""

    def __init__(self, files: Store, tar: str) -> None:
        self._tar, self._file = tar, files.open(tar)
        self._sounds = _data_members(self._file, tar)
        self._waiting: Member | None = None
        self._broken: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def of(self, cut_id: str) -> tuple[AudioRef | None, Fault | None]:
        """Where the sound of the next cut lies, or why there is none."""
        member = self._next()
        if member is None:
            if self._broken:
                return None, ("broken_tar", self._broken)
            return None, ("missing_audio", f"{self._tar} ends before the cut {cut_id}")
        stem, _, ending = member.name.rpartition(".")
        if stem != cut_id:
            self._waiting = member  # a cut without a sound: the sound is that of a later one
            return None, ("missing_audio", f"{self._tar} has {stem} where the cut {cut_id} should come")
        if ending == "nodata":
            return None, ("missing_audio", f"{self._tar} was written without the sound of {cut_id}")
        if member.kind:
            return None, ("not_a_file", f"{self._tar}: {member.name} is {member.kind}")
        if not member.whole:
            return None, ("broken_tar", f"{self._tar} is cut short within {cut_id}; fetch it again")
        return AudioRef(self._tar, member.offset, member.size), None

    def _next(self) -> Member | None:
        if self._waiting is not None:
            member, self._waiting = self._waiting, None
            return member
        try:
            return next(self._sounds, None)
        except BrokenTar as error:
            self._broken = str(error)
            return None


def _data_members(file: IO[bytes], tar: str) -> Iterator[Member]:
    """Every second member: the sounds, without the JSON (or ``.nometa``) that follows each."""
    for member in members(file, tar):
        if not member.name.endswith((".json", ".nometa")):
            yield member
