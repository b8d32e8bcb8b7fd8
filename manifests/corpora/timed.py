"""Long recordings with a transcript beside each that says what is said when: TextGrid, CTM, VTT, SRT; and RTTM, which says who speaks when."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from manifests.corpora.beside import Beside, Place
from manifests.corpora.lines import check_regular
from manifests.corpora.listing import (
    Fault,
    Names,
    Pattern,
    audio_ref,
    join,
    legible,
    missing_audio,
    pattern_reader,
)
from manifests.corpora.times import READERS, BadTranscript, Phrase
from manifests.corpora.times.lengths import Lengths, fitted
from manifests.corpora.times.speakers import Turns, spoken_by
from manifests.storage import Store
from manifests.utterance import AudioRef, Utterance

MAX_TRANSCRIPT = 64 << 20  # bytes of one transcript
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
LANGUAGE = re.compile(r"\.([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)", re.ASCII)
TextFormat = Literal["textgrid", "ctm", "vtt", "srt"]


def _check_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError(f"no encoding is named {name!r}; for example utf-8, cp1251, latin-1") from None
    return name


class Timed(Beside):
    """An utterance is a caption, or a run of words between pauses; a recording without a transcript is one utterance without text.

    The id is the path of the recording and both times, in milliseconds; they come in the order of names, then of times.
    """

    layout: Literal["timed"] = "timed"
    formats: tuple[TextFormat, ...] = Field(
        ("textgrid", "ctm", "vtt", "srt"),
        min_length=1,
        description="of several transcripts of a recording, the first of these",
    )
    encoding: Annotated[str, AfterValidator(_check_encoding)] = Field(
        "utf-8", description="of transcripts without a byte order mark"
    )
    min_seconds: FiniteFloat = Field(
        1.0, ge=0, description="shorter ones of one speaker are joined, where they are near"
    )
    max_seconds: FiniteFloat = Field(
        30.0, gt=0, description="longer ones are parted where the times of words are known"
    )
    pause_seconds: FiniteFloat = Field(0.6, gt=0, description="so much silence between words ends an utterance")
    pad_seconds: FiniteFloat = Field(0.1, ge=0, description="silence around utterances that are made of words")
    speakers: Literal["local", "global"] = Field(
        "local", description="local: a label such as SPEAKER_00 is somebody else in every recording; global: the same"
    )
    speaker_pattern: Pattern | None = Field(
        None,
        description="regular expression on the path whose first group is the speaker, where no transcript names one",
    )

    @model_validator(mode="after")
    def _lengths_hold_something(self) -> Timed:
        if self.max_seconds < 2 * self.min_seconds:
            raise ValueError(f"max_seconds = {self.max_seconds:g} is under twice min_seconds = {self.min_seconds:g}")
        return self

    def recorded(self, files: Store, place: Place) -> Iterator[Utterance]:
        speaker = pattern_reader(self.speaker_pattern)
        for stem, name in place.audio:
            ref = audio_ref(place.folder, name)
            recording = _Recording(join(place.below, stem), ref, speaker(ref.path), self.language)
            beside = _beside(recording.stem, place.names, self.language)
            yield from self._recording(files, recording, place.notes, beside)

    def unheard(self, files: Store, place: Place) -> Iterator[Utterance]:
        for note in place.names:
            stem, dot, suffix = note.rpartition(".")
            if dot and suffix.lower() in READERS and not any(stem == h or _language(stem, h) for h in place.heard):
                path = join(place.notes, note)
                yield legible(missing_audio(path, None, path))

    def _recording(
        self, files: Store, recording: _Recording, folder: str, beside: dict[str, list[str]]
    ) -> Iterator[Utterance]:
        names = Names()
        try:
            phrases = list(self._phrases(files, folder, beside, recording))
        except BadTranscript as error:
            reason = "bad_encoding" if isinstance(error, _BadEncoding) else "bad_transcript"
            yield legible(recording.whole((reason, str(error))))
            return
        if not phrases:  # nothing is known of what is said; an empty transcript says no more
            yield legible(recording.whole(None))
        for phrase in phrases:
            yield legible(names.apart(recording.utterance(phrase, self.speakers == "local")))

    def _phrases(self, files: Store, folder: str, beside: dict[str, list[str]], recording: _Recording) -> list[Phrase]:
        """What is said when, and by whom. Raises :class:`BadTranscript`."""
        chosen = next((kind for kind in self.formats if kind in beside), None)
        phrases = self._read(files, folder, beside[chosen], chosen, recording) if chosen else []
        turns = self._read(files, folder, beside["rttm"], "rttm", recording) if "rttm" in beside else []
        bad = [turn for turn in turns if turn.fault]
        if chosen and turns:
            phrases = [*bad, *spoken_by(phrases, Turns.of(turns))]
        lengths = Lengths(self.min_seconds, self.max_seconds, self.pause_seconds, self.pad_seconds)
        return fitted(phrases if chosen else turns, lengths)

    def _read(self, files: Store, folder: str, names: list[str], kind: str, recording: _Recording) -> list[Phrase]:
        if len(names) > 1:
            raise BadTranscript(
                f"several transcripts of one recording: {', '.join(names)[:200]}; set corpus.language, or keep one"
            )
        name = join(folder, names[0])
        return READERS[kind](_text(files, name, self.encoding), name, recording.stem)


@dataclass(frozen=True)
class _Recording:
    id: str
    audio: AudioRef
    speaker: str | None
    language: str | None

    @property
    def stem(self) -> str:
        return self.audio.path.rsplit("/", 1)[-1].rsplit(".", 1)[0]

    def whole(self, fault: Fault | None) -> Utterance:
        return Utterance(self.id, self.audio, None, self.speaker, self.language, fault=fault)

    def utterance(self, phrase: Phrase, local: bool) -> Utterance:
        named = f"{self.id}/{phrase.speaker}" if local and phrase.speaker else phrase.speaker
        seconds = round(phrase.end - phrase.start, 6) or None
        times = f"{round(1000 * phrase.start):08d}-{round(1000 * phrase.end):08d}"
        return Utterance(
            f"{self.id}-{times}", self.audio, phrase.text, named or self.speaker, self.language, self.id, phrase.start, seconds,
            phrase.channel, fault=phrase.fault,
        )  # fmt: skip


def _beside(stem: str, notes: list[str], language: str | None) -> dict[str, list[str]]:
    """The transcripts of a recording by format: ``x.srt``, or ``x.en.srt``, in ``language`` where there are several."""
    found: dict[str, dict[str, str]] = {}
    for note in notes:
        head, dot, suffix = note.rpartition(".")
        if dot and suffix.lower() in READERS and (head == stem or _language(head, stem)):
            found.setdefault(suffix.lower(), {})[_language(head, stem) or ""] = note
    return {kind: _of_language(names, language) for kind, names in found.items()}


def _of_language(names: dict[str, str], language: str | None) -> list[str]:
    exact = names.get(language or "") or names.get("")
    return [exact] if exact else list(names.values())


def _language(head: str, stem: str) -> str | None:
    """``en`` for ``x.en`` of the recording ``x``."""
    match = LANGUAGE.fullmatch(head[len(stem) :]) if head.startswith(stem) else None
    return match[1] if match else None


class _BadEncoding(BadTranscript):
    """Bytes that are no text in the encoding that was expected."""


def _text(files: Store, name: str, encoding: str) -> str:
    """The whole file as text; its byte order mark, where it has one, says the encoding. Raises :class:`BadTranscript`."""
    try:
        check_regular(files, name)
        data = files.read(name, 0, MAX_TRANSCRIPT + 1)
    except OSError as error:
        raise BadTranscript(f"{name} cannot be read ({error.strerror or error})") from None
    if len(data) > MAX_TRANSCRIPT:
        raise BadTranscript(f"{name} is longer than {MAX_TRANSCRIPT} bytes; is it a transcript?")
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    try:
        return data[len(mark) :].decode(MARKS.get(mark, encoding))
    except (UnicodeDecodeError, LookupError) as error:
        where = f" (byte {error.start + len(mark)})" if isinstance(error, UnicodeDecodeError) else ""
        raise _BadEncoding(
            f"{name} is not {MARKS.get(mark, encoding)}{where}; set corpus.encoding, e.g. cp1251"
        ) from None
