"""The filter rules of a recipe, asked of an utterance: first those that need no sound, before it is fetched, then the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from manifests.filters.columns import EXTRA, QUERY, scores_of
from manifests.filters.rule import Rule
from manifests.ledger import Outcome
from manifests.recipe import Recipe, RecipeError
from manifests.splits import SplitSettings, split_of
from manifests.utterance import Utterance
from pipelines.stages.s40_clean import REASONS

Columns = Mapping[str, Any]


@dataclass(frozen=True)
class Judge:
    """Rules in the order they are asked, and what the recipe says of every utterance. Without rules everything passes."""

    rules: tuple[Rule, ...] = ()
    corpus: str = ""
    language: str | None = None
    split: SplitSettings = field(default_factory=SplitSettings)

    @classmethod
    def of(cls, recipe: Recipe) -> Judge:
        corpus = recipe.corpus
        return cls(recipe.rules, corpus.name or corpus.layout, corpus.language, recipe.split)

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that its rules ask for."""
        return tuple(sorted(scores_of(name for rule in self.rules for name in rule.columns)))

    def unheard(self, utterance: Utterance) -> Outcome | None:
        """The end of an utterance that a rule filters without its sound."""
        rules = [rule for rule in self.rules if not rule.needs_sound]
        return _first(rules, utterance.id, self.columns(utterance)) if rules else None

    def heard(self, utterance: Utterance, response: Columns, query: Columns) -> Outcome | None:
        """The end of one that a rule filters by its sound, given the columns of both sides (of none: empty)."""
        rules = [rule for rule in self.rules if rule.needs_sound]
        return _first(rules, utterance.id, self.columns(utterance, response, query)) if rules else None

    def columns(self, u: Utterance, response: Columns | None = None, query: Columns | None = None) -> dict[str, Any]:
        """All that rules may ask of an utterance, as far as it is known."""
        return {
            "id": u.id, "text": u.text, "speaker": u.speaker, "language": u.language or self.language, "corpus": self.corpus,
            "recording": u.recording_id, "start": u.start, "split": split_of(u, self.split),
            **({f"{QUERY}text": u.query.text, f"{QUERY}speaker": u.query.speaker} if u.query else {}),
            **{f"{EXTRA}.{name}": value for name, value in u.extra.items()},
            **(response or {}), **{f"{QUERY}{name}": value for name, value in (query or {}).items()},
        }  # fmt: skip


def _first(rules: Iterable[Rule], utterance_id: str, columns: Columns) -> Outcome | None:
    """The end by the first rule that holds."""
    rule = next((rule for rule in rules if rule.holds(columns)), None)
    return rule and Outcome(utterance_id, "filtered", rule.reason, rule.sentence(columns))


def reasons(rules: Iterable[Rule]) -> dict[str, str]:
    """What each reason code means: the pipeline's own, and the recipe's."""
    return {**REASONS, **{rule.reason: f"a rule of the recipe: {rule.text}" for rule in rules}}


def check_reasons(rules: Iterable[Rule]) -> None:
    """Raises ``RecipeError`` for a rule whose reason is one of the pipeline's own: the ledger could not tell them apart."""
    for rule in rules:
        if rule.reason in REASONS or rule.reason.removeprefix(QUERY) in REASONS:
            raise RecipeError(
                f"recipe: filters.{rule.reason}: this reason is the pipeline's own; give the rule another name"
            )
