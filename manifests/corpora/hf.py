"""Hugging Face datasets: local parquet files, a folder that ``save_to_disk`` wrote, or a dataset of the hub.

Only pyarrow reads them; the audio column is never decoded while listing, and its bytes are not even read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.cells import BadCell, features_of, parquet_rows, saved_files, saved_rows, schema_of
from manifests.corpora.columns import Columns, as_text, lookup, utterance_of
from manifests.corpora.listing import Names, folders, join, legible, place, split_of_folder
from manifests.storage import Store
from manifests.utterance import AudioRef, Utterance

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


class HuggingFace(Corpus):
    """The root is a folder of parquet files (at any depth) or a saved dataset; with ``hub`` none is needed.

    A dataset of the hub is read as its parquet files, over the network, through ``hf://``. One that consists of other
    files has them converted on the branch ``refs/convert/parquet``: set ``revision`` to that.
    """

    layout: Literal["hf"] = "hf"
    hub: str | None = Field(None, description="name of a dataset on the hub, e.g. openslr/librispeech_asr")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    folder: str = Field("", description="only below this folder (a configuration), relative to the root")
    columns: Columns = Field(Columns(), description="names of columns, where the usual ones do not do")
    splits: tuple[str, ...] = Field((), description="only these splits, as the files name them")

    @model_validator(mode="before")
    @classmethod
    def _root_of_hub(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("hub") and not value.get("root"):
            if not _HUB.fullmatch(str(value["hub"])):
                raise ValueError(f"{value['hub']!r} is no name of a dataset; write it as owner/name")
            revision = f"@{quote(value['revision'], safe='')}" if value.get("revision") else ""
            return {**value, "root": f"hf://datasets/{value['hub']}{revision}"}
        return value

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """File by file, row by row. The id is the ``id`` column, else the file's path and the row.

        Raises :class:`CorpusError` where there is no such dataset, no parquet file, or no audio column.
        """
        any_file = False
        names = Names()
        for source in self._sources(files):
            any_file = True
            for utterance, stated in source.utterances(files, self):
                yield legible(names.once(utterance, source.name) if stated else utterance)
        if not any_file:
            raise CorpusError(
                f"no parquet file and no saved dataset in {files.root}; check corpus.root, folder and splits"
            )

    def _sources(self, files: Store) -> Iterator[_Source]:
        for folder, names in self._walk(files):
            if "state.json" in names:
                split = folder.rsplit("/", 1)[-1]
                if not self.splits or split in self.splits:
                    yield _Source(folder, True, split_of_folder(split))
                continue
            for name in names:
                split = _SHARD.sub("", name.removesuffix(".parquet"))
                split = split if split_of_folder(split) else folder.rsplit("/", 1)[-1]
                if name.endswith(".parquet") and (not self.splits or split in self.splits):
                    yield _Source(join(folder, name), False, split_of_folder(split))

    def _walk(self, files: Store) -> Iterator[tuple[str, list[str]]]:
        try:
            yield from folders(files, self.folder)
        except Exception as error:  # the hub's file system has exceptions of its own
            if files.is_local:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            message = (
                f"cannot list {files.root} ({reason}); check the name, the network and access, or download it first"
            )
            raise CorpusError(message) from None


class _Source:
    """One parquet file, or one saved dataset."""

    def __init__(self, name: str, saved: bool, split: str | None) -> None:
        self.name, self._saved, self._split = name, saved, split

    def utterances(self, files: Store, corpus: HuggingFace) -> Iterator[tuple[Utterance, bool]]:
        """The utterances, each with whether the dataset states its id. A file that breaks is one faulty line."""
        try:
            parts = saved_files(files, self.name) if self._saved else [self.name]
            row = 0
            for part in parts:
                for values, found, audio in self._rows(files, part, corpus):
                    utterance = self._utterance(files, corpus, values, found, audio, row)
                    yield utterance, lookup(values, found.get("id")) is not None
                    row += 1
        except BadCell as error:
            yield Utterance(f"{self.name}:rest", fault=("broken_table", str(error))), False

    def _rows(
        self, files: Store, part: str, corpus: HuggingFace
    ) -> Iterator[tuple[dict[str, Any], dict[str, str], str]]:  # fmt: skip
        schema = schema_of(files, part)
        features = features_of(schema)
        absent = corpus.columns.absent(schema.names)
        found = corpus.columns.find(schema.names)
        audio = corpus.columns.audio or _audio_column(features) or found.get("audio")
        if absent or audio is None:
            lack = f"no column {absent[0]!r}" if absent else "no audio column"
            raise CorpusError(f"{part} has {lack}; it has {', '.join(schema.names)[:200]}; set corpus.columns")
        found = {f: c for f, c in found.items() if f != "audio" and c != audio and not f.startswith("query_audio")}
        classes = {c: features[c]["names"] for c in found.values() if _is_classes(features.get(c))}
        wanted = sorted({c.split(".", 1)[0] for c in found.values()})
        rows = (saved_rows if self._saved else parquet_rows)(files, part, audio, wanted)
        for values in rows:
            yield values | {c: _class(values[c], names) for c, names in classes.items()}, found, audio

    def _utterance(
        self,
        files: Store,
        corpus: HuggingFace,
        values: Mapping[str, Any],
        found: Mapping[str, str],
        audio: str,
        row: int,
    ) -> Utterance:
        ref = AudioRef(self.name, row=row, column=audio)
        name = f"{self.name.removesuffix('.parquet') or 'dataset'}/{row:07d}"
        where = f"{self.name} row {row}"
        u = utterance_of(values, found, where, partial(place, files), corpus.language, None, ref, name)
        path = as_text(values.get(audio))
        return replace(u, split=u.split or self._split, extra={**u.extra, **({"file": path} if path else {})})


def _audio_column(features: Mapping[str, Any]) -> str | None:
    return next((c for c, f in features.items() if isinstance(f, dict) and f.get("_type") == "Audio"), None)


def _is_classes(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)


def _class(value: Any, names: list[Any]) -> Any:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
