"""The ``clean`` block of a recipe: what sound must be like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from manifests.settings.base import Settings


class CleanSettings(Settings):
    """Rules of the clean stage. The rate that sound is brought to is not here: the speech tokenizer says it.

    Copies of one file are the ``plan`` block's business (``plan.dedup``): they are found before anything is decoded.
    """

    channel: Literal["mix"] | Annotated[int, Field(ge=0)] = Field(
        default="mix",
        description="of recordings with several channels: their mean, or one by number; a cut's own channel comes first",
    )
    max_decoded_seconds: FiniteFloat = Field(
        default=3600.0, gt=0, description="a file or part that decodes to more is refused, before the memory is taken"
    )
    max_decoded_mb: FiniteFloat = Field(
        default=2048.0, gt=0, description="likewise, in MiB of float32 samples over all channels"
    )
    min_source_rate: int = Field(default=8000, ge=1, description="lowest sample rate of a file, in Hz")
    max_length_mismatch: FiniteFloat = Field(
        default=0.5,
        ge=0,
        description="seconds by which what decodes may differ from what the header or the corpus promises",
    )
    trim: bool = Field(default=True, description="cut silence off both ends")
    trim_db: FiniteFloat = Field(
        default=-50.0, lt=0, description="20 ms frames this far below the loudest one are silence"
    )
    trim_keep: FiniteFloat = Field(default=0.1, ge=0, description="seconds of silence that stay at each end")
    min_seconds: FiniteFloat = Field(default=0.3, ge=0, description="shortest utterance, trimmed")
    max_seconds: FiniteFloat = Field(default=60.0, gt=0, description="longest utterance, trimmed")
    max_clipped: FiniteFloat = Field(default=0.01, ge=0, le=1, description="share of samples on plateaus at full scale")
    max_silence: FiniteFloat = Field(default=0.8, ge=0, le=1, description="share of silent frames, trimmed")
    min_loudness_db: FiniteFloat = Field(
        default=-60.0, description="quietest utterance: RMS of its speech, dB of full scale"
    )
    max_loudness_db: FiniteFloat = Field(default=-3.0, description="loudest utterance, likewise")
    normalise_db: FiniteFloat | None = Field(
        default=-23.0,
        le=0,
        description="RMS of speech that all utterances are brought to, as far as peaks allow; null: as recorded",
    )

    @model_validator(mode="after")
    def _ranges_hold_something(self) -> CleanSettings:
        for low, high in (("min_seconds", "max_seconds"), ("min_loudness_db", "max_loudness_db")):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"clean.{low} is not under clean.{high}: every utterance would be filtered")
        return self
