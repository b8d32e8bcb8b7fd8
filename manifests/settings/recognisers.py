"""Settings of the recognisers: which weights, how text is searched for, and where they run."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from manifests.settings.base import Settings
from manifests.settings.weights import WeightsSettings


class PocketsphinxSettings(Settings):
    """The embedded recogniser: American English, its model comes with the package. Good for trying out, and for clear speech."""

    name: Literal["pocketsphinx"] = "pocketsphinx"


def _rising(temperatures: tuple[float, ...]) -> tuple[float, ...]:
    if not temperatures or temperatures[0] != 0:
        raise ValueError("temperatures begin with 0: the likeliest text comes first")
    if any(low >= high for low, high in pairwise(temperatures)):
        raise ValueError("temperatures rise from one to the next")
    return temperatures


class WhisperFamily(WeightsSettings):
    """What every Whisper is told. At temperature 0 the likeliest text is taken, and nothing is drawn."""

    language: str | None = Field(
        default=None,
        pattern="^[a-z]{2,3}$",
        description="what is spoken, such as en; empty: what its language head hears",
    )
    beam_size: int | None = Field(
        default=None, ge=1, le=32, description="beams at temperature 0; empty: the likeliest token"
    )
    temperatures: Annotated[tuple[FiniteFloat, ...], AfterValidator(_rising)] = Field(
        default=(0.0,),
        description="tried in turn while a text looks like a loop or is unlikely; those above 0 draw, by a seed of the sound",
    )
    seed: int = Field(default=0, ge=0, description="of what is drawn at temperatures above 0")


class WhisperSettings(WhisperFamily):
    """OpenAI's package ``openai-whisper``, with its checkpoints or those of Hugging Face transformers (a folder or repository of ``config.json`` and ``model.safetensors``)."""

    name: Literal["whisper"] = "whisper"
    model: str | None = Field(
        default=None,
        pattern=r"^\w[\w.-]*$",
        description="where `weights` is a folder, the checkpoint in it by its name, such as large-v3",
    )
    half: bool = Field(default=False, description="compute in float16, on a GPU")

    @model_validator(mode="after")
    def _half_is_for_gpus(self) -> WhisperSettings:
        if self.half and self.device == "cpu":
            raise ValueError("half needs a GPU: set device to cuda, or half to false")
        return self


class FasterWhisperSettings(WhisperFamily):
    """The package ``faster-whisper``: Whisper by CTranslate2, from a folder that its converter made."""

    name: Literal["faster-whisper"] = "faster-whisper"
    compute_type: Literal["float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16"] = Field(
        default="float32", description="of the arithmetic; int8 is the fastest on a CPU"
    )


RecogniserSettings = Annotated[
    PocketsphinxSettings | WhisperSettings | FasterWhisperSettings, Field(discriminator="name")
]
