"""Hugging Face: parquet files with features in their schema, a split to a pattern of names, and a card that ``load_dataset`` goes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from manifests.filters.columns import QUERY
from pipelines.export.about import About
from pipelines.export.base import Parts, Piece
from pipelines.export.card import card
from pipelines.export.items import Item, Sound
from pipelines.export.tables import matrices, parquet, vectors

if TYPE_CHECKING:
    from datasets import Features


@dataclass(frozen=True)
class HuggingFace:
    name: str = "hf"

    def check(self, about: About) -> None:
        """There is room for every dataset."""

    def notes(self, about: About) -> Sequence[str]:
        return (
            ["to hear audio columns, datasets needs torchcodec (or cast each of them with Audio(decode=False))"]
            if about.sound
            else []
        )

    def piece(self, about: About, number: int, split: str, items: Sequence[Item]) -> Piece:
        import pyarrow as pa

        schema = features(about).arrow_schema
        columns = _columns(about, items)
        table = pa.Table.from_arrays([pa.array(columns[f.name], f.type) if isinstance(columns[f.name], list) else columns[f.name]
                                      for f in schema], schema=schema)  # fmt: skip
        data = parquet(table)
        name = f"data/{about.folders[split]}-{number:06d}.parquet"
        return Piece({name: data}, {"rows": len(items), "bytes": table.nbytes, "stored": len(data)})

    def beside(self, about: About, parts: Parts) -> Iterator[tuple[str, Iterator[bytes]]]:
        sums: dict[str, Counter[str]] = {split: Counter() for split in about.folders}
        for _, splits in parts():
            for split, facts in splits.items():
                sums[split].update(facts)
        yield "README.md", iter([card(about, features(about), sums)])


def features(about: About) -> Features:
    """The columns of every file, with or without sound."""
    from datasets import Audio, Features, List, Value

    text, seconds, ids, codes = Value("string"), Value("float64"), List(Value("int32")), List(List(Value("uint16")))
    sound = Audio(sampling_rate=about.sample_rate)
    columns: dict[str, Any] = {
        "id": text, "text": text, "speaker": text, "language": text, "corpus": text, "recording": text,
        "start": seconds, "duration": seconds, "audio": sound, "speech": codes, "text_ids": ids,
        "query_text": text, "query_speaker": text, "query_duration": seconds, "query_audio": sound, "query_speech": codes,
        "query_text_ids": ids, "extra": text, **dict.fromkeys(about.scores, Value("float64")),
    }  # fmt: skip
    if not about.sound:
        del columns["audio"], columns["query_audio"]
    return Features(columns)


def _columns(about: About, items: Sequence[Item]) -> dict[str, Any]:
    """Lists, or Arrow arrays that are made without a Python object a code."""
    same = ("id", "text", "speaker", "language", "corpus", "recording", "start", "duration")
    columns: dict[str, Any] = {name: [i.meta.get(name) for i in items] for name in same}
    columns |= {f"query_{name}": [i.query.get(name) for i in items] for name in ("text", "speaker", "duration")}
    columns["extra"] = [orjson.dumps(i.meta["extra"]).decode() if "extra" in i.meta else None for i in items]
    for name in about.scores:
        columns[name] = [_score(i, name) for i in items]
    columns["speech"] = matrices([i.speech_FQ for i in items], about.codebooks)
    columns["query_speech"] = matrices([i.query_FQ for i in items], about.codebooks)
    columns["text_ids"] = vectors([i.text_L for i in items], np.int32)
    columns["query_text_ids"] = vectors([i.query_text_L for i in items], np.int32)
    columns["audio"] = [_audio(i.sound, f"{i.key}.flac") for i in items]
    columns["query_audio"] = [_audio(i.query_sound, f"{i.key}.query.flac") for i in items]
    return columns


def _score(item: Item, name: str) -> float | None:
    side = item.query if name.startswith(QUERY) else item.meta
    value = side.get("scores", {}).get(name.removeprefix(QUERY))
    return None if value is None else float(value)


def _audio(sound: Sound | None, path: str) -> dict[str, Any] | None:
    return None if sound is None else {"bytes": sound.flac, "path": path}
