"""Which utterance belongs to train, dev or test: by a hash of its speaker, so that no speaker leaks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from manifests.fingerprint import draw
from manifests.settings.base import Settings
from manifests.utterance import Utterance

MIN_SPEAKERS = 10


class SplitSettings(Settings):
    """How splits are made."""

    by: Literal["corpus", "speaker", "recording"] = Field(
        default="corpus",
        description="what decides: the corpus's own split where it states one (else the speaker; the recording where there are "
        f"fewer than {MIN_SPEAKERS} speakers), always the speaker, or always the recording",
    )
    dev: float = Field(default=0.05, ge=0, le=0.5, description="share of speakers for dev")
    test: float = Field(default=0.05, ge=0, le=0.5, description="share of speakers for test")
    seed: int = Field(default=0, description="another seed draws other speakers")


def split_of(utterance: Utterance, settings: SplitSettings) -> str:
    """``train``, ``dev`` or ``test`` (or the name the corpus gives), a pure function of the utterance and the settings."""
    if settings.by == "corpus" and utterance.split:
        return utterance.split
    by_speaker = utterance.speaker and (
        settings.by == "speaker" or (settings.by == "corpus" and not utterance.few_speakers)
    )
    owner = f"speaker:{utterance.speaker}" if by_speaker else f"recording:{utterance.recording_id}"
    share = draw("split", settings.seed, owner) / 2**64
    if share < settings.test:
        return "test"
    return "dev" if share < settings.test + settings.dev else "train"
