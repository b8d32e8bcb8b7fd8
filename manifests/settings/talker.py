"""The ``talker`` block of a training recipe: the shape of the speech decoder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from manifests.settings.base import Settings


class TalkerSettings(Settings):
    """A small pre-norm transformer over speech codes, told by text states what to say.

    The paper's talker has 4 layers; its width is not stated (1024 to 2048 fits its speed).
    """

    layers: int = Field(default=4, ge=1, le=64)
    width: int = Field(default=256, ge=8, le=8192)
    heads: int = Field(default=4, ge=1, le=128)
    ffn: int = Field(default=1024, ge=8, le=65_536, description="width of the feed-forward layers")
    block: int = Field(default=16, ge=1, le=256, description="positions denoised together; the clock of the text turns")
    anchors: int = Field(
        default=4, ge=1, description="text states a turn brings: one turn of text for each block of speech"
    )
    conditioning: Literal["anchors", "prefix", "both", "paced"] = Field(
        default="anchors",
        description="how text is known: added to the first positions of each block, by attention to the text so far, or both; "
        "paced: added there and wherever it is expected to be spoken",
    )
    text_layers: int = Field(
        default=1, ge=0, le=16, description="causal layers over the text before it conditions speech"
    )
    text_width: int | None = Field(
        default=None,
        ge=1,
        description="width of given text states (of a language model); empty: ids of the text tokenizer",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)
    max_frames: int = Field(default=4096, ge=16, description="longest utterance, in frames")

    @model_validator(mode="after")
    def _shapes_fit(self) -> TalkerSettings:
        if self.width % (2 * self.heads):
            raise ValueError(f"talker.width {self.width} is not a multiple of 2 x talker.heads ({self.heads})")
        if self.anchors > self.block:
            raise ValueError(f"talker.anchors {self.anchors} does not fit in a block of {self.block}")
        return self
