"""Segment, only where a recipe asks for it: long recordings become utterances of bounded length, each with its times in the recording.

The manifest of the corpus is dealt into units as a plan is; a unit's recordings are heard window by window, never whole in memory,
and a fold over all units writes the manifest that the plan reads instead. A recording that gives no utterance stays in it, with
what became of it, so that it reaches the ledger. What a recording's text belongs to is known: the whole. So one that has a text is left
as it is where it is short enough, and never cut with its text.

In ``segments-<hash>/``: ``recordings/`` (what the units are of), ``unit-NNNNNN.jsonl`` and receipts, ``cuts.jsonl.gz`` and ``cuts.json``.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson

from manifests.audio.decode import Span
from manifests.audio.probe import Unreadable, probe
from manifests.audio.windows import Heard, listen
from manifests.corpora.base import Corpus
from manifests.fetch import Fetcher, FetchFailed, reading
from manifests.ledger import Outcome
from manifests.settings.clean import CleanSettings
from manifests.settings.segment import SegmentSettings
from manifests.storage import Store
from manifests.utterance import UNKNOWN_SECONDS, Header, Utterance, from_cut, to_cut
from pipelines.engine.contract import Beat, Made, Task, Unit
from pipelines.stages.s20_ingest import fetcher
from pipelines.stages.s30_plan import unit_cuts, unit_name
from pipelines.stages.s40_clean import Dropped, Mixing, length_kept
from pipelines.stages.segments import STAGE, Tally, recordings_of
from tokenization.voice_activity.activity import Activity, Ear
from tokenization.voice_activity.activity import Span as Times
from tokenization.voice_activity.contract import Detector, DetectorError
from tokenization.voice_activity.registry import open_detector
from tokenization.voice_activity.utterances import Bounds, utterances

VERSION = 2  # 2: joined files and MP3s without a length are heard to their ends, and parts end where the next begin
Cut = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class SegmentJob:
    """Cut up the recordings of the units under ``folder``.

    version   of the detector, where it must be that one
    """

    folder: str
    root: str
    corpus: Corpus
    settings: SegmentSettings
    clean: CleanSettings
    units: tuple[Unit, ...]
    version: str = ""
    stage: str = STAGE

    def open(self) -> SegmentWorker:
        """Raises ``DetectorError`` where the detector is not installed on this node, or is another one than on others."""
        detector = open_detector(self.settings.detector)
        if self.version and detector.version != self.version:
            raise DetectorError(
                f"the detector {detector.name} is of version {detector.version} on {platform.node()}, and of {self.version} where the run was started"
            )
        return SegmentWorker(self, fetcher(self.corpus, self.root), detector)


@dataclass
class _Ears:
    """The ears of one recording: one for all channels, or one for each. ``mixing`` only where there are several for one."""

    ears: dict[int | None, Ear]
    beat: Beat
    mixing: Mixing | None = None

    def hear(self, piece_CT: np.ndarray) -> None:
        if self.mixing is not None:
            self.mixing.add(piece_CT)
        for ear in self.ears.values():
            ear.hear(piece_CT)
        self.beat(0)


class _Aside(Exception):
    """A recording that gives no utterance."""

    def __init__(self, dropped: Dropped) -> None:
        super().__init__(dropped.detail)
        self.dropped = dropped


@dataclass
class SegmentWorker:
    job: SegmentJob
    fetch: Fetcher
    detector: Detector

    def process(self, task: Task, beat: Beat) -> Made:
        """The cuts of a unit's recordings, in the order of the unit; an outcome for each recording."""
        cuts = list(unit_cuts(recordings_of(Store(self.job.folder)), task.unit.index))
        first, end = task.only or (0, len(cuts))
        lines, outcomes, tally = list[bytes](), list[Outcome](), Tally()
        for position in range(first, end):
            made = self._recording(cuts[position], task.skip.get(position), tally, beat)
            lines += [orjson.dumps(cut) + b"\n" for cut in made]
            outcomes.append(_outcome(cuts[position]["id"], made))
            beat(1)
        return Made({unit_name(task.unit.index): b"".join(lines)}, tuple(outcomes), tally.to_json())

    def _recording(self, cut: Cut, poison: tuple[str, str] | None, tally: Tally, beat: Beat) -> list[Cut]:
        """The utterances of one recording; the recording itself, marked, where it gives none."""
        if poison is not None:
            return [_marked(cut, Dropped("quarantined", *poison))]
        u = from_cut(cut)
        if u.fault or "copy_of" in cut["custom"]:
            return [_booked(cut)]
        try:
            seconds = self._seconds(u, cut, beat)
            if self._is_utterance(u, seconds):
                tally.sums["left_whole"] += 1
                return [cut]
            made = self._cut_up(u, cut, seconds, tally, beat)
        except _Aside as aside:
            return [_marked(cut, aside.dropped)]
        tally.sums["cut_up"] += 1
        return made

    def _seconds(self, u: Utterance, cut: Cut, beat: Beat) -> float:
        """How long it is; heard out where it would lose its text, or itself, for a length that is only estimated.

        Raises as :meth:`_hear` does.
        """
        if u.seconds is not None or self._is_utterance(u, cut["duration"]) or u.text is None:
            return cut["duration"]
        span = Span(u.start, None) if u.start else None

        def measured(data: bytes | Path) -> float:
            if not probe(data).estimated:
                return cut["duration"]
            heard = listen(data, lambda *_: _Ears({}, beat), self.job.settings.max_recording_seconds, span).decoded
            return heard.wave_CT.shape[1] / heard.sample_rate

        return self._read(u, "content" in cut["custom"], measured)

    def _is_utterance(self, u: Utterance, seconds: float) -> bool:
        """Whether it stays as it is."""
        if u.audio is None or u.units is not None or u.query is not None:  # a turn of a dialogue; tokens of its own
            return True
        if u.text is None:
            return False
        return seconds <= self.job.settings.max_seconds

    def _cut_up(self, u: Utterance, cut: Cut, seconds: float, tally: Tally, beat: Beat) -> list[Cut]:
        settings = self.job.settings
        if u.text is not None and settings.text == "keep":
            raise _Aside(Dropped(
                "filtered", "text_without_times",
                f"{seconds:.2f} s is over segment.max_seconds = {settings.max_seconds:g}, and its text says nothing of times; "
                "give it a transcript with times (corpus.layout = timed), or set segment.text = drop",
            ))  # fmt: skip
        heard = self._hear(u, "content" in cut["custom"], beat)
        header, found = _header(u, cut, heard), list[Cut]()
        ends, short = list[int](), False
        for channel, ear in heard.listener.ears.items():
            activity = ear.done()
            spans, speech = self._utterances(activity)
            ends.append(activity.milliseconds)
            short = short or bool(speech)
            tally.add(activity.milliseconds, speech, spans)
            found += [self._segment(u, header, times, channel) for times in spans]
        if not found:
            nothing, mixing = _nothing(max(ends, default=0) / 1000, short, settings), heard.listener.mixing
            raise _Aside(nothing if mixing is None or short else mixing.explained(nothing))
        return found

    def _utterances(self, activity: Activity) -> tuple[list[Times], list[Times]]:
        """(utterances, speech), the first without what is too short because the whole recording is."""
        bounds = Bounds.of(self.job.settings)
        speech = activity.speech(self.detector.threshold)
        spans = utterances(speech, activity.milliseconds, activity.level_G, bounds)
        return [(a, b) for a, b in spans if b - a >= bounds.shortest], speech

    def _hear(self, u: Utterance, listed: bool, beat: Beat) -> Heard[_Ears]:
        """The recording in the detector's ears; ``listed``: it was read when the corpus was listed.

        Raises :class:`_Aside`, and ``FetchFailed`` where storage does not answer or what was listed is gone.
        """
        span = Span(u.start, u.seconds) if u.start or u.seconds is not None else None
        most = self.job.settings.max_recording_seconds
        heard = self._read(
            u, listed, lambda data: listen(data, lambda rate, n: self._ears(u, rate, n, beat), most, span)
        )
        if (dropped := length_kept(heard.decoded, self.job.clean)) is not None:
            raise _Aside(dropped)
        return heard

    def _read(self, u: Utterance, listed: bool, use: Callable[[bytes | Path], T]) -> T:
        """What ``use`` makes of the encoded sound. Raises as :meth:`_hear` does."""
        assert u.audio is not None
        try:
            with reading(u.audio, listed):
                return use(self.fetch.local_path(u.audio) or self.fetch.fetch(u.audio))
        except (FetchFailed, Unreadable) as error:
            if isinstance(error, FetchFailed) and error.transient:
                raise
            raise _Aside(Dropped("quarantined", error.reason, error.message)) from None

    def _ears(self, u: Utterance, rate: int, channels: int, beat: Beat) -> _Ears:
        wanted: int | str | None = u.channel if u.channel is not None else self.job.clean.channel
        if channels == 1:  # nothing to choose, whatever side of a call it was
            return _Ears({u.channel: Ear(self.detector, rate)}, beat)
        if u.channel is None and self.job.settings.channels == "apart":
            return _Ears({c: Ear(self.detector, rate, c) for c in range(channels)}, beat)
        if isinstance(wanted, int):
            if wanted >= channels:
                what = f"channel {wanted} is asked for; the recording has {channels}"
                raise _Aside(Dropped("quarantined", "no_such_channel", what))
            return _Ears({u.channel: Ear(self.detector, rate, wanted)}, beat)
        return _Ears({None: Ear(self.detector, rate)}, beat, Mixing())

    def _segment(self, u: Utterance, header: Header, times: Times, channel: int | None) -> Cut:
        """An utterance of a recording; its id tells the channel, where there are several, and its times in milliseconds."""
        base = round(1000 * u.start)
        side = f"-c{channel}" if channel != u.channel else ""
        segment = replace(
            u, id=f"{u.id}{side}-{base + times[0]:08d}-{base + times[1]:08d}", recording=u.recording_id, text=None,
            start=round(u.start + times[0] / 1000, 6), seconds=round((times[1] - times[0]) / 1000, 3), channel=channel,
        )  # fmt: skip
        return to_cut(segment, header)


