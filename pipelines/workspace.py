"""One output root: where each stage's directory lies and what names it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from manifests.corpora.demo import Demo
from manifests.fingerprint import fingerprint
from manifests.recipe import Recipe
from manifests.settings.codecs import CodecSettings
from manifests.storage import Store
from pipelines.stages.judging import check_reasons

CUTS = "cuts"


@dataclass(frozen=True)
class Workspace:
    """An output root and the recipe that fills it.

    codec   version of a codec with weights of its own: where it changes, so do codes
    """

    recipe: Recipe
    root: str
    codec: str = ""

    @classmethod
    def of(cls, recipe: Recipe, root: str) -> Workspace:
        """With the checksums of the weights and models that the recipe names.

        Raises ``TokenizerError`` and ``ScoreError`` where these are not here, ``RecipeError`` for a rule that takes a reason of the pipeline's.
        """
        check_reasons(recipe.rules)
        if "dnsmos" in recipe.wanted:
            from tokenization.scores.registry import pinned as pinned_scores

            recipe = recipe.model_copy(update={"scores": pinned_scores(recipe.scores)})
        if not isinstance(recipe.speech, CodecSettings):
            return cls(recipe, root)
        from tokenization.registry import open_tokenizer, pinned

        tokenizer = open_tokenizer(recipe.speech, device="cpu")  # whoever starts workers with GPUs may have none
        return cls(recipe.model_copy(update={"speech": pinned(recipe.speech, tokenizer)}), root, tokenizer.spec.version)

    @cached_property
    def store(self) -> Store:
        return Store(self.root)

    def folder(self, stage: str, version: int, *reads: Any) -> str:
        """The name of a stage's directory: ``stage-<hash of settings, code version and what it reads>``."""
        return f"{stage}-{fingerprint([stage, version, *reads])}"

    @property
    def cuts(self) -> Store:
        return self.store.sub(CUTS)

    @property
    def corpus_name(self) -> str:
        return self.recipe.corpus.name or self.recipe.corpus.layout

    @property
    def is_demo(self) -> bool:
        return isinstance(self.recipe.corpus, Demo)
