"""The ``segment`` block of a recipe: how long recordings become utterances. Without it, what the corpus lists is what is tokenized."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from manifests.settings.base import Settings


class EnergySettings(Settings):
    """The embedded detector: speech is what stands out of the noise around it."""

    name: Literal["energy"] = "energy"
    onset_db: FiniteFloat = Field(default=8.0, gt=0, description="dB above the noise floor that speech must reach")
    offset_db: FiniteFloat = Field(default=4.0, gt=0, description="dB above the noise floor down to which it goes on")
    range_db: FiniteFloat = Field(
        default=40.0, gt=0, description="the floor is never further below the speech around: breath and room are none"
    )
    quietest_db: FiniteFloat = Field(default=-75.0, le=0, description="below this level nothing is speech, in dB")
    floor_seconds: FiniteFloat = Field(
        default=30.0, ge=4, le=600, description="seconds around, from which the noise floor is taken"
    )

    @model_validator(mode="after")
    def _goes_on_below_its_onset(self) -> EnergySettings:
        if self.offset_db > self.onset_db:
            raise ValueError("offset_db is over onset_db: speech would end before it begins")
        return self


class SileroSettings(Settings):
    """Silero VAD, a small network: better in noise and music. Needs the extra ``vad``."""

    name: Literal["silero"] = "silero"
    onset: FiniteFloat = Field(default=0.5, gt=0, lt=1, description="chance of speech that must be reached")
    offset: FiniteFloat = Field(default=0.35, gt=0, lt=1, description="chance of speech down to which it goes on")

    @model_validator(mode="after")
    def _goes_on_below_its_onset(self) -> SileroSettings:
        if self.offset > self.onset:
            raise ValueError("offset is over onset: speech would end before it begins")
        return self


DetectorSettings = Annotated[EnergySettings | SileroSettings, Field(discriminator="name")]


class SegmentSettings(Settings):
    """Utterances of bounded length, cut where nobody speaks, with their times in the recording."""

    detector: DetectorSettings = Field(default_factory=EnergySettings, description="who says where somebody speaks")
    min_seconds: FiniteFloat = Field(default=1.0, ge=0.1, description="shortest utterance")
    max_seconds: FiniteFloat = Field(
        default=30.0, gt=0, description="longest utterance; longer speech is cut at pauses"
    )
    pause_seconds: FiniteFloat = Field(default=0.6, gt=0, description="so much silence ends an utterance")
    pad_seconds: FiniteFloat = Field(
        default=0.15, ge=0, description="silence that stays at either end, where there is any"
    )
    blip_seconds: FiniteFloat = Field(
        default=0.06, ge=0, description="sound that is shorter, with a pause on either side, is no speech: a click"
    )
    channels: Literal["together", "apart"] = Field(
        default="together",
        description="apart: every channel of a recording is cut up on its own, as in calls with a speaker on each; together: as clean.channel says",
    )
    text: Literal["keep", "drop"] = Field(
        default="keep",
        description="of a recording that is too long and has one text without times: keep the text, and so filter the recording "
        "(text_without_times); or drop the text, and cut the recording",
    )
    max_recording_seconds: FiniteFloat = Field(
        default=86_400.0, gt=0, description="a recording that decodes to more is refused"
    )
    unit_seconds: FiniteFloat = Field(
        default=7_200.0, gt=0, description="seconds of recordings that a unit should hold"
    )

    @model_validator(mode="after")
    def _can_be_cut(self) -> SegmentSettings:
        if self.max_seconds < 2 * self.min_seconds:
            raise ValueError(
                f"segment.max_seconds = {self.max_seconds:g} is under twice segment.min_seconds = {self.min_seconds:g}: "
                "speech that is a little too long could not be cut in two"
            )
        return self
