"""All segments together: how recordings are dealt into units, and the fold of the units into the manifest that the plan reads."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from manifests.fingerprint import pretty
from manifests.receipt import Receipt, receipts
from manifests.settings.plan import PlanSettings
from manifests.settings.segment import SegmentSettings
from manifests.storage import Store
from pipelines.engine.commit import crash_point
from pipelines.engine.contract import Unit
from pipelines.stages.s20_ingest import MANIFEST, RECEIPT, Cuts, cut_lines, read_cuts
from pipelines.stages.s30_plan import read_plan, unit_name, write_plan
from tokenization.voice_activity.activity import Span as Times

STAGE = "segments"
RECORDINGS = "recordings"  # below the stage's folder: its units, as a plan
SUMS = ("heard_ms", "kept_ms", "dropped_ms", "speech_ms", "segments", "cut_up", "left_whole")


@dataclass
class Tally:
    """What a unit's recordings add up to, in whole milliseconds and in numbers.

    heard_ms = kept_ms + dropped_ms   of recordings (or of their channels) that were listened to; kept in segments, dropped as nothing but silence
    speech_ms                what the detector took for speech
    segments, cut_up         segments, and the recordings they are of
    left_whole               recordings that were utterances already
    """

    sums: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(SUMS, 0)))

    def add(self, end: int, speech: list[Times], kept: list[Times]) -> None:
        kept_ms = sum(b - a for a, b in kept)
        self.sums.update(
            heard_ms=end, kept_ms=kept_ms, dropped_ms=end - kept_ms, speech_ms=sum(b - a for a, b in speech)
        )
        self.sums.update(segments=len(kept))

    def to_json(self) -> dict[str, int]:
        return dict(sorted(self.sums.items()))


def recordings_of(store: Store) -> Store:
    """Where the units of the stage in ``store`` say what they are of."""
    return store.sub(RECORDINGS)


def dealing(settings: SegmentSettings, plan: PlanSettings) -> PlanSettings:
    """How recordings are dealt into units: as utterances are, in larger ones; another seed of the plan changes nothing here."""
    return PlanSettings(unit_seconds=settings.unit_seconds, dedup=plan.dedup)


def deal(cuts: Store, settings: SegmentSettings, plan: PlanSettings, store: Store) -> tuple[Unit, ...]:
    """The units of recordings, written where they are not yet."""
    below = recordings_of(store)
    return read_plan(below) or write_plan(cut_lines(cuts), dealing(settings, plan), below)


def packed(store: Store, units: tuple[Unit, ...], source: str) -> tuple[Cuts, bytes]:
    """What is to be known of the manifest of all segments, and its packed bytes; ``source`` is the SHA-256 of what was ingested."""
    out, digest, count, seconds = io.BytesIO(), hashlib.sha256(), 0, 0.0
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=6) as file:
        for unit in units:
            data = store.read(unit_name(unit.index))
            file.write(data)
            digest.update(data)
            durations = [orjson.loads(line)["duration"] for line in data.splitlines()]
            count, seconds = count + len(durations), seconds + sum(durations)
    return Cuts(digest.hexdigest(), count, round(seconds, 6), source), out.getvalue()


def fold(store: Store, units: tuple[Unit, ...], source: str) -> Cuts:
    """Write the manifest that the plan reads, unless it stands there."""
    if (known := read_cuts(store)) is not None:
        return known
    result, manifest = packed(store, units, source)
    store.publish(MANIFEST, manifest)
    crash_point("between-segments-and-receipt")
    store.publish(RECEIPT, pretty(result.to_json()))
    return result


def sums(made: Iterator[Receipt]) -> dict[str, int]:
    """What all recordings add up to: the sums of every unit's :class:`Tally`."""
    whole = Tally()
    for receipt in made:
        whole.sums.update({name: receipt.facts[name] for name in SUMS})
    return whole.to_json()


def describe(folder: str, cuts: Cuts, settings: SegmentSettings, made: Iterator[Receipt]) -> dict[str, Any]:
    """What ``dataset.json`` says of the segments."""
    about = {"sha256": cuts.sha256, "utterances": cuts.utterances, "seconds": cuts.seconds}
    return {"folder": folder, **about, "detector": settings.detector.name, **sums(made)}


def segment_receipts(store: Store, units: tuple[Unit, ...]) -> Iterator[Receipt]:
    return receipts(store, len(units))
