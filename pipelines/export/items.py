"""Utterances as exporters get them: a sample of a shard that was found whole, with its sound where it goes along.

Legend: wave_T mono float32; pcm_T int16; codes_FQ uint16 (frames x codebooks); text_L int32.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.dataset import Dataset
from manifests.fetch import FetchFailed
from manifests.fingerprint import sha256
from manifests.ledger import Outcome
from manifests.recipe import parse
from manifests.shards.reader import Sample, Shard, ShardError
from manifests.storage import Store
from pipelines.export.about import token_recipe
from pipelines.export.errors import ExportError
from pipelines.stages.hearing import Ear, Side
from pipelines.stages.s20_ingest import fetcher
from pipelines.stages.s30_plan import unit_cuts


@dataclass(frozen=True)
class Sound:
    """The cleaned sound that codes were made of, as lossless 16-bit FLAC."""

    flac: bytes
    samples: int
    rate: int


@dataclass(frozen=True)
class Item:
    """One utterance to export. Sounds are None where there are none, or they stay behind."""

    sample: Sample
    sound: Sound | None = None
    query_sound: Sound | None = None

    @property
    def key(self) -> str:
        return self.sample.key

    @property
    def meta(self) -> Mapping[str, Any]:
        return self.sample.meta

    @property
    def id(self) -> str:
        return self.meta["id"]

    @property
    def query(self) -> Mapping[str, Any]:
        """What is known of the query; empty where there is none."""
        return self.meta.get("query") or {}

    @property
    def speech_FQ(self) -> np.ndarray:
        return self.sample.arrays["speech"]

    @property
    def text_L(self) -> np.ndarray:
        return self.sample.arrays["text"]

    @property
    def query_FQ(self) -> np.ndarray | None:
        return self.sample.arrays.get("query")

    @property
    def query_text_L(self) -> np.ndarray | None:
        return self.sample.arrays.get("query_text")


def flac(wave_T: npt.NDArray[np.float32], rate: int) -> bytes:
    """Cleaned sound, whose samples are multiples of 1/32768, as FLAC: read back it is the same, bit for bit."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, np.rint(wave_T * 32768).astype(np.int16), rate, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def whole_shard(data: Dataset, number: int) -> Iterator[Sample]:
    """The samples of a token shard. Raises ``ShardError`` where its bytes are not those that ``dataset.json`` names."""
    entry = data.description["tokens"]["shards"][number]
    for name, digest in ((entry["name"], entry["sha256"]), (entry["index"], entry["index_sha256"])):
        where = f"{data.tokens.root}/{name}"
        try:
            found = sha256(data.tokens.read(name))
        except FileNotFoundError:
            raise ShardError(f"{where}: missing; speechmill verify tells what to do") from None
        if found != digest:
            raise ShardError(
                f"{where}: damaged: its SHA-256 is not the one in dataset.json; speechmill verify tells more"
            )
    yield from Shard(data.tokens, entry["name"].removesuffix(".tar"))


@dataclass(frozen=True)
class Sounds:
    """The corpus a dataset was made of, heard again."""

    ear: Ear
    plan: Store

    @classmethod
    def of(cls, data: Dataset, root: str) -> Sounds:
        """``root`` is where the corpus lies."""
        where = f"{data.store.root}/dataset.json"
        recipe = parse(token_recipe(data.description, where), where)
        rate = int(data.description["speech"]["sample_rate"])
        ear = Ear(fetcher(recipe.corpus, root), recipe.clean, rate)
        return cls(ear, data.store.sub(data.description["folders"]["plan"]))

    def cuts(self, unit: int) -> dict[str, dict[str, Any]]:
        """The cuts of a unit by id."""
        return {cut["id"]: cut for cut in unit_cuts(self.plan, unit)}

    def item(self, sample: Sample, cut: Mapping[str, Any] | None) -> Item:
        """The sample with its sound. Raises :class:`ExportError` where the corpus no longer gives what its codes were made of."""
        if cut is None:
            raise _gone(sample, "the plan does not name it")
        try:
            heard = self.ear.hear(cut)
        except FetchFailed as error:
            raise _gone(sample, str(error.__cause__ or error)) from error
        if isinstance(heard, Outcome):
            raise _gone(sample, f"{heard.reason}: {heard.error}")
        query = sample.meta.get("query") or {}
        response = self._sound(sample, heard.response, sample.meta.get("audio"))
        return Item(sample, response, self._sound(sample, heard.query, query.get("audio")))

    def _sound(self, sample: Sample, side: Side | None, facts: Mapping[str, Any] | None) -> Sound | None:
        if side is None and facts is None:
            return None
        if side is None or facts is None or not _same(side.facts.to_json(), facts):
            raise _gone(sample, "it sounds different now")
        return Sound(flac(side.wave_T, self.ear.sample_rate), len(side.wave_T), self.ear.sample_rate)


def _same(found: Mapping[str, Any], stated: Mapping[str, Any]) -> bool:
    """Equal samples, or all else equal: on another kind of processor resampling may differ in the last bit."""
    return found["pcm_hash"] == stated["pcm_hash"] or {**found, "pcm_hash": ""} == {**stated, "pcm_hash": ""}


def _gone(sample: Sample, why: str) -> ExportError:
    return ExportError(
        f"{sample.meta['id']}: the corpus no longer gives the sound its tokens were made of ({why}); restore it, or export with --no-audio"
    )
