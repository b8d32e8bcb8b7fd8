"""One output root: where each stage's directory lies and what names it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from manifests.corpora.demo import Demo
from manifests.fingerprint import fingerprint
from manifests.recipe import Recipe
from manifests.settings.codecs import CodecSettings
from manifests.storage import Store, in_full
from pipelines.stages.judging import check_reasons
from pipelines.stages.s20_ingest import for_workers

CUTS = "cuts"


@dataclass(frozen=True)
class Workspace:
    """An output root and the recipe that fills it.

    codec        version of a codec with weights of its own: where it changes, so do codes
    recogniser   version of the recogniser that listens, likewise; empty where none does
    listed       another output root, whose manifest is gone by; empty: its own
    """

    recipe: Recipe
    root: str
    codec: str = ""
    recogniser: str = ""
    listed: str = ""

    @classmethod
    def of(cls, recipe: Recipe, root: str) -> Workspace:
        """With the checksums of the weights and models that the recipe names, and all places in full: workers have other working directories.

        Raises ``TokenizerError``, ``RecogniserError`` and ``ScoreError`` where these are not here, ``RecipeError`` for a rule that takes a reason of the pipeline's.
        """
        check_reasons(recipe.rules)
        recipe, root = _with_places(recipe), in_full(root)
        if "dnsmos" in recipe.wanted:
            from tokenization.scores.registry import pinned as pinned_scores

            recipe = recipe.model_copy(update={"scores": pinned_scores(recipe.scores)})
        recipe, recogniser = _with_recogniser(_with_encoder(recipe))
        if not isinstance(recipe.speech, CodecSettings):
            return cls(recipe, root, recogniser=recogniser)
        from tokenization.registry import open_tokenizer, pinned

        tokenizer = open_tokenizer(recipe.speech, device="cpu")  # whoever starts workers with GPUs may have none
        known = recipe.model_copy(update={"speech": pinned(recipe.speech, tokenizer)})
        return cls(known, root, tokenizer.spec.version, recogniser)

    @cached_property
    def placed(self) -> Recipe:
        """The recipe as workers are given it: with those places in full, too, that are part of what decides names of folders, as they were written."""
        text = self.recipe.text
        if text.kind == "file":
            text = text.model_copy(update={"source": in_full(str(text.source))})
        return self.recipe.model_copy(update={"corpus": for_workers(self.recipe.corpus), "text": text})

    @cached_property
    def store(self) -> Store:
        return Store(self.root)

    def folder(self, stage: str, version: int, *reads: Any) -> str:
        """The name of a stage's directory: ``stage-<hash of settings, code version and what it reads>``."""
        return f"{stage}-{fingerprint([stage, version, *reads])}"

    @property
    def cuts(self) -> Store:
        return Store(self.listed or self.root).sub(CUTS)

    @property
    def corpus_name(self) -> str:
        return self.recipe.corpus.name or self.recipe.corpus.layout

    @property
    def is_demo(self) -> bool:
        return isinstance(self.recipe.corpus, Demo)


def _with_places(recipe: Recipe) -> Recipe:
    """The recipe with the places in full that decide nothing: of the corpus, and of a teacher. Those of weights follow with their checksums."""
    if not isinstance(recipe.corpus, Demo):
        corpus = recipe.corpus.model_copy(update={"root": in_full(recipe.corpus.root)})
        recipe = recipe.model_copy(update={"corpus": corpus})
    if recipe.teach is None or recipe.teach.teacher is None:
        return recipe
    teach = recipe.teach.model_copy(update={"teacher": in_full(recipe.teach.teacher)})
    return recipe.model_copy(update={"teach": teach})


def _with_recogniser(recipe: Recipe) -> tuple[Recipe, str]:
    """The recipe with the checksum of its recogniser's weights, and the recogniser's version."""
    settings = recipe.transcribe
    if settings is None:
        return recipe, ""
    from tokenization.recognisers.registry import describe_recogniser, pinned

    spec = describe_recogniser(settings.recogniser)
    known = settings.model_copy(update={"recogniser": pinned(settings.recogniser, spec)})
    return recipe.model_copy(update={"transcribe": known}), spec.version


def _with_encoder(recipe: Recipe) -> Recipe:
    """The recipe with the checksum of the encoder that makes features."""
    if recipe.features is None:
        return recipe
    from pipelines.stages.s65_features import described
    from tokenization.codecs.weights import at_checksum

    known = at_checksum(recipe.features, described(recipe.features)["checksum"])
    return recipe.model_copy(update={"features": known})
