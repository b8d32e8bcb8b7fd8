"""The ``transcribe`` and ``verify_text`` blocks of a recipe: who listens to the corpus, and what its texts are held against."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from manifests.settings.base import Settings
from manifests.settings.recognisers import PocketsphinxSettings, RecogniserSettings

STAGE = "transcripts"  # names its folder, its receipts and its part of dataset.json


class TranscribeSettings(Settings):
    """A recogniser hears the cleaned sound at 16 kHz, before anything is fitted on texts."""

    recogniser: RecogniserSettings = Field(default_factory=PocketsphinxSettings)
    use: Literal["missing", "compare", "both"] = Field(
        default="missing",
        description="missing: what has no text is heard, and that becomes its text; compare: what has a text is heard, as a second "
        "opinion; both: everything is",
    )
    batch_seconds: FiniteFloat = Field(
        default=240.0, ge=0, description="audio heard at once; Whisper takes 30 s for each utterance, however short"
    )


class VerifyTextSettings(Settings):
    """What is filtered for its text, or for what was heard instead of one. Null switches a rule off.

    Where corpus and recogniser agree, within ``max_wer`` and ``max_cer``, the other rules have no say but for that of the language.
    """

    max_wer: FiniteFloat | None = Field(
        default=0.3, ge=0, description="word error rate between text and what was heard"
    )
    max_cer: FiniteFloat | None = Field(default=None, ge=0, description="character error rate, likewise")
    normaliser: Literal["auto", "english", "basic"] = Field(
        default="auto",
        description="Whisper's: english spells numbers, contractions and spellings one way, basic drops case and punctuation; auto: by "
        "the language",
    )
    language: bool = Field(
        default=True, description="filter what is heard to be in another language than the corpus says"
    )
    min_language_probability: FiniteFloat = Field(
        default=0.5, ge=0, le=1, description="from which on the recogniser's language is believed"
    )
    max_compression_ratio: FiniteFloat | None = Field(
        default=2.4, gt=0, description="of the heard text: more is a loop"
    )
    max_repeats: int | None = Field(default=5, ge=1, description="times that some words may be heard in a row")
    min_avg_logprob: FiniteFloat | None = Field(default=-1.0, description="mean log probability of its tokens")
    max_no_speech: FiniteFloat | None = Field(
        default=0.6, ge=0, le=1, description="probability that nobody speaks, where the text is unlikely too"
    )
    max_chars_per_second: FiniteFloat | None = Field(
        default=40.0, gt=0, description="letters and digits heard in a second: more cannot be spoken"
    )
