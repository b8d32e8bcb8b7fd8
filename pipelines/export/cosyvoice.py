"""CosyVoice: parquet files of sound, text and speech tokens, and the lists that its tools make beside them.

Source of the format: ``tools/make_parquet_list.py`` and the loader of FunAudioLLM/CosyVoice. Lists hold paths as the loader opens them,
so they name the place where the export will lie. Columns that its loader does not know pass through it untouched: the query side is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from manifests.fingerprint import pretty
from pipelines.export.about import About
from pipelines.export.base import Parts, Piece
from pipelines.export.items import Item
from pipelines.export.tables import parquet, vectors

NOBODY = "unknown"  # its lists need a name for every speaker
LISTS = {
    "data.list": "parquet_{:09d}.tar",
    "utt2data.list": "utt2parquet_{:09d}.json",
    "spk2data.list": "spk2parquet_{:09d}.json",
}


@dataclass(frozen=True)
class CosyVoice:
    name: str = "cosyvoice"

    def check(self, about: About) -> None:
        about.one_codebook(self.name)

    def notes(self, about: About) -> Sequence[str]:
        notes = [f"its lists name files under {about.place}; --place names another folder",
                 "no room for: text ids, times; speaker embeddings are not made"]  # fmt: skip
        notes += about.foreign_codes
        if not about.sound:
            notes.append(
                "CosyVoice's own loader decodes the sound of every utterance; without, only readers of your own will do"
            )
        return notes

    def piece(self, about: About, number: int, split: str, items: Sequence[Item]) -> Piece:
        import pyarrow as pa

        word = about.folders[split]
        data, utterances, speakers = (f"{word}/{pattern.format(number)}" for pattern in LISTS.values())
        sound = {"audio_data": pa.array([i.sound.flac if i.sound else None for i in items], pa.binary())}
        table = pa.table({
            "utt": pa.array([i.id for i in items], pa.string()),
            **(sound if about.sound else {}),
            "wav": pa.array([f"{i.key}.flac" for i in items], pa.string()),
            "text": pa.array([i.meta.get("text") or "" for i in items], pa.string()),
            "spk": pa.array([_speaker(i) for i in items], pa.string()),
            "speech_token": vectors([i.speech_FQ[:, 0] for i in items], np.int64),
            "query_text": pa.array([i.query.get("text") for i in items], pa.string()),
            "query_spk": pa.array([i.query.get("speaker") for i in items], pa.string()),
            "query_speech_token": vectors([None if i.query_FQ is None else i.query_FQ[:, 0] for i in items], np.int64),
        })  # fmt: skip
        place = f"{about.place}/{data}"
        return Piece({
            data: parquet(table),
            utterances: pretty({i.id: place for i in items}),
            speakers: pretty({_speaker(i): place for i in items}),
        }, {"rows": len(items)})  # fmt: skip

    def beside(self, about: About, parts: Parts) -> Iterator[tuple[str, Iterator[bytes]]]:
        for split, word in about.folders.items():
            for name, pattern in LISTS.items():
                yield f"{word}/{name}", _lines(f"{about.place}/{word}/", pattern, split, parts)


def _speaker(item: Item) -> str:
    return item.meta.get("speaker") or NOBODY


def _lines(start: str, pattern: str, split: str, parts: Parts) -> Iterator[bytes]:
    for number, splits in parts():
        if split in splits:
            yield f"{start}{pattern.format(number)}\n".encode()
