"""Lhotse manifests: cuts, or recordings with supervisions (JSONL or JSON, plain or gzip), and Shar folders.

The JSON is read here, line by line, rather than through ``CutSet``: there one bad line ends the whole manifest, Shar
brings each sound into memory, and an audio source of type ``command`` is a shell command that reading it would run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.columns import as_seconds, as_text
from manifests.corpora.lines import parse_object, read_json_items, read_lines
from manifests.corpora.listing import Fault, Names, legible, place
from manifests.corpora.shar import SharSounds, shar_parts
from manifests.storage import Store
from manifests.utterance import AudioRef, Utterance

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


class Lhotse(Corpus):
    """The root is what the manifests' paths are relative to."""

    layout: Literal["lhotse"] = "lhotse"
    cuts: str | None = Field(None, description="a manifest of cuts, relative to the root")
    recordings: str | None = Field(None, description="instead of cuts: a manifest of recordings")
    supervisions: str | None = Field(None, description="and one of supervisions")
    shar: str | None = Field(None, description="instead of both: a Shar folder, relative to the root")
    audio: str = Field("", description="folder that paths start from, relative to the root")

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """One utterance for each supervision of a cut, or the cut itself where it has none, in the order of the manifest.

        Without options the root is searched: a Shar folder, else ``cuts*``, else ``recordings*`` and ``supervisions*``.
        Raises :class:`CorpusError` where nothing is found or a manifest is in another format (YAML, pickles).
        """
        names = Names()
        for cut in self._cuts(files, self._resolved(files)):
            utterances = list(self._of_cut(files, cut))
            for u in utterances:
                yield legible(names.apart(u) if len(utterances) > 1 else names.once(u, cut.where))

    def _resolved(self, files: Store) -> Lhotse:
        """These settings with the manifests that were found, where none is stated."""
        if self.cuts or self.recordings or self.shar is not None:
            return self
        if shar_parts(files, ""):
            return self.model_copy(update={"shar": ""})
        names = [n for n in files.list() if n.endswith(SUFFIXES)]
        found = {k: [n for n in names if k in n] for k in ("cuts", "recordings", "supervisions")}
        wanted = ("cuts",) if found["cuts"] else ("recordings", "supervisions")
        if not found[wanted[0]] or any(len(found[k]) > 1 for k in wanted):
            there = ", ".join(names)[:200] or "no manifests"
            raise CorpusError(
                f"which manifest of {files.root}? set corpus.cuts, or corpus.recordings (there are: {there})"
            )
        return self.model_copy(update={k: found[k][0] for k in wanted if found[k]})

    def _cuts(self, files: Store, settings: Lhotse) -> Iterator[_Cut]:
        if settings.shar is not None:
            yield from _shar_cuts(files, settings.shar.strip("/"))
        elif settings.cuts:
            for where, item, fault in _items(files, settings.cuts):
                yield _Cut(where, item, fault)
        elif settings.recordings:
            yield from _supervised(files, settings.recordings, settings.supervisions)

    def _of_cut(self, files: Store, cut: _Cut) -> Iterator[Utterance]:
        value, recording = cut.value, cut.value.get("recording")
        key = as_text(value.get("id")) or cut.where.replace(" ", ":")
        fault = cut.fault or _unsupported(value, recording, cut.where)
        if fault or not isinstance(recording, Mapping):
            yield Utterance(key, text=_text_of(value), language=self.language, fault=fault)
            return
        supervisions = [s for s in value.get("supervisions") or [] if isinstance(s, Mapping)]
        for supervision in supervisions or [{}]:
            own = as_text(supervision.get("id")) if len(supervisions) > 1 else None
            yield self._utterance(files, cut, own or key, recording, supervision)

    def _utterance(
        self, files: Store, cut: _Cut, key: str, recording: Mapping[str, Any], supervision: Mapping[str, Any]
    ) -> Utterance:
        if cut.sound is not None:
            source = _Sound(cut.sound, None)
        else:
            source = _source(recording, _channel(cut.value, supervision), cut.where)
        audio = source.audio
        if audio is not None and cut.sound is None:
            audio = AudioRef(place(files, audio.path, self.audio))
        try:
            start, seconds = _window(cut.value, supervision, recording)
            fault = source.fault
        except ValueError as error:
            start, seconds, fault = 0.0, None, source.fault or ("bad_line", f"{cut.where} states {error}")
        gender = as_text(supervision.get("gender"))
        return Utterance(
            key, audio, as_text(supervision.get("text")), as_text(supervision.get("speaker")),
            as_text(supervision.get("language")) or self.language, as_text(recording.get("id")), start, seconds,
            source.channel, fault=fault, extra={"gender": gender} if gender else {},
        )  # fmt: skip


@dataclass(frozen=True)
class _Cut:
    """A cut's JSON, where it stands, what is wrong with it, and its sound where that is not its own business."""

    where: str
    value: Mapping[str, Any]
    fault: Fault | None = None
    sound: AudioRef | None = None


@dataclass(frozen=True)
class _Sound:
    audio: AudioRef | None
    channel: int | None
    fault: Fault | None = None


