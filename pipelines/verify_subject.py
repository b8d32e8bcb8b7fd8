"""A finished dataset and everything that made it: description, recipe, plan, fitted files, the corpus if in reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from manifests.dataset import DatasetError, read_description
from manifests.recipe import Recipe, parse
from manifests.settings.codecs import CodecSettings
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.stages.hearing import Ear
from pipelines.stages.s20_ingest import fetcher
from pipelines.stages.s30_plan import read_plan
from pipelines.stages.s50_fit import CODEBOOK, TEXT
from pipelines.stages.s60_tokenize import TokenizeJob, TokenizeWorker
from tokenization.adapter import SpeechTokenizer
from tokenization.registry import needs_fit, open_tokenizer
from tokenization.text import TextTokenizer

RUN = "run.json"


class Unreachable(Exception):
    """The corpus a dataset was made of cannot be read from here: says why."""


@dataclass(frozen=True)
class Subject:
    """A dataset and what lies beside it. Opening reads ``dataset.json`` only; the rest is read when asked for."""

    out: Store
    description: Mapping[str, Any]
    recipe: Recipe

    @classmethod
    def open(cls, root: str) -> Subject:
        """Raises ``DatasetError`` for no dataset or an unfinished one, ``RecipeError`` for a damaged recipe in it."""
        out = Store(root)
        description = read_description(out)
        if not isinstance(description.get("recipe"), dict) or not isinstance(description.get("folders"), dict):
            raise DatasetError(f"{out.root}/dataset.json: damaged: it has no recipe or no folders")
        return cls(out, description, _placed(parse(description["recipe"], "dataset.json"), out))

    def folder(self, stage: str) -> str:
        """The name of a stage's folder. Raises ``DatasetError`` where the description names none."""
        name = self.description["folders"].get(stage)
        if not isinstance(name, str) or not name:
            raise DatasetError(f"{self.out.root}/dataset.json: damaged: it names no {stage} folder")
        return name

    def store(self, stage: str) -> Store:
        return self.out.sub(self.folder(stage))

    @property
    def planned(self) -> int:
        """How many utterances the plan deals out: those of the manifest, or of its segments where it was cut up."""
        return (self.description.get("segments") or self.description["cuts"])["utterances"]

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """The units of the plan. Raises ``DatasetError`` where it is gone."""
        units = read_plan(self.store("plan"))
        if units is None:
            raise DatasetError(f"{self.out.root}/{self.folder('plan')}/plan.json: missing")
        return units

    @cached_property
    def text(self) -> TextTokenizer:
        return TextTokenizer(self.store("fit").read(TEXT))

    @cached_property
    def tokenizer(self) -> SpeechTokenizer:
        speech = self.recipe.speech
        return open_tokenizer(speech, self.store("fit").read(CODEBOOK) if needs_fit(speech) else None, device="cpu")

    def run(self) -> dict[str, Any] | None:
        """What ``run.json`` says of the run that made it, or None where there is none."""
        return _run(self.out)

    def corpus_root(self) -> str:
        """Where the corpus lies. Raises :class:`Unreachable` where it is not there."""
        run = self.run()
        root = run.get("root") if run else None
        if not isinstance(root, str) or not root:
            raise Unreachable(f"{RUN} does not say where the corpus lies")
        try:
            found = Store(root).exists("")
        except Exception as error:  # every file system of fsspec has errors of its own
            raise Unreachable(f"the corpus at {root} cannot be reached ({type(error).__name__}: {error})") from error
        if not found:
            raise Unreachable(f"the corpus is not at {root}")
        return root

    def ear(self) -> Ear:
        """What heard the corpus, without scores and filters. Raises :class:`Unreachable` where the corpus is not there."""
        rate = self.tokenizer.spec.sample_rate
        return Ear(fetcher(self.recipe.corpus, self.corpus_root()), self.recipe.clean, rate)

    def worker(self) -> TokenizeWorker:
        """What tokenized the corpus, opened again. Raises :class:`Unreachable` where the corpus is not there."""
        root, corpus = self.corpus_root(), self.recipe.corpus
        plan, fit = self.store("copies" if self.recipe.copies else "plan").root, self.store("fit").root
        name = corpus.name or corpus.layout
        return TokenizeJob(self.store("tokens").root, plan, fit, root, name, self.recipe, self.units).open()


def _placed(recipe: Recipe, out: Store) -> Recipe:
    """With where weights and models lie: a dataset does not say, the run that made it does."""
    speech, dnsmos = recipe.speech, recipe.scores.dnsmos
    if not isinstance(speech, CodecSettings) and dnsmos is None:
        return recipe
    said = (_run(out) or {}).get("recipe") or {}
    if isinstance(speech, CodecSettings):
        speech = speech.model_copy(update={"weights": said.get("speech", {}).get("weights", "")})
    if dnsmos is not None:
        dnsmos = dnsmos.model_copy(update={"model": said.get("scores", {}).get("dnsmos", {}).get("model", "")})
    scores = recipe.scores.model_copy(update={"dnsmos": dnsmos})
    return recipe.model_copy(update={"speech": speech, "scores": scores})


def _run(out: Store) -> dict[str, Any] | None:
    try:
        value = orjson.loads(out.read(RUN))
    except FileNotFoundError:
        return None
    if not isinstance(value, dict):
        raise DatasetError(f"{out.root}/{RUN}: damaged: not a mapping")
    return value
