"""Tokenize: clean sound and text to tokens, one unit to one shard, in one pass: decoded once, never written out.

Batches are fixed by the plan. The parity gate encodes a few utterances of every unit alone; where too many codes
differ, the whole unit is encoded one by one.

Legend: wave_T mono float32; codes_FQ uint16 (frames x codebooks); text_L int32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from manifests.fingerprint import canonical, draw
from manifests.keys import key_of
from manifests.ledger import Outcome
from manifests.receipt import read_receipt, shard_stem
from manifests.recipe import Recipe
from manifests.settings.transcribe import STAGE as TRANSCRIPTS
from manifests.shards import npy
from manifests.shards.writer import pack
from manifests.splits import split_of
from manifests.storage import Store
from manifests.utterance import Utterance
from pipelines.engine.contract import Beat, Made, Task, Unit
from pipelines.stages.hearing import Ear, Heard, Side
from pipelines.stages.judging import Judge
from pipelines.stages.listeners import Listeners, ear_for
from pipelines.stages.s30_plan import batches
from pipelines.stages.s45_verify_text import said_cuts
from pipelines.stages.s50_fit import CODEBOOK, TEXT
from tokenization.adapter import SpeechTokenizer, TokenizerError
from tokenization.parity import Parity, compare
from tokenization.registry import needs_fit, open_tokenizer
from tokenization.text import TextTokenizer

VERSION = 2  # 2: joined files and MP3s without a length are heard to their ends, and parts end where the next begin
PARITY_SAMPLE = 4  # utterances of each unit that are encoded alone as well
PARITY_LIMIT = 1e-3  # share of codes that may differ


@dataclass(frozen=True)
class TokenizeJob:
    """Make the token shards of the plan in ``plan`` with what ``fit`` holds."""

    folder: str
    plan: str
    fit: str
    root: str
    corpus: str
    recipe: Recipe
    units: tuple[Unit, ...]
    transcripts: str | None = None
    stage: str = "tokens"

    def open(self) -> TokenizeWorker:
        fit, recipe = Store(self.fit), self.recipe
        weights = fit.read(CODEBOOK) if needs_fit(recipe.speech) else None
        tokenizer = open_tokenizer(recipe.speech, weights)
        ear = Ear.of(recipe, self.root, tokenizer.spec.sample_rate, recipe.wanted, Judge.of(recipe))
        ear.scorer.load()
        return TokenizeWorker(self, ear_for(ear, recipe.run), tokenizer, TextTokenizer(fit.read(TEXT)))


@dataclass
class Tally:
    """Deterministic measurements of a unit, summed over its written utterances."""

    splits: dict[str, Counter[str]] = field(default_factory=dict)
    parity: Parity = field(default_factory=lambda: Parity(0, 0, 0))
    batched: Parity | None = None  # what batches did to the codes of a unit that was then encoded one by one

    def add(self, split: str, **amounts: float) -> None:
        counter = self.splits.setdefault(split, Counter())
        counter["utterances"] += 1
        for name, amount in amounts.items():
            counter[name] += amount  # type: ignore[assignment]  # seconds are floats

    def to_json(self) -> dict[str, Any]:
        splits = {s: {k: round(v, 6) for k, v in sorted(c.items())} for s, c in sorted(self.splits.items())}
        fallen = {"one_by_one": 1, "batched_mismatched": self.batched.mismatched} if self.batched else {}
        return {"splits": splits, "parity": {**self.parity.to_json(), **fallen}}


@dataclass
class TokenizeWorker:
    job: TokenizeJob
    ear: Ear | Listeners
    tokenizer: SpeechTokenizer
    text: TextTokenizer
    alone: bool = False  # utterances are encoded one by one

    def process(self, task: Task, beat: Beat) -> Made:
        """Tokenize a unit; once more, utterance by utterance, where batching changes codes.

        Raises ``ParityExceeded`` where the codes of an utterance are not even the same twice.
        """
        outcomes, samples, tally = self._tokenized(task, beat)
        if not self.alone and tally.parity.rate > PARITY_LIMIT:
            batched = tally.parity
            outcomes, samples, tally = replace(self, alone=True)._tokenized(task, lambda _: beat(0))
            tally.batched = batched
        ended = tuple(outcomes[i] for i in sorted(outcomes))
        tally.parity.require(PARITY_LIMIT, self.tokenizer.spec.name)
        packed = pack(samples[i] for i in sorted(samples))
        stem = shard_stem(task.unit.index)
        facts = {**tally.to_json(), **self._beside(task.unit.index)}
        return Made({f"{stem}.tar": packed.tar, f"{stem}.idx": packed.index}, ended, facts)

    def _beside(self, unit: int) -> dict[str, str]:
        """The transcripts whose texts these are, by their hash; nothing where nobody listened."""
        receipt = read_receipt(Store(self.job.transcripts), unit) if self.job.transcripts else None
        return {TRANSCRIPTS: receipt.files[0].sha256} if receipt else {}

    def _tokenized(
        self, task: Task, beat: Beat
    ) -> tuple[dict[int, Outcome], dict[int, tuple[str, dict[str, bytes]]], Tally]:
        """Ends and samples of a unit's utterances, by position."""
        heard = Store(self.job.transcripts) if self.job.transcripts else None
        cuts = list(said_cuts(Store(self.job.plan), heard, self.job.recipe, task.unit.index))
        seconds = [cut["duration"] for cut in cuts]
        first, end = task.only or (0, len(cuts))
        outcomes: dict[int, Outcome] = {}
        samples: dict[int, tuple[str, dict[str, bytes]]] = {}
        tally = Tally()
        todo = [
            [i for i in batch if first <= i < end] for batch in batches(seconds, self.job.recipe.plan.batch_seconds)
        ]
        sounds = iter(self.ear.hear_all((cuts[i] for batch in todo for i in batch if i not in task.skip), beat))
        for batch in todo:
            heard = self._hear(cuts, batch, sounds, task.skip, outcomes, beat)
            self._encode(heard, outcomes, samples, tally)
        return outcomes, samples, tally

    def _hear(
        self, cuts: list[dict[str, Any]], positions: list[int], sounds: Iterator[Heard | Outcome],
        skip: Mapping[int, tuple[str, str]], outcomes: dict[int, Outcome], beat: Beat,
    ) -> dict[int, Heard]:  # fmt: skip
        """The clean sounds of a batch; what did not pass goes to ``outcomes``."""
        heard: dict[int, Heard] = {}
        for i in positions:
            result = Outcome(cuts[i]["id"], "quarantined", *skip[i]) if i in skip else next(sounds)
            if isinstance(result, Outcome):
                outcomes[i] = result
            else:
                heard[i] = result
            beat(1)
        return heard

    def _encode(
        self,
        heard: dict[int, Heard],
        outcomes: dict[int, Outcome],
        samples: dict[int, tuple[str, dict[str, bytes]]],
        tally: Tally,
    ) -> None:
        """Codes of a batch into samples; an utterance that cannot be encoded is quarantined alone."""
        sides = [side for h in heard.values() for side in h.sides] if self.tokenizer.can_encode else []
        codes = self._codes(sides)
        for i, h in heard.items():
            mine = {id(s): codes[id(s)] for s in h.sides if id(s) in codes}
            fault = next((c for c in mine.values() if isinstance(c, str)), None)
            made = (
                self._sample(h, mine, tally)
                if fault is None
                else Outcome(h.utterance.id, "quarantined", "encode_failed", fault)
            )
            if isinstance(made, Outcome):
                outcomes[i] = made
            else:
                outcomes[i], samples[i] = Outcome(h.utterance.id, "written"), made

    def _codes(self, sides: Sequence[Side]) -> dict[int, np.ndarray | str]:
        """Codes of each side, by identity; a sentence where it cannot be encoded."""
        if self.alone and len(sides) > 1:
            return {key: codes for side in sides for key, codes in self._codes([side]).items()}
        try:
            encoded = self.tokenizer.encode([s.wave_T for s in sides]) if sides else []
            return {id(s): c for s, c in zip(sides, encoded, strict=True)}
        except (TokenizerError, RuntimeError) as error:
            if len(sides) == 1:
                return {id(sides[0]): " ".join(str(error).split())}
        return {key: codes for side in sides for key, codes in self._codes([side]).items()}

    def _given(self, utterance: Utterance) -> np.ndarray | Outcome:
        """The tokens that came with the corpus. Raises ``FetchFailed`` where storage does not answer."""
        from manifests.corpora.safe_npy import UnitsError, read_units
        from manifests.fetch import FetchFailed
        from tokenization.adapter import checked_codes

        assert utterance.units is not None
        try:
            units_T = read_units(self.ear.fetch.fetch(utterance.units))
            return checked_codes(units_T.reshape(-1, self.tokenizer.spec.codebooks), self.tokenizer.spec)
        except FetchFailed as error:
            if error.transient:
                raise
            return Outcome(utterance.id, "quarantined", error.reason, str(error))
        except (UnitsError, TokenizerError, ValueError) as error:
            return Outcome(utterance.id, "quarantined", "bad_units", " ".join(str(error).split()))

    def _sample(self, heard: Heard, codes: Mapping[int, Any], tally: Tally) -> tuple[str, dict[str, bytes]] | Outcome:
        """One sample's members, or why there is none."""
        u, response, query = heard.utterance, heard.response, heard.query
        if self.tokenizer.can_encode:
            if response is None:
                return Outcome(
                    u.id,
                    "quarantined",
                    "missing_audio",
                    "the corpus gives tokens for it, but the recipe makes its own from sound",
                )
            speech_FQ = codes[id(response)]
        else:
            given = (
                self._given(u)
                if u.units
                else Outcome(u.id, "quarantined", "missing_units", "the recipe takes given tokens; it has none")
            )
            if isinstance(given, Outcome):
                return given
            speech_FQ = given
        text_L = self.text.encode(u.text or "")
        split = split_of(u, self.job.recipe.split)
        members = {"speech.npy": npy.dump(speech_FQ), "text.npy": npy.dump(text_L)}
        if query is not None and id(query) in codes:
            members["query.npy"] = npy.dump(codes[id(query)])
        if u.query is not None and u.query.text:
            members["query_text.npy"] = npy.dump(self.text.encode(u.query.text))
        self._count(heard, codes, speech_FQ, text_L, split, tally)
        return key_of(u.id), {"json": canonical(self._meta(heard, split, speech_FQ)), **members}

    def _count(
        self,
        heard: Heard,
        codes: Mapping[int, Any],
        speech_FQ: np.ndarray,
        text_L: np.ndarray,
        split: str,
        tally: Tally,
    ) -> None:
        rate = self.tokenizer.spec.frame_rate
        query = heard.query
        tally.add(
            split, seconds=len(speech_FQ) / rate, frames=len(speech_FQ), text_tokens=len(text_L),
            query_seconds=query.facts.seconds_out if query else 0.0,
        )  # fmt: skip
        if (
            heard.response
            and id(heard.response) in codes
            and tally.parity.utterances < PARITY_SAMPLE
            and _drawn(heard.utterance.id)
        ):
            alone_FQ = self.tokenizer.encode([heard.response.wave_T])[0]
            tally.parity = tally.parity + compare(speech_FQ, alone_FQ)

    def _meta(self, heard: Heard, split: str, speech_FQ: np.ndarray) -> dict[str, Any]:
        """The sample's JSON."""
        u, response, query = heard.utterance, heard.response, heard.query
        source = u.audio or u.units
        value: dict[str, Any] = {
            "id": u.id, "text": u.text, "speaker": u.speaker, "language": u.language or self.job.recipe.corpus.language,
            "corpus": self.job.corpus, "recording": u.recording_id, "start": u.start, "split": split, "frames": len(speech_FQ),
            "duration": response.facts.seconds_out if response else len(speech_FQ) / self.tokenizer.spec.frame_rate,
            "audio": response.facts.to_json() if response else None,
            "scores": dict(response.scores) or None if response else None,
            "source": source.to_json() if source else None,
            "extra": dict(u.extra) or None,
            "heard": u.heard.get("response"),
        }  # fmt: skip
        if u.query is not None:
            value["query"] = {
                "text": u.query.text, "speaker": u.query.speaker, "duration": query.facts.seconds_out if query else None,
                "audio": query.facts.to_json() if query else None, "source": u.query.audio.to_json() if u.query.audio else None,
                **({"heard": u.heard["query"]} if "query" in u.heard else {}),
            }  # fmt: skip
            if query is not None and query.scores:
                value["query"]["scores"] = dict(query.scores)
        return {k: v for k, v in value.items() if v is not None}


def _drawn(utterance_id: str) -> bool:
    """Whether an utterance is looked at by the parity gate: one in sixteen, by a hash of its id."""
    return draw("parity", utterance_id) % 16 == 0
