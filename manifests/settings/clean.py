"""The ``clean`` block of a recipe: what sound must be like."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from manifests.settings.base import Settings


class CleanSettings(Settings):
    """Rules of the clean stage; each names the reason it filters with."""

    channel: Literal["mix"] | int = Field("mix", description="of recordings with several channels: their mean, or one by number")
    max_decoded_seconds: float = Field(3600.0, gt=0, description="more decoded sound than this is refused before it is allocated")
    max_decoded_mb: float = Field(2048.0, gt=0, description="likewise in megabytes of decoded samples")
    min_source_rate: int = Field(8000, ge=1, description="lowest sample rate of a file, in Hz")
    max_length_mismatch: float = Field(0.5, ge=0, description="seconds by which a file may be shorter than its header says")
    trim: bool = Field(True, description="cut silence off both ends")
    trim_db: float = Field(-50.0, lt=0, description="frames this far below the loudest one are silence")
    trim_keep: float = Field(0.1, ge=0, description="seconds of silence that stay at each end")
    min_seconds: float = Field(0.3, ge=0, description="shortest utterance, trimmed")
    max_seconds: float = Field(60.0, gt=0, description="longest utterance, trimmed")
    max_clipped: float = Field(0.01, ge=0, le=1, description="share of samples inside runs at full scale")
    max_silence: float = Field(0.8, ge=0, le=1, description="share of silent frames, trimmed")
    min_loudness_db: float = Field(-60.0, description="quietest utterance: RMS of its speech, dB of full scale")
    max_loudness_db: float = Field(-3.0, description="loudest utterance")
    normalise_db: float | None = Field(-23.0, description="RMS of speech that all utterances are brought to; null: as recorded")
