"""Features: states of Whisper's encoder of every written utterance's query, one unit to one side shard; only where a recipe asks for them.

Side shards hold the keys of the token shards in the same order: ``KEY.json``, and ``KEY.features.npy`` (float16, frames x width, 50 frames a second) where the query has
sound. A query is cleaned as it is for tokens, at 16 kHz; longer ones than 30 s are cut at their quietest places, as a recogniser does. Every window goes through by itself, on one thread,
so the bytes do not depend on its neighbours, and whoever computes them on the fly (:func:`query_features`) gets the same.

Legend: features_FD float16 (frames x width); wave_T mono float32 at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from manifests.fingerprint import canonical
from manifests.keys import key_of
from manifests.ledger import Outcome
from manifests.receipt import read_receipt, shard_stem
from manifests.recipe import Recipe
from manifests.settings.features import STAGE, FeaturesSettings
from manifests.shards import npy
from manifests.shards.writer import pack
from manifests.storage import Store
from manifests.utterance import from_cut
from pipelines.engine.contract import Beat, Made, Task, Unit
from pipelines.stages.hearing import Ear
from pipelines.stages.s20_ingest import fetcher
from pipelines.stages.s30_plan import unit_cuts
from pipelines.stages.s40_clean import Dropped
from tokenization.codecs.neural import chosen_device, computing
from tokenization.recognisers.base import RATE
from tokenization.recognisers.openai_whisper import encoded
from tokenization.recognisers.whisper_files import found_weights, library, loaded, sizes
from tokenization.recognisers.windows import cut

VERSION = 2  # 2: joined files and MP3s without a length are heard to their ends
FRAME = 320  # samples
FRAMES_A_SECOND = RATE // FRAME


class FeaturesError(RuntimeError):
    """Features that cannot be made: no utterance's fault."""


@dataclass(frozen=True)
class FeaturesJob:
    """Encode the queries of the token shards in ``tokens``."""

    folder: str
    plan: str
    tokens: str
    root: str
    recipe: Recipe
    units: tuple[Unit, ...]
    stage: str = STAGE

    @property
    def settings(self) -> FeaturesSettings:
        assert self.recipe.features is not None, "there is no such stage without its block"
        return self.recipe.features

    def open(self) -> FeaturesWorker:
        return FeaturesWorker(
            self, Ear(fetcher(self.recipe.corpus, self.root), self.recipe.clean, RATE), Encoder(self.settings)
        )


def described(settings: FeaturesSettings) -> dict[str, Any]:
    """What the weights are: checksum and width. Raises ``RecogniserError`` and ``TokenizerError``."""
    library(STAGE)
    found = found_weights(settings, STAGE)
    return {"checksum": found.checksum, "width": sizes(found, STAGE)["n_audio_state"]}


def bytes_an_hour(width: int) -> int:
    """Of an hour of queries."""
    return 3_600 * FRAMES_A_SECOND * width * np.dtype(np.float16).itemsize


@dataclass(frozen=True)
class Encoder:
    """Whisper's encoder, loaded when it is first asked. Raises ``RecogniserError`` and ``TokenizerError`` then."""

    settings: FeaturesSettings

    @cached_property
    def _model(self) -> Any:
        device = chosen_device(self.settings.device, STAGE)
        return loaded(found_weights(self.settings, STAGE), STAGE)[0].to(device)

    def features(self, wave_T: np.ndarray) -> np.ndarray:
        """``features_FD`` of one sound: 50 frames for each second begun."""
        with computing():
            parts = [self._of_window(window_T) for window_T in cut(wave_T)]
        return np.concatenate(parts) if parts else np.zeros((0, self._model.dims.n_audio_state), np.float16)

    def _of_window(self, window_T: np.ndarray) -> np.ndarray:
        [features_FD] = encoded(self._model, [window_T])
        return features_FD[: -(-len(window_T) // FRAME)].half().cpu().numpy()


@dataclass
class FeaturesWorker:
    job: FeaturesJob
    ear: Ear
    encoder: Encoder

    def process(self, task: Task, beat: Beat) -> Made:
        """The side shard of a unit; its outcomes are those of the token stage.

        An utterance whose query cannot be encoded has no features, and its JSON says why: a side shard without it would lie beside other samples.
        """
        unit = task.unit.index
        receipt = read_receipt(Store(self.job.tokens), unit)
        if receipt is None:
            raise FeaturesError(f"unit {unit} has no tokens")
        first, end = task.only or (0, len(receipt.outcomes))
        samples, frames = [], 0
        for position, outcome, one in self.written(unit, receipt.outcomes[:end]):
            if position >= first:
                about, members = self._sample(outcome.id, one, task.skip.get(position))
                samples.append((key_of(outcome.id), {"json": canonical(about), **members}))
                frames += about["frames"]
            beat(1)
        packed, stem = pack(samples), shard_stem(unit)
        facts = {"beside": receipt.files[0].sha256, "encoder": self.job.settings.checksum, "frames": frames}
        return Made({f"{stem}.tar": packed.tar, f"{stem}.idx": packed.index}, receipt.outcomes[first:end], facts)

    def written(self, unit: int, outcomes: tuple[Outcome, ...]) -> Iterator[tuple[int, Outcome, dict[str, Any]]]:
        """(position, outcome, cut) of what the token stage has written of a unit."""
        cuts = unit_cuts(Store(self.job.plan), unit)
        for position, (outcome, one) in enumerate(zip(outcomes, cuts, strict=False)):
            if outcome.status == "written":
                yield position, outcome, one

    def _sample(
        self, utterance_id: str, one: dict[str, Any], poison: tuple[str, str] | None
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What is kept of one utterance: its JSON, its arrays."""
        found = poison[1] if poison is not None else self.features(one)
        if found is None or isinstance(found, str):
            return {"id": utterance_id, "frames": 0, **({"why": found} if found else {})}, {}
        return {"id": utterance_id, "frames": len(found)}, {"features.npy": npy.dump(found)}

    def features(self, one: dict[str, Any]) -> np.ndarray | str | None:
        """``features_FD`` of the query of a cut; None where it has no sound, a sentence where it cannot be encoded."""
        side = self.ear.query(from_cut(one))
        if side is None:
            return None
        return side.detail if isinstance(side, Dropped) else self.encoder.features(side.wave_T)
