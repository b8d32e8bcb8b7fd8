"""``inspect``: one utterance of a finished dataset, looked at closely: facts, text, tokens, and its sound as a file.

Legend: codes_FQ uint16 (frames x codebooks); text_L int32; wave_T float32 mono.
"""

from __future__ import annotations

import difflib
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from manifests.dataset import Dataset
from manifests.fetch import FetchFailed
from manifests.fingerprint import draw
from manifests.keys import id_of, key_of
from manifests.ledger import Outcome
from manifests.receipt import receipts
from manifests.shards.reader import Sample
from pipelines.stages.hearing import Heard
from pipelines.subject import Subject, Unreachable

NEAREST = 5
LOOKED_AT = 50_000  # ids that are compared when one is not found


@dataclass(frozen=True)
class Inspection:
    """What was found under a key or id.

    status      what became of it, or ``unknown`` for an id that was never planned
    outcome     why, for filtered and quarantined ones
    codes       code arrays (frames x codebooks) by name: ``speech``, and ``query`` where it has one
    texts       text tokens decoded back, by name: ``text``, and ``query_text`` where it has one
    nearest     ids like the one asked for, where it is unknown
    """

    root: str
    id: str
    key: str
    status: Literal["written", "filtered", "quarantined", "unknown"]
    outcome: Outcome | None = None
    shard: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    codes: Mapping[str, np.ndarray] = field(default_factory=dict)
    text_ids: Mapping[str, np.ndarray] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    nearest: tuple[str, ...] = ()

    def table(self, name: str = "speech", width: int = 20) -> list[str]:
        """The codes as lines of ``width`` frames, one block of lines for each codebook, each led by its first frame."""
        codes_FQ = self.codes[name]
        books = [codes_FQ[:, q].tolist() for q in range(codes_FQ.shape[1])]
        return [
            f"{f'{q}:' if len(books) > 1 else ''}{first:>5}  "
            + " ".join(f"{c:>5}" for c in book[first : first + width])
            for q, book in enumerate(books)
            for first in range(0, len(book), width)
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "key": self.key, "status": self.status, "shard": self.shard,
            "reason": self.outcome.reason if self.outcome else None, "error": self.outcome.error if self.outcome else None,
            "meta": dict(self.meta), "codes": {k: v.tolist() for k, v in self.codes.items()},
            "text_ids": {k: v.tolist() for k, v in self.text_ids.items()}, "texts": dict(self.texts),
            "nearest": list(self.nearest),
        }  # fmt: skip


def find(root: str, key_or_id: str | None = None, seed: int = 0) -> Inspection:
    """The utterance with this key or id; with None one drawn by ``seed``.

    Raises ``DatasetError`` where there is no finished dataset, or it is empty and None is asked for, and ``ShardError``
    for a damaged shard.
    """
    subject, dataset = Subject.open(root), Dataset.open(root)
    if key_or_id is None:
        if not len(dataset):
            return Inspection(root, "", "", "unknown")
        return _written(subject, dataset, dataset[draw("inspect", seed) % len(dataset)])
    for key in dict.fromkeys((key_of(key_or_id), key_or_id)):
        if (sample := dataset.find(key)) is not None:
            return _written(subject, dataset, sample)
    return _not_written(subject, key_or_id)


def _written(subject: Subject, dataset: Dataset, sample: Sample) -> Inspection:
    text_ids = {n: a for n, a in sample.arrays.items() if n in ("text", "query_text")}
    return Inspection(
        subject.out.root, sample.meta["id"], sample.key, "written", shard=_shard_of(dataset, sample.key), meta=sample.meta,
        codes={n: a for n, a in sample.arrays.items() if n in ("speech", "query")},
        text_ids=text_ids, texts={n: subject.text.decode(a) for n, a in text_ids.items()},
    )  # fmt: skip


def _shard_of(dataset: Dataset, key: str) -> str:
    shards = dataset.description["tokens"]["shards"]
    return next(s["name"] for n, s in enumerate(shards) if dataset.shard(n).position(key) is not None)


def _not_written(subject: Subject, asked: str) -> Inspection:
    """Why an utterance is not in the shards, from its receipt; or what it might have been meant to be."""
    tokens, units = subject.store("tokens"), len(subject.units)
    wanted = {asked, id_of(asked)}
    for receipt in receipts(tokens, units):
        for outcome in receipt.outcomes:
            if outcome.id in wanted or key_of(outcome.id) == asked:
                status = "unknown" if outcome.status == "written" else outcome.status
                return Inspection(subject.out.root, outcome.id, key_of(outcome.id), status, outcome)
    ids = list(islice((o.id for r in receipts(tokens, units) for o in r.outcomes), LOOKED_AT))
    near = tuple(difflib.get_close_matches(asked, ids, NEAREST, cutoff=0.4))
    return Inspection(subject.out.root, asked, key_of(asked), "unknown", nearest=near)


def write_audio(inspection: Inspection, folder: str | Path) -> list[Path]:
    """Write what can be heard of an utterance as WAV files: from its codes, and its clean original where it is in reach.

    Returns the files, none for an utterance that was not written or a tokenizer that makes no sound.
    """
    if inspection.status != "written":
        return []
    subject, target = Subject.open(inspection.root), Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    waves: dict[str, np.ndarray] = {}
    if subject.tokenizer.can_decode:
        waves = {f"{name}-from-codes": subject.tokenizer.decode(codes) for name, codes in inspection.codes.items()}
    waves |= originals(subject, inspection)
    rate = subject.tokenizer.spec.sample_rate
    return [_write_wav(target / f"{inspection.key}.{name}.wav", wave_T, rate) for name, wave_T in waves.items()]


def originals(subject: Subject, inspection: Inspection) -> dict[str, np.ndarray]:
    """The cleaned waves that the codes were made of; empty where the corpus is out of reach."""
    try:
        ear = subject.ear()
    except Unreachable:
        return {}
    unit = int(Path(str(inspection.shard)).stem.removeprefix("shard-"))
    cut = next(cut for cut in subject.cuts(unit) if cut["id"] == inspection.id)
    try:
        heard = ear.hear(cut)
    except FetchFailed:
        return {}
    if not isinstance(heard, Heard):
        return {}
    sides = {"speech-original": heard.response, "query-original": heard.query}
    return {name: side.wave_T for name, side in sides.items() if side is not None}


def _write_wav(path: Path, wave_T: np.ndarray, rate: int) -> Path:
    """16-bit mono."""
    samples_T = np.round(np.clip(wave_T, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples_T.tobytes())
    return path
