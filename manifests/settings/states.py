"""The ``states`` block of a recipe: text states of a language model, which a talker may be told instead of text ids."""

from __future__ import annotations

from pydantic import Field

from manifests.settings.base import Settings

STAGE = "states"  # names its folder, its receipts and its part of dataset.json


class StatesSettings(Settings):
    """Arrays that somebody made with a language model, packed beside the tokens as they are."""

    source: str = Field(
        min_length=1,
        description="folder or URL with a file KEY.npy of each utterance: states x width, float16 or float32",
    )
    width: int = Field(ge=1, description="of a state; a file of another width is a fault of its utterance")
