"""LJSpeech and corpora built like it: ``metadata.csv`` (``id|text|normalised text``, no quoting) beside ``wavs/``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.lines import Line, read_lines
from manifests.corpora.listing import (
    Names,
    audio_ref,
    folders,
    is_audio,
    join,
    legible,
    missing_audio,
    split_name,
    stems,
)
from manifests.storage import Store
from manifests.utterance import Utterance


class LJSpeech(Corpus):
    """The root is the folder that holds ``metadata.csv`` (or the folder above it, ``LJSpeech-1.1``)."""

    layout: Literal["ljspeech"] = "ljspeech"
    metadata: str = Field("metadata.csv", description="the list, relative to the root")
    audio: str = Field("wavs", description="the folder of sound files, relative to the list")
    text: Literal["normalized", "raw"] = Field("normalized", description="which of the two texts")
    speaker: str | None = Field("lj", description="the one speaker of the corpus")

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """The lines of the list in their order, then the sound files that it does not name (their text is None).

        Raises :class:`CorpusError` where there is no list.
        """
        base = self._base(files)
        listed = join(base, self.metadata)
        audio = self._audio(files, base)
        names = Names()
        for line in read_lines(files, listed):
            utterance = self._line(line, listed, audio)
            yield legible(names.once(utterance, f"{listed} line {line.number}"))
        for key, (folder, name) in audio.items():
            if key not in names:
                yield legible(self._utterance(key, audio_ref(folder, name)))

    def _base(self, files: Store) -> str:
        for base in ("", "LJSpeech-1.1"):
            if files.exists(join(base, self.metadata)):
                return base
        raise CorpusError(f"no {self.metadata} in {files.root}; set corpus.root to its folder, or corpus.metadata")

    def _audio(self, files: Store, base: str) -> dict[str, tuple[str, str]]:
        """Stem to (folder, file name)."""
        for folder, names in folders(files, join(base, self.audio)):
            return {stem: (folder, name) for stem, name in stems(names)}
        return {}

    def _utterance(self, key: str, audio=None, text: str | None = None, fault=None) -> Utterance:
        return Utterance(key, audio, text, self.speaker, self.language or "en", fault=fault)

    def _line(self, line: Line, listed: str, audio: dict[str, tuple[str, str]]) -> Utterance:
        where = f"{listed} line {line.number}"
        fields = line.text.split("|")
        name = fields[0].strip()
        key = split_name(name)[0] if is_audio(name) else name
        if len(fields) not in (2, 3) or not key:
            fault = line.fault or (
                "bad_line",
                f"{where} has {len(fields)} fields; id|text|normalised text was expected",
            )
            return self._utterance(key or f"line-{line.number}", text="|".join(fields[1:]), fault=fault)
        text = fields[-1 if self.text == "normalized" else 1].strip()
        if key not in audio:
            fault = line.fault or missing_audio(key, text, where).fault
            return self._utterance(key, text=text, fault=fault)
        return self._utterance(key, audio_ref(*audio[key]), text, line.fault)
