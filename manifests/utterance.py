"""One utterance on its way in, and its form as a Lhotse cut.

A corpus reader yields :class:`Utterance`: who said what, and where the sound lies, without touching the sound.
:func:`to_cut` adds what the header says and gives a Lhotse ``MonoCut`` (as the JSON that ``CutSet.from_jsonl_lazy`` reads);
:func:`from_cut` is its inverse for the workers, which need no Lhotse to read their units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from manifests.ledger import Status

UNKNOWN_RATE = 16_000  # what an unreadable file is booked at, so that its cut stays a valid one
UNKNOWN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class AudioRef:
    """Where encoded audio (or a token array) lies: a file, a byte range of one, or a cell of a table.

    path    relative to the corpus root, or a URL, or an absolute path
    offset, size    a byte range of the file (a tar's member)
    row, column     a cell of a parquet file (row of the whole file), or of a saved-to-disk dataset (path is its folder)
    """

    path: str
    offset: int | None = None
    size: int | None = None
    row: int | None = None
    column: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {k: v for k in self.__slots__ if (v := getattr(self, k)) is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AudioRef:
        return cls(**value)


@dataclass(frozen=True, slots=True)
class Query:
    """The other side of a dialogue: what the response answers."""

    text: str | None = None
    speaker: str | None = None
    audio: AudioRef | None = None
    channel: int | None = None

    def to_json(self) -> dict[str, Any]:
        audio = self.audio.to_json() if self.audio else None
        return _dense({"text": self.text, "speaker": self.speaker, "audio": audio, "channel": self.channel})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Query:
        audio = AudioRef.from_json(value["audio"]) if value.get("audio") else None
        return cls(value.get("text"), value.get("speaker"), audio, value.get("channel"))


@dataclass(frozen=True, slots=True)
class Header:
    """What probing found: of the encoded bytes, before any decoding. ``fault`` says why nothing was found.

    content is a hash of the encoded bytes, equal for copies of one file.
    """

    sample_rate: int = UNKNOWN_RATE
    frames: int = 0
    channels: int = 1
    content: str | None = None
    fault: tuple[str, str] | None = None  # (reason code, what a person understands)

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


@dataclass(frozen=True, slots=True)
class Utterance:
    """One line of a corpus.

    start, seconds   the part of the recording, in seconds; seconds is None for "to its end"
    channel          None: as the recipe says
    split            only where the corpus itself states one
    units            tokens that came with the corpus, instead of (or beside) its sound
    fault            the corpus itself is broken at this line: (reason code, sentence); such a line is quarantined, not lost
    few_speakers     the plan found too few speakers in the corpus to split by them
    heard            what a recogniser heard, and how it compares: of the ``response``, of the ``query``
    ended            it ended when its text was looked at: (status, reason code, sentence)
    """

    id: str
    audio: AudioRef | None = None
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    recording: str | None = None
    start: float = 0.0
    seconds: float | None = None
    channel: int | None = None
    split: str | None = None
    query: Query | None = None
    units: AudioRef | None = None
    fault: tuple[str, str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    few_speakers: bool = False
    heard: Mapping[str, Any] = field(default_factory=dict)
    ended: tuple[Status, str, str] | None = None

    @property
    def recording_id(self) -> str:
        return self.recording or self.id

    def renamed(self, new_id: str) -> Utterance:
        return replace(self, id=new_id, recording=self.recording_id)


def _dense(value: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if v is not None}


def to_cut(utterance: Utterance, header: Header) -> dict[str, Any]:
    """The utterance as the JSON of a Lhotse ``MonoCut``.

    Lhotse's fields hold what Lhotse knows (recording, times, one supervision); everything else is in ``custom``. An
    unreadable file becomes a cut of :data:`UNKNOWN_SECONDS` whose ``custom.fault`` says why: it must reach the ledger.
    """
    u, fault = utterance, utterance.fault or header.fault
    frames = header.frames if header.frames > 0 else int(UNKNOWN_SECONDS * header.sample_rate)
    total = frames / header.sample_rate
    seconds = u.seconds if u.seconds is not None else max(total - u.start, 0.0)
    channel = u.channel or 0
    source = u.audio or u.units
    supervision = {
        "id": u.id, "recording_id": u.recording_id, "start": 0.0, "duration": seconds, "channel": channel,
        **_dense({"text": u.text, "language": u.language, "speaker": u.speaker}),
    }  # fmt: skip
    recording = {
        "id": u.recording_id,
        "sources": [{"type": "file", "channels": list(range(header.channels)), "source": source.path if source else ""}],
        "sampling_rate": header.sample_rate, "num_samples": frames, "duration": total,
        "channel_ids": list(range(header.channels)),
    }  # fmt: skip
    custom = _dense({
        "audio": u.audio.to_json() if u.audio else None,
        "units": u.units.to_json() if u.units else None,
        "query": u.query.to_json() if u.query else None,
        "asked_seconds": u.seconds, "asked_channel": u.channel, "split": u.split,
        "content": header.content, "fault": list(fault) if fault else None,
        "extra": dict(u.extra) or None,
    })  # fmt: skip
    return {
        "id": u.id, "start": u.start, "duration": seconds, "channel": channel, "supervisions": [supervision],
        "recording": recording, "custom": custom, "type": "MonoCut",
    }  # fmt: skip


def from_cut(cut: Mapping[str, Any]) -> Utterance:
    """The utterance that :func:`to_cut` made this cut of."""
    custom, supervision = cut["custom"], cut["supervisions"][0]
    return Utterance(
        id=cut["id"],
        audio=AudioRef.from_json(custom["audio"]) if "audio" in custom else None,
        text=supervision.get("text"),
        speaker=supervision.get("speaker"),
        language=supervision.get("language"),
        recording=cut["recording"]["id"],
        start=cut["start"],
        seconds=custom.get("asked_seconds"),
        channel=custom.get("asked_channel"),
        split=custom.get("split"),
        query=Query.from_json(custom["query"]) if "query" in custom else None,
        units=AudioRef.from_json(custom["units"]) if "units" in custom else None,
        fault=tuple(custom["fault"]) if "fault" in custom else None,
        extra=custom.get("extra", {}),
        few_speakers=custom.get("few_speakers", False),
        heard=custom.get("heard", {}),
        ended=tuple(custom["ended"]) if "ended" in custom else None,
    )
