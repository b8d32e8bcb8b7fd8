"""Lhotse Shar: a folder a split, ``cuts.NNNNNN.jsonl.gz`` beside one tar a field, in the order of the cuts.

Lhotse's own writer puts the time into its gzip headers and encodes sound anew; here its manifests are filled, and the files around them
written so that they are the same every time. Codes are plain arrays, not temporal ones: Lhotse cuts a temporal array to the cut's
duration, which would cost the last frame where that is not a whole number of frames.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from manifests.fingerprint import canonical
from manifests.shards import npy
from pipelines.export.about import About
from pipelines.export.base import Parts, Piece
from pipelines.export.items import Item, Sound


@dataclass(frozen=True)
class Entry:
    """What one tar holds for one cut: a data member of some ending, and Lhotse's manifest of it."""

    data: bytes
    ending: str
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Shar:
    name: str = "shar"

    def check(self, about: About) -> None:
        """There is room for every dataset."""

    def notes(self, about: About) -> Sequence[str]:
        return ["open one split at a time: CutSet.from_shar(in_dir=DEST + '/train')"]

    def piece(self, about: About, number: int, split: str, items: Sequence[Item]) -> Piece:
        folder = about.folders[split]
        made = {field: [make(item) for item in items] for field, make in _fields(about).items()}
        files = {f"{folder}/{field}.{number:06d}.tar": _tar(items, entries) for field, entries in made.items()}
        cuts = [_cut(item, _manifests(made, i), about) for i, item in enumerate(items)]
        return Piece({f"{folder}/cuts.{number:06d}.jsonl.gz": _gzipped(cuts), **files}, {"rows": len(items)})

    def beside(self, about: About, parts: Parts) -> Iterator[tuple[str, Iterator[bytes]]]:
        return iter(())


def _manifests(made: Mapping[str, Sequence[Entry | None]], i: int) -> dict[str, Any]:
    """What the tars hold for cut ``i``, by field."""
    return {field: entry.manifest for field, entries in made.items() if (entry := entries[i])}


def _fields(about: About) -> dict[str, Callable[[Item], Entry | None]]:
    """One tar each, the same ones in every part, as Lhotse wants it."""
    fields: dict[str, Callable[[Item], Entry | None]] = {"speech": lambda i: _codes(i.speech_FQ)}
    if about.query_sound:
        fields["query_speech"] = lambda i: _codes(i.query_FQ)
    if about.sound:
        fields["recording"] = lambda i: _recording(f"{cut_id(i)}", i.sound)
        if about.query_sound:
            fields["query_recording"] = lambda i: _recording(f"{cut_id(i)}-query", i.query_sound)
    return fields


def cut_id(item: Item) -> str:
    """The utterance's id where Lhotse finds it again in the name of a tar's member, else its key; no two are equal."""
    path = PurePosixPath(f"{item.id}.npy")
    kept = str(path.parent / path.stem) == item.id and not path.is_absolute() and ".." not in path.parts
    return item.id if kept and item.id.isprintable() and "%" not in item.id else item.key


def _codes(codes_FQ: np.ndarray | None) -> Entry | None:
    if codes_FQ is None:
        return None
    from lhotse.array import Array

    manifest = Array(storage_type="shar", storage_path="", storage_key="", shape=list(codes_FQ.shape))
    return Entry(npy.dump(codes_FQ), "npy", manifest.to_dict())


def _recording(name: str, sound: Sound | None) -> Entry | None:
    if sound is None:
        return None
    from lhotse import AudioSource, Recording

    manifest = Recording(
        id=name, sources=[AudioSource(type="shar", channels=[0], source="")], sampling_rate=sound.rate,
        num_samples=sound.samples, duration=sound.samples / sound.rate, channel_ids=[0],
    )  # fmt: skip
    return Entry(sound.flac, "flac", manifest.to_dict())


def _cut(item: Item, manifests: dict[str, Any], about: About) -> dict[str, Any]:
    """The cut as Lhotse reads it. What Lhotse has no name for is in ``custom``."""
    from lhotse import SupervisionSegment

    meta, recording = item.meta, manifests.pop("recording", None)
    seconds = recording["duration"] if recording else meta["duration"]
    supervision = SupervisionSegment(
        id=item.id, recording_id=recording["id"] if recording else meta["recording"], start=0.0, duration=seconds,
        text=meta.get("text"), language=meta.get("language"), speaker=meta.get("speaker"),
    )  # fmt: skip
    query = {
        f"query_{name}": item.query[name]
        for name in ("text", "speaker", "duration", "scores")
        if item.query.get(name) is not None
    }
    if item.query_text_L is not None:
        query["query_text_ids"] = item.query_text_L.tolist()
    if "query_recording" in manifests:
        query["query_recording_unaligned"] = True  # Lhotse: as long as it is, not as long as the cut
    custom = {
        "split": meta["split"], "corpus": meta["corpus"], "source_recording": meta["recording"], "source_start": meta["start"],
        "frame_rate": about.frame_rate, "text_ids": item.text_L.tolist(), **query,
        **{name: meta[name] for name in ("scores", "extra") if name in meta}, **manifests,
    }  # fmt: skip
    return {
        "id": cut_id(item), "start": 0.0, "duration": seconds, "channel": 0, "supervisions": [supervision.to_dict()],
        **({"recording": recording} if recording else {}), "custom": custom, "type": "MonoCut",
    }  # fmt: skip


def _gzipped(cuts: Sequence[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=6) as file:
        for cut in cuts:
            file.write(canonical(cut) + b"\n")
    return out.getvalue()


def _tar(items: Sequence[Item], entries: Sequence[Entry | None]) -> bytes:
    """Two members a cut: its data, then the manifest; two empty ones where it has none."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item, entry in zip(items, entries, strict=True):
            members = [("nodata", b""), ("nometa", b"")]
            if entry is not None:
                members = [(entry.ending, entry.data), ("json", json.dumps(entry.manifest, sort_keys=True).encode())]
            for ending, data in members:
                info = tarfile.TarInfo(f"{cut_id(item)}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
