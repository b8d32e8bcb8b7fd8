"""What every model with weights of its own is told: where they lie, which they must be, and where it runs."""

from __future__ import annotations

from pydantic import Field

from manifests.settings.base import Settings


class WeightsSettings(Settings):
    """``weights`` enters no fingerprint: where they lie decides nothing, their checksum does."""

    weights: str = Field(
        default="",
        description="file or folder of the weights, or a repository of the Hugging Face hub such as org/name",
    )
    revision: str | None = Field(default=None, description="hub: a commit, so that it cannot change")
    checksum: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="refuse a weights file with another SHA-256; empty: whatever it has is recorded",
    )
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:N")
