"""Stages that work with weights of their own, where these are not here: what is given of them makes do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manifests.recipe import Recipe
from manifests.settings.codecs import CodecSettings
from manifests.settings.speech import GivenSettings
from manifests.settings.weights import WeightsSettings
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.stages import Stage
from pipelines.workspace import Workspace
from tokenization.adapter import TokenizerError
from tokenization.recognisers.base import RecogniserError

WITHOUT: Mapping[
    str, Mapping[str, Any]
] = {  # what takes the place of a stage's weights in a recipe that makes do without
    "transcripts": {"transcribe": None, "verify_text": None},
    "tokens": {"speech": GivenSettings()},
    "features": {"features": None},
}


def weights_of(recipe: Recipe, stage: str) -> WeightsSettings | None:
    """What a stage's workers load; None where they load nothing."""
    asked = {
        "transcripts": recipe.transcribe.recogniser if recipe.transcribe else None,
        "tokens": recipe.speech if isinstance(recipe.speech, CodecSettings) else None,
        "features": recipe.features,
    }.get(stage)
    return asked if isinstance(asked, WeightsSettings) else None


def openable(recipe: Recipe, out: str, stages: Sequence[Stage], rates: Mapping[str, float], found: bool) -> Recipe:
    """The recipe; without the weights that are not here, and need not be, since rates or receipts are given (``found``) of what they do.

    Raises :class:`ForecastError` where they are needed.
    """
    for stage in WITHOUT:
        if weights_of(recipe, stage) is None:
            continue
        try:
            Workspace.of(_with_alone(recipe, stage), out)
        except (TokenizerError, RecogniserError) as error:
            if not found:
                _require_rates(stage, stages, rates, error)
            recipe = recipe.model_copy(update=WITHOUT[stage])
    return recipe


def _with_alone(recipe: Recipe, stage: str) -> Recipe:
    """With the weights of one stage only."""
    others: dict[str, Any] = {}
    for other, without in WITHOUT.items():
        if other != stage and weights_of(recipe, other) is not None:
            others |= without
    return recipe.model_copy(update=others)


def _require_rates(stage: str, stages: Sequence[Stage], rates: Mapping[str, float], error: Exception) -> None:
    """Raise :class:`ForecastError` where the stage, or one that reads what it makes, would have to be timed."""
    reading = {"tokens": [s.name for s in stages if s.units and "tokens" in s.needs]}.get(stage, [])
    missing = [name for name in (stage, *reading) if name not in rates]
    if missing:
        given_by = " ".join(f"--rate {name}=HOURS" for name in missing)
        raise ForecastError(
            f"{error}; without it nothing can be timed here: ask where it is, name an output with receipts (--from OUT), or give "
            f"{given_by} (of audio, for each hour of one worker)"
        ) from None
