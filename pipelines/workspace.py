"""One output root: where each stage's directory lies and what names it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from manifests.corpora.demo import Demo
from manifests.fingerprint import fingerprint
from manifests.recipe import Recipe
from manifests.storage import Store

CUTS = "cuts"


@dataclass(frozen=True)
class Workspace:
    """An output root and the recipe that fills it."""

    recipe: Recipe
    root: str

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
