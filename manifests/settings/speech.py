"""The ``speech`` block of a recipe: which speech tokenizer, and how it is made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from manifests.settings.base import Settings
from manifests.settings.codecs import DacSettings, EncodecSettings, MimiSettings, S3Settings, XcodecSettings


class PatchesSettings(Settings):
    """The embedded tokenizer: 40 ms patches of log-mel, a codebook fitted on the corpus, 25 Hz.

    Everything but ``griffin_lim`` and ``momentum`` decides the codes; those two only how codes are turned to sound.
    """

    name: Literal["patches"] = "patches"
    sample_rate: int = Field(
        default=16_000, ge=8_000, le=48_000, multiple_of=200, description="Hz; audio is resampled to it"
    )
    mels: int = Field(default=80, ge=20, le=128, description="mel bands")
    floor_db: int = Field(default=-90, ge=-90, le=-40, description="the least level of a band, dB of full scale")
    pca: int = Field(default=64, ge=2, le=512, description="dimensions in which patches are compared")
    codebook_size: int = Field(default=1024, ge=2, le=65_536, description="codes in each codebook: the vocabulary size")
    codebooks: int = Field(
        default=1, ge=1, le=16, description="1, or more for a residual quantizer: better sound, more codes"
    )
    fit_seconds: int = Field(
        default=3_600, ge=1, description="seconds of speech the codebook is fitted on, sampled by seed"
    )
    iterations: int = Field(default=20, ge=1, le=1_000, description="rounds of k-means")
    seed: int = Field(default=0, ge=0)
    griffin_lim: int = Field(
        default=32, ge=0, le=1_000, description="rounds of phase recovery when codes are turned to sound"
    )
    momentum: float = Field(default=0.99, ge=0, lt=1, description="of phase recovery")

    def encoding(self) -> dict[str, object]:
        """The part of the settings that decides the codes."""
        return self.model_dump(exclude={"griffin_lim", "momentum"})


class GivenSettings(Settings):
    """Tokens that came with the corpus: validated, never made."""

    name: Literal["given"] = "given"
    frame_rate: float = Field(default=25.0, gt=0, description="frames per second of the given tokens")
    vocab_size: int = Field(default=6_561, ge=2, le=65_536, description="given tokens lie below it")
    codebooks: int = Field(default=1, ge=1, le=64)
    sample_rate: int = Field(
        default=16_000, ge=8_000, le=48_000, description="of audio that lies beside the tokens, in Hz"
    )


SpeechSettings = Annotated[
    PatchesSettings | GivenSettings | EncodecSettings | MimiSettings | DacSettings | XcodecSettings | S3Settings,
    Field(discriminator="name"),
]
