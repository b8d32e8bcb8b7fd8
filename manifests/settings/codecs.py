"""Settings of the neural speech tokenizers: which weights, how much of the codec is used, and where it runs."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import Field, model_validator

from manifests.settings.weights import WeightsSettings


class CodecSettings(WeightsSettings):
    """What every neural codec is told."""

    batch_seconds: float = Field(
        default=0.0, ge=0, description="audio encoded at once; 0: one utterance at a time, the fastest on a CPU"
    )


ENCODEC_BANDWIDTHS = {24_000: (1.5, 3, 6, 12, 24), 48_000: (3, 6, 12, 24)}
XCODEC_BANDWIDTHS = (0.5, 1, 1.5, 2, 4)


class EncodecSettings(CodecSettings):
    """EnCodec of 24 kHz (75 frames/s, causal) or 48 kHz (150 frames for each second, of which seconds overlap by 1 %)."""

    name: Literal["encodec"] = "encodec"
    sample_rate: Literal[24_000, 48_000] = Field(default=24_000, description="which of the two models, in Hz")
    bandwidth: float = Field(
        default=6.0, description="kbit/s: 2, 4, 8, 16 or 32 codebooks at 24 kHz, half as many at 48 kHz (from 3 on)"
    )
    chunk_seconds: float = Field(
        default=60.0, ge=1, description="24 kHz: longer audio goes through in pieces that change no code"
    )

    @model_validator(mode="after")
    def _bandwidth_is_offered(self) -> EncodecSettings:
        return _offered(self, ENCODEC_BANDWIDTHS[self.sample_rate])


class MimiSettings(CodecSettings):
    """Mimi: 24 kHz, 12.5 frames/s, causal; the first codebook is the semantic one."""

    name: Literal["mimi"] = "mimi"
    sample_rate: Literal[24_000] = 24_000
    codebooks: int = Field(default=8, ge=1, le=32, description="the first so many")
    chunk_seconds: float = Field(
        default=60.0, ge=1, description="longer audio goes through in pieces that change no code"
    )


class DacSettings(CodecSettings):
    """Descript's audio codec of 16, 24 or 44.1 kHz; not causal."""

    name: Literal["dac"] = "dac"
    sample_rate: Literal[16_000, 24_000, 44_100] = Field(default=16_000, description="which of the three models, in Hz")
    codebooks: int | None = Field(default=None, ge=1, le=32, description="the first so many; empty: all it has")
    chunk_seconds: float = Field(
        default=20.0, ge=1, description="longer audio goes through in pieces that change no code"
    )


class XcodecSettings(CodecSettings):
    """X-codec: 16 kHz, 50 frames/s, with HuBERT inside: it hears an utterance as a whole, so long ones are not cut."""

    name: Literal["xcodec"] = "xcodec"
    sample_rate: Literal[16_000] = 16_000
    bandwidth: float = Field(default=2.0, description="kbit/s: 1, 2, 3, 4 or 8 codebooks")

    @model_validator(mode="after")
    def _bandwidth_is_offered(self) -> XcodecSettings:
        return _offered(self, XCODEC_BANDWIDTHS)


B = TypeVar("B", EncodecSettings, XcodecSettings)


def _offered(settings: B, bandwidths: tuple[float, ...]) -> B:
    if settings.bandwidth not in bandwidths:
        known = ", ".join(f"{b:g}" for b in bandwidths)
        raise ValueError(
            f"bandwidth {settings.bandwidth:g}: {settings.name} of {settings.sample_rate} Hz has {known} kbit/s"
        )
    return settings


class S3Settings(CodecSettings):
    """The S3 tokenizer of CosyVoice2 (v2) or CosyVoice3 (v3): 25 frames/s, one codebook of 6561."""

    name: Literal["s3tokenizer"] = "s3tokenizer"
    model: Literal["v2", "v3"] = Field(default="v2", description="v2 has 6 layers, v3 has 12")
    sample_rate: Literal[16_000] = 16_000
    vocoder: str | None = Field(
        default=None, description="an installed package's entry point of group speechmill.vocoders, by its name"
    )