def _items(files: Store, name: str) -> Iterator[tuple[str, dict[str, Any], Fault | None]]:
    """(where, object, fault) of each item of a manifest."""
    if not name.endswith(SUFFIXES):
        raise CorpusError(f"{name} is no JSONL or JSON manifest; convert it with `lhotse copy {name} cuts.jsonl.gz`")
    if not files.exists(name):
        raise CorpusError(f"no manifest {name} in {files.root}")
    if ".jsonl" in name:
        for line in read_lines(files, name):
            yield f"{name} line {line.number}", *parse_object(line, name)
        return
    for number, item in enumerate(read_json_items(files, name)):
        where = f"{name} item {number}"
        yield (where, item, None) if isinstance(item, dict) else (where, {}, ("bad_line", f"{where} is no object"))


def _shar_cuts(files: Store, folder: str) -> Iterator[_Cut]:
    parts = shar_parts(files, folder)
    if not parts:
        raise CorpusError(f"no cuts.*.jsonl.gz with recording.*.tar in {files.root}/{folder}; is it a Shar folder?")
    for cuts, tar in parts:
        with SharSounds(files, tar) as sounds:
            for where, item, fault in _items(files, cuts):
                sound, lost = (None, None) if fault else sounds.of(str(item.get("id")))
                yield _Cut(where, item, fault or lost, sound)


def _supervised(files: Store, recordings: str, supervisions: str | None) -> Iterator[_Cut]:
    """Supervisions as cuts of their recordings, then the recordings that have none."""
    known: dict[str, tuple[str, dict[str, Any]]] = {}
    for where, item, fault in _items(files, recordings):
        if fault or not isinstance(item.get("id"), str):
            yield _Cut(where, {}, fault or ("bad_line", f"{where} has no id"))
        else:
            known[item["id"]] = (where, item)
    heard: set[str] = set()
    for where, item, fault in _items(files, supervisions) if supervisions else ():
        recording = str(item.get("recording_id"))
        heard.add(recording)
        if recording not in known:
            fault = fault or ("missing_audio", f"{where} is of a recording {recording} that {recordings} has not")
        own = {**item, "start": 0.0}
        cut = {**item, "supervisions": [own], "recording": known.get(recording, ("", None))[1], "type": "MonoCut"}
        yield _Cut(where, cut, fault)
    for key, (where, item) in known.items():
        if key not in heard:
            yield _Cut(where, {"id": key, "start": 0.0, "duration": item.get("duration"), "recording": item})


def _unsupported(cut: Mapping[str, Any], recording: Any, where: str) -> Fault | None:
    kind = as_text(cut.get("type")) or "MonoCut"
    if "tracks" in cut or kind not in ("MonoCut", "MultiCut"):
        return (
            "unsupported_cut",
            f"{where} is a {kind}: no single recording; save its audio first (CutSet.save_audios)",
        )
    if not isinstance(recording, Mapping):
        return ("missing_audio", f"{where} has no recording (features cannot be tokenized)")
    if recording.get("transforms"):
        return ("unsupported_cut", f"{where} changes its audio on the fly; save it first (CutSet.save_audios)")
    return None


def _source(recording: Mapping[str, Any], channel: int | None, where: str) -> _Sound:
    """The file (or URL) of the recording that has the channel, and which of the file's channels it is."""
    sources = [s for s in recording.get("sources") or [] if isinstance(s, Mapping)]
    having = [s for s in sources if channel is None or channel in (s.get("channels") or [])]
    source = (having or sources or [{}])[0]
    kind, path = source.get("type"), source.get("source")
    if kind == "command":
        sentence = (
            f"{where}: its audio is a shell command, which is never run; save its audio first (CutSet.save_audios)"
        )
        return _Sound(None, None, ("pipe_refused", sentence))
    if kind not in ("file", "url") or not isinstance(path, str) or not path:
        sentence = f"{where}: an audio source of type {json.dumps(kind)[:40]} cannot be read; files and URLs can"
        return _Sound(None, None, ("missing_audio", sentence))
    channels = source.get("channels") or []
    several = len(channels) > 1 and channel in channels
    return _Sound(AudioRef(path), channels.index(channel) if several else None)


def _channel(cut: Mapping[str, Any], supervision: Mapping[str, Any]) -> int | None:
    for value in (supervision.get("channel"), cut.get("channel")):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _window(
    cut: Mapping[str, Any], supervision: Mapping[str, Any], recording: Mapping[str, Any]
) -> tuple[float, float | None]:  # fmt: skip
    """(start, length) in the recording; the length is None where it is the whole. Raises ValueError."""
    start, seconds = as_seconds(cut.get("start")) or 0.0, as_seconds(cut.get("duration"))
    begin, length = as_seconds(supervision.get("start")) or 0.0, as_seconds(supervision.get("duration"))
    total = as_seconds(recording.get("duration"))
    if length is not None:  # a supervision may reach beyond its cut
        end = begin + length if seconds is None else min(begin + length, seconds)
        begin = max(begin, 0.0)
        start, seconds = round(start + begin, 9), round(end - begin, 9)
    if start < 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"a start of {start:g} s and a length of {seconds} s")
    whole = start == 0 and seconds is not None and total is not None and abs(seconds - total) < 1e-3
    return start, None if whole else seconds


def _text_of(cut: Mapping[str, Any]) -> str | None:
    texts = [as_text(s.get("text")) for s in cut.get("supervisions") or [] if isinstance(s, Mapping)]
    return " ".join(t for t in texts if t) or None
