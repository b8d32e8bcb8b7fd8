"""A finished dataset and everything that made it: description, recipe, plan, fitted files, the corpus if in reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from manifests.dataset import DatasetError, read_description
from manifests.recipe import Recipe, parse
from manifests.run_file import RUN, place_of_corpus
from manifests.settings.codecs import CodecSettings
from manifests.settings.features import FeaturesSettings
from manifests.settings.transcribe import STAGE as TRANSCRIPTS
from manifests.settings.weights import WeightsSettings
from manifests.storage import Store
from pipelines.engine.contract import Unit
from pipelines.stages.hearing import Ear
from pipelines.stages.s20_ingest import fetcher
from pipelines.stages.s30_plan import read_plan
from pipelines.stages.s38_transcribe import TranscribeJob, TranscribeWorker
from pipelines.stages.s45_verify_text import said_cuts
from pipelines.stages.s50_fit import CODEBOOK, TEXT
from pipelines.stages.s60_tokenize import TokenizeJob, TokenizeWorker
from tokenization.adapter import SpeechTokenizer
from tokenization.registry import needs_fit, open_tokenizer
from tokenization.text import TextTokenizer

if TYPE_CHECKING:
    from pipelines.stages.s65_features import FeaturesWorker


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

    @property
    def dealt(self) -> Store:
        """The plan that tokens are made by: the one with copies marked, where somebody looked for them."""
        return self.store("copies" if self.recipe.copies else "plan")

    @property
    def transcripts(self) -> Store | None:
        """The side shards of what a recogniser heard; None where the recipe has nobody listen."""
        return None if self.recipe.transcribe is None else self.store(TRANSCRIPTS)

    def cuts(self, unit: int) -> Iterator[dict[str, Any]]:
        """The cuts of a unit as the token stage reads them: with the texts and ends that transcripts give them."""
        return said_cuts(self.dealt, self.transcripts, self.recipe, unit)

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

    def worker(self) -> TokenizeWorker:
        """What tokenized the corpus, opened again. Raises :class:`Unreachable` where the corpus is not there."""
        root, corpus = self.corpus_root(), self.recipe.corpus
        plan, fit, heard = self.dealt.root, self.store("fit").root, self.transcripts
        name, texts = corpus.name or corpus.layout, heard.root if heard else None
        return TokenizeJob(self.store("tokens").root, plan, fit, root, name, self.recipe, self.units, texts).open()

    def listener(self) -> TranscribeWorker:
        """What heard the corpus, opened again. Raises :class:`Unreachable`, and what opening a recogniser raises."""
        folder, plan = self.store(TRANSCRIPTS).root, self.dealt.root
        return TranscribeJob(folder, plan, self.corpus_root(), self.recipe, self.units).open()

    def encoder(self, settings: FeaturesSettings | None = None) -> FeaturesWorker:
        """What makes features of queries, by ``settings`` or those of the recipe. Raises :class:`Unreachable`."""
        from pipelines.stages.s65_features import FeaturesJob

        recipe = self.recipe if settings is None else self.recipe.model_copy(update={"features": settings})
        plan, tokens = self.dealt.root, self.store("tokens").root
        return FeaturesJob("", plan, tokens, self.corpus_root(), recipe, self.units).open()

    def corpus_root(self) -> str:
        """Where the corpus lies. Raises :class:`Unreachable` where it is not there."""
        run = self.run()
        root = run.get("root") if run else None
        if not isinstance(root, str) or not root:
            raise Unreachable(f"{RUN} does not say where the corpus lies")
        root = place_of_corpus(self.out, root)
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


def _with_weights(recipe: Recipe, out: Store) -> Recipe:
    """The recipe of a dataset, which does not say where weights lie, with the places that the run that made it had them in."""
    listens = recipe.transcribe is not None and isinstance(recipe.transcribe.recogniser, WeightsSettings)
    if not isinstance(recipe.speech, CodecSettings) and not listens and recipe.features is None:
        return recipe
    told = (_run(out) or {}).get("recipe") or {}
    if recipe.features is not None:
        features = recipe.features.model_copy(update={"weights": (told.get("features") or {}).get("weights", "")})
        recipe = recipe.model_copy(update={"features": features})
    if isinstance(recipe.speech, CodecSettings):
        speech = recipe.speech.model_copy(update={"weights": told.get("speech", {}).get("weights", "")})
        recipe = recipe.model_copy(update={"speech": speech})
    if recipe.transcribe is not None and listens:
        place = ((told.get("transcribe") or {}).get("recogniser") or {}).get("weights", "")
        recogniser = recipe.transcribe.recogniser.model_copy(update={"weights": place})
        recipe = recipe.model_copy(
            update={"transcribe": recipe.transcribe.model_copy(update={"recogniser": recogniser})}
        )
    return recipe


def _placed(recipe: Recipe, out: Store) -> Recipe:
    """With where weights and models lie: a dataset does not say, the run that made it does."""
    recipe, dnsmos = _with_weights(recipe, out), recipe.scores.dnsmos
    if dnsmos is None:
        return recipe
    said = (_run(out) or {}).get("recipe") or {}
    dnsmos = dnsmos.model_copy(update={"model": said.get("scores", {}).get("dnsmos", {}).get("model", "")})
    return recipe.model_copy(update={"scores": recipe.scores.model_copy(update={"dnsmos": dnsmos})})


def _run(out: Store) -> dict[str, Any] | None:
    try:
        value = orjson.loads(out.read(RUN))
    except FileNotFoundError:
        return None
    if not isinstance(value, dict):
        raise DatasetError(f"{out.root}/{RUN}: damaged: not a mapping")
    return value
