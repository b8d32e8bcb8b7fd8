"""The ``features`` block of a recipe: states of Whisper's encoder, of what is asked in a dialogue."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from manifests.settings.weights import WeightsSettings

STAGE = "features"  # names its folder, its receipts and its part of dataset.json


class FeaturesSettings(WeightsSettings):
    """What a speech LLM listens to: 50 frames a second of the query, as OpenAI's package computes them, from a checkpoint of its own or of Hugging Face transformers."""

    name: Literal["whisper"] = "whisper"
    model: str | None = Field(
        default=None,
        pattern=r"^\w[\w.-]*$",
        description="where `weights` is a folder, the checkpoint in it by its name, such as large-v3",
    )
