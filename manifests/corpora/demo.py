"""The embedded demo corpus: dialogues spoken by a text-to-speech engine, read from the shards of the ``speak`` stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from manifests.corpora.base import Corpus
from manifests.receipt import read_receipt, shard_stem
from manifests.settings.demo import DemoSettings
from manifests.shards.reader import Sample, Shard
from manifests.storage import Store
from manifests.utterance import AudioRef, Query, Utterance

RESPONSE, QUERY = "response.wav", "query.wav"


class Demo(Corpus, DemoSettings):
    """Needs no ``root``: the pipeline speaks the corpus first, into the output's own folder."""

    layout: Literal["demo"] = "demo"
    language: str | None = "en"

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """One utterance a dialogue: the assistant's response, and the query it answers."""
        unit = 0
        while read_receipt(files, unit) is not None:
            shard = Shard(files, shard_stem(unit))
            for i in range(len(shard)):
                yield self._utterance(shard, i, shard[i])
            unit += 1

    def _utterance(self, shard: Shard, i: int, sample: Sample) -> Utterance:
        meta = sample.meta
        query, response = meta["query"], meta["response"]

        def ref(member: str) -> AudioRef:
            offset, size = shard.index[member][i].tolist()
            return AudioRef(shard.name, offset, size)

        return Utterance(
            id=meta["id"], audio=ref(RESPONSE), text=response["text"], speaker=response["speaker"], language=self.language,
            recording=meta["id"], split=meta["split"], query=Query(query["text"], query["speaker"], ref(QUERY)),
            extra={"voice": response["voice"], "intent": meta["intent"]},
        )  # fmt: skip
