"""Kaldi data directories: ``wav.scp``, and where they are there ``segments``, ``text``, ``utt2spk``, ``spk2gender``, ``reco2dur``.

A line of ``wav.scp`` that is a shell command is refused, never run: it could do anything, and its output is on no disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.columns import as_seconds, times
from manifests.corpora.lines import Entry, Line, read_keyed, read_keyed_if_there, read_lines
from manifests.corpora.listing import Fault, Names, join, legible, place
from manifests.storage import Store
from manifests.utterance import AudioRef, Utterance

_ARCHIVE = re.compile(r"\.ark:\d+(\[.*\])?$")
_NOTHING = Entry("", 0)


class Kaldi(Corpus):
    """The root is what paths in ``wav.scp`` are relative to; ``data`` is the data directory in it."""

    layout: Literal["kaldi"] = "kaldi"
    data: str = Field("", description="the data directory, relative to the root")
    text: str = Field("text", description="name of the transcripts' file")

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """The lines of ``segments``, or else of ``wav.scp``, in their order; then transcripts of neither.

        Raises :class:`CorpusError` where there is no ``wav.scp``.
        """
        tables = self._tables(files)
        names = Names()
        lines = self._segments(files, tables) if files.exists(self._name("segments")) else self._whole(files, tables)
        for utterance, where in lines:
            yield legible(names.once(utterance, where))
        for key, entry in tables.texts.items():
            if key not in names:
                fault = ("missing_audio", f"{self._name(self.text)} line {entry.line} is of no utterance with sound")
                yield legible(Utterance(key, text=entry.value, fault=entry.fault or fault))

    def _name(self, name: str) -> str:
        return join(self.data.strip("/"), name)

    def _tables(self, files: Store) -> _Tables:
        if not files.exists(self._name("wav.scp")):
            raise CorpusError(f"no {self._name('wav.scp')} in {files.root}; set corpus.data to the data directory")
        sounds = read_keyed(files, self._name("wav.scp"))
        texts, speakers, genders, seconds = (
            read_keyed_if_there(files, self._name(n)) for n in (self.text, "utt2spk", "spk2gender", "reco2dur")
        )
        return _Tables(sounds, texts, speakers, genders, _durations(seconds))

    def _sound(self, files: Store, recording: str, entry: Entry | None) -> tuple[AudioRef | None, Fault | None]:
        if entry is None:
            return None, ("missing_audio", f"{self._name('wav.scp')} has no recording {recording}")
        if entry.fault:
            return None, entry.fault
        fault = refused(entry.value, f"{self._name('wav.scp')} line {entry.line}")
        return (None, fault) if fault else (AudioRef(place(files, entry.value)), None)

    def _utterance(self, key: str, tables: _Tables, audio: AudioRef | None, fault: Fault | None) -> Utterance:
        text, speaker = tables.texts.get(key), tables.speakers.get(key, _NOTHING)
        gender = tables.genders.get(speaker.value, _NOTHING).value
        fault = fault or (text.fault if text else None) or speaker.fault
        extra = {"gender": gender} if gender else {}
        return Utterance(
            key, audio, text.value if text else None, speaker.value or None, self.language, fault=fault, extra=extra
        )  # fmt: skip

    def _whole(self, files: Store, tables: _Tables) -> Iterator[tuple[Utterance, str]]:
        for key, entry in tables.sounds.items():
            audio, fault = self._sound(files, key, entry)
            utterance = self._utterance(key, tables, audio, fault)
            if key in tables.seconds:
                utterance = replace(utterance, extra={**utterance.extra, "listed_seconds": tables.seconds[key]})
            yield utterance, f"{self._name('wav.scp')} line {entry.line}"

    def _segments(self, files: Store, tables: _Tables) -> Iterator[tuple[Utterance, str]]:
        name = self._name("segments")
        for line in read_lines(files, name):
            yield self._segment(files, tables, line, f"{name} line {line.number}"), f"{name} line {line.number}"

    def _segment(self, files: Store, tables: _Tables, line: Line, where: str) -> Utterance:
        key, *fields = line.text.split()
        if len(fields) not in (3, 4):
            sentence = f"{where} has {len(fields) + 1} fields; utterance, recording, start and end were expected"
            return self._utterance(key, tables, None, line.fault or ("bad_line", sentence))
        recording, start, end = fields[:3]
        audio, fault = self._sound(files, recording, tables.sounds.get(recording))
        utterance = self._utterance(key, tables, audio, line.fault or fault)
        try:
            begin, seconds = times(start, None, None if end.startswith("-1") else end)
            channel = int(fields[3]) if len(fields) == 4 else None
            self._check_begin(begin or 0.0, recording, tables)
        except ValueError as error:
            return replace(
                utterance, recording=recording, fault=utterance.fault or ("bad_line", f"{where} states {error}")
            )
        return replace(utterance, recording=recording, start=begin or 0.0, seconds=seconds, channel=channel)

    def _check_begin(self, begin: float, recording: str, tables: _Tables) -> None:
        listed = tables.seconds.get(recording)
        if listed is not None and begin >= listed:
            raise ValueError(f"a start of {begin:g} s in a recording of {listed:g} s")


@dataclass(frozen=True)
class _Tables:
    """The files of a data directory, by their first column."""

    sounds: Mapping[str, Entry]
    texts: Mapping[str, Entry]
    speakers: Mapping[str, Entry]
    genders: Mapping[str, Entry]
    seconds: Mapping[str, float]


def _durations(entries: Mapping[str, Entry]) -> dict[str, float]:
    """Recording to seconds; lines that hold no number say nothing."""
    found: dict[str, float] = {}
    for key, entry in entries.items():
        with suppress(ValueError):
            found[key] = as_seconds(entry.value) or 0.0
    return found


def refused(value: str, where: str) -> Fault | None:
    """Why a value of ``wav.scp`` is not read: a shell command, standard input, or a place in a Kaldi archive."""
    if value.endswith("|") or value.startswith("|"):
        return (
            "pipe_refused",
            f"{where} is a shell command, which is never run; write its output to files and list those",
        )
    if value in ("", "-"):
        return ("missing_audio", f"{where} names no file")
    if _ARCHIVE.search(value):
        return ("archive_refused", f"{where} points into a Kaldi archive; write its sounds to files and list those")
    return None