def _header(u: Utterance, cut: Cut, heard: Heard[Any]) -> Header:
    """What is known of the recording: its length as decoded, where it was decoded to its end."""
    recording, content = cut["recording"], cut["custom"].get("content")
    rate, frames = recording["sampling_rate"], recording["num_samples"]
    channels, came = heard.decoded.wave_CT.shape
    if u.seconds is None:
        rate = heard.decoded.sample_rate
        frames = came + round(u.start * rate)
    return Header(rate, frames, channels, content)


def _nothing(seconds: float, speech: bool, settings: SegmentSettings) -> Dropped:
    if speech:
        return Dropped(
            "filtered", "too_short", f"{seconds:.2f} s is under segment.min_seconds = {settings.min_seconds:g}"
        )
    return Dropped(
        "filtered", "no_speech", f"the detector {settings.detector.name} finds no speech in its {seconds:.2f} s"
    )


def _marked(cut: Cut, dropped: Dropped) -> Cut:
    """A recording that gives no utterance, as it stands in the manifest: the ledger is to say why."""
    mark = {"filtered": "filtered", "quarantined": "fault"}[dropped.status]
    return _booked({**cut, "custom": {**cut["custom"], mark: [dropped.reason, dropped.detail]}})


def _booked(cut: Cut) -> Cut:
    """At the length of an unreadable file: hours that nobody will hear must not fill a unit, or the sample that is fitted on.

    Without the hash of its bytes, too: whether it is a copy was settled before.
    """
    seconds = min(cut["duration"], UNKNOWN_SECONDS)
    custom = {name: value for name, value in cut["custom"].items() if name != "content"}
    supervisions = [{**s, "duration": seconds} for s in cut["supervisions"]]
    return {**cut, "duration": seconds, "supervisions": supervisions, "custom": custom}


def _outcome(recording: str, made: list[Cut]) -> Outcome:
    """What became of a recording: written, as one cut or several; or why not."""
    custom = made[0]["custom"]
    if "fault" in custom:
        return Outcome(recording, "quarantined", *custom["fault"])
    if "filtered" in custom:
        return Outcome(recording, "filtered", *custom["filtered"])
    if "copy_of" in custom:
        return Outcome(recording, "filtered", "duplicate_audio", f"the same sound and text as {custom['copy_of']}")
    return Outcome(recording, "written")
