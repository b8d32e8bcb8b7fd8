"""Settings of the demo corpus."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from manifests.settings.base import Settings


class DemoSettings(Settings):
    """How much demo speech is made, by which engine, and how well it must be understood."""

    dialogues: int = Field(default=2400, ge=1, description="dialogues, each one query and one response")
    seed: int = Field(default=0, ge=0, description="seed of text, personas and prosody")
    variation: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="how far the assistant's rate, pitch and pauses vary: 1 as far as its engine is understood, 0 not at all",
    )
    engine: Literal["auto", "flite", "espeak"] = "auto"
    screening_sentences: int = Field(default=32, ge=20, description="sentences each candidate voice is screened on")
    max_wer: float = Field(default=0.01, ge=0, le=1, description="highest word error rate of a voice that is kept")
