"""The ``scores`` block of a recipe: what is measured of every sound and its text, beside what cleaning measures anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from manifests.settings.base import Settings


class Plain(Settings):
    """A score that has nothing to set."""


class DnsmosSettings(Settings):
    """DNSMOS P.835 (Reddy et al. 2022): a released ``sig_bak_ovr.onnx``. Where it lies enters no fingerprint, its checksum does."""

    model: str = Field(default="", description="the ONNX file, on every machine that tokenizes")
    checksum: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="refuse a model with another SHA-256; empty: whatever it has is recorded",
    )
    personalised: bool = Field(
        default=False, description="the model is the one of pDNSMOS, which takes other voices for noise"
    )


class ScoresSettings(Settings):
    """Which scores are computed. Written as a list of names, or as a mapping where one has settings."""

    snr_db: Plain | None = None
    bandwidth_hz: Plain | None = None
    characters_per_second: Plain | None = None
    dnsmos: DnsmosSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A list stands for scores without settings, and so does a name with nothing behind it."""
        if value is None:
            return {}
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return {name: {} for name in value}
        if isinstance(value, Mapping):
            return {
                name: {} if settings is None and name in cls.model_fields else settings
                for name, settings in value.items()
            }
        return value

    @model_serializer(mode="wrap")
    def _asked_alone(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the scores that are not asked for: a name with nothing behind it would ask for one."""
        return {name: value for name, value in serialize(self).items() if value is not None}

    @property
    def asked(self) -> tuple[str, ...]:
        """The scores that are to be computed, in the order of this class."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    def deciding(self) -> dict[str, Any]:
        """What decides the scores, as JSON: without those not asked for, and without where models lie."""
        value = self.model_dump(mode="json")
        if self.dnsmos is not None:
            value["dnsmos"].pop("model")
        return value
