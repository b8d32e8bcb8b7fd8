"""Who listens to an evaluation beside pocketsphinx: a recogniser of one's own choice, by the names and settings of a recipe's ``transcribe`` block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from manifests import recipe_file
from manifests.fingerprint import fingerprint
from manifests.settings.base import Settings
from manifests.settings.recognisers import PocketsphinxSettings, RecogniserSettings
from manifests.settings.weights import WeightsSettings
from pipelines.voice.errors import SpeakError
from tokenization.adapter import TokenizerError
from tokenization.recognisers.base import RecogniserError, RecogniserSpec
from tokenization.recognisers.normalise import language_code
from tokenization.recognisers.registry import describe_recogniser, pinned
from tokenization.recognisers.windows import BLOCK

OPTION = "--ear"
PLACES = {"weights", "revision"}  # where weights lie decides nothing, their checksum does


class _Asked(Settings):
    ear: RecogniserSettings


def asked_for(text: str | None, weights: str | None = None) -> RecogniserSettings | None:
    """The recogniser that ``--ear`` names: by its name, or as a mapping in YAML; ``weights`` are put into either. None where it names none.

    Raises ``RecipeError`` for what is no recogniser's setting, :class:`SpeakError` for weights of nobody and for the ear that listens anyhow.
    """
    if text is None:
        if weights is not None:
            raise SpeakError(f"--weights {weights}: of which recogniser? name it by {OPTION}")
        return None
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    value = value if isinstance(value, dict) else {"name": str(value)}
    value = value if weights is None else {**value, "weights": weights}
    settings = recipe_file.check(_Asked, {"ear": value}, OPTION).ear
    if isinstance(settings, PocketsphinxSettings):
        raise SpeakError(f"{OPTION} pocketsphinx: it listens in any case; leave {OPTION} out")
    return settings


@dataclass(frozen=True)
class ChosenEar:
    """A recogniser of one's own choice. ``settings`` say exactly which weights, as a place that every process finds."""

    settings: RecogniserSettings
    spec: RecogniserSpec

    @classmethod
    def of(cls, settings: RecogniserSettings) -> ChosenEar:
        """Looks for library, weights and device; loads nothing. Raises ``RecogniserError`` and ``TokenizerError``."""
        try:
            spec = describe_recogniser(settings)
            _require_device(settings)
        except (RecogniserError, TokenizerError) as error:
            raise type(error)(str(error).replace(f"{BLOCK}.", f"{OPTION}: ")) from error
        return cls(pinned(settings, spec), spec)

    @property
    def name(self) -> str:
        """As tables call it."""
        return self.spec.name

    @property
    def key(self) -> str:
        """As what it heard is kept by: other weights, settings or versions of it would hear other words."""
        said = self.settings.model_dump(mode="json", exclude=PLACES)
        return f"{self.name}-{fingerprint([said, self.spec.version, self.spec.checksum])}"

    @property
    def language(self) -> str | None:
        """What it was told is spoken."""
        return getattr(self.settings, "language", None)

    @property
    def on_gpu(self) -> bool:
        return isinstance(self.settings, WeightsSettings) and self.settings.device != "cpu"

    def require_languages(self, languages: Iterable[str | None]) -> None:
        """Raise :class:`SpeakError` where it knows one language only, and ``languages`` of the texts have another; None: nobody says."""
        codes = {language_code(one) for one in languages} | {self.language}
        strange = sorted(code for code in codes - {None, self.spec.language} if code)
        if self.spec.language is not None and strange:
            raise SpeakError(
                f"{OPTION} {self.name}: these weights know {self.spec.language} only, and the sentences are in {', '.join(strange)}: "
                "give weights of several languages"
            )

    def to_json(self) -> dict[str, Any]:
        return {**self.settings.model_dump(mode="json", exclude=PLACES), "version": self.spec.version}


def _require_device(settings: RecogniserSettings) -> None:
    """Raises ``TokenizerError`` where it is not there."""
    from tokenization.codecs.neural import chosen_device

    if isinstance(settings, WeightsSettings):
        chosen_device(settings.device, BLOCK)
