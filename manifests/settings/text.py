"""The ``text`` block of a recipe: which text tokenizer, and how it is made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from manifests.settings.base import Settings


class TextSettings(Settings):
    """A byte-level BPE trained on the corpus, or a ``tokenizer.json`` from a file or the Hugging Face hub.

    Text is tokenized as it stands unless ``lowercase`` or ``squeeze`` asks for a change.
    """

    kind: Literal["bpe", "file", "hub"] = Field(
        default="bpe", description="trained on the corpus, or loaded from `source`"
    )
    source: str | None = Field(
        default=None, description="file: path of a tokenizer.json; hub: repository, such as org/name"
    )
    revision: str | None = Field(default=None, description="hub: a commit, so that it cannot change")
    vocab_size: int = Field(
        default=1_024, ge=258, le=1_000_000, description="bpe: at most so many ids, with bytes and marks"
    )
    fit_texts: int = Field(default=1_000_000, ge=1, description="bpe: train on the first so many texts")
    lowercase: bool = Field(default=False, description="bpe: fold the case of all text (cannot be undone)")
    squeeze: bool = Field(default=False, description="bpe: white space to single spaces (cannot be undone)")
    checksum: str | None = Field(default=None, description="file, hub: refuse a tokenizer.json with another SHA-256")

    @model_validator(mode="after")
    def _source_where_needed(self) -> TextSettings:
        if self.kind != "bpe" and not self.source:
            raise ValueError(f"text.kind is {self.kind!r}, so text.source must say which tokenizer to load")
        if self.kind == "bpe" and self.source:
            raise ValueError("text.source is set, so text.kind must be 'file' or 'hub'")
        return self
