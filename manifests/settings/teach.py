"""The ``teach`` block of a recipe: what a frozen teacher says of masked copies of every utterance, recorded ahead for self-distillation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from manifests.settings.base import Settings
from manifests.settings.mask import SetName

STAGE = "teach"  # names its folder, its receipts and its part of dataset.json


class TeachSettings(Settings):
    """A teacher takes masked copies to their end in a few iterations (VocalNet-MDM 3.4); which cell it decided when, and what it thought of it, is kept.

    ``states`` keeps nothing else: the trainer runs the teacher again. ``hidden`` keeps the teacher's final states, exact at every temperature
    but for rounding to 16 bits; ``topk`` its likeliest classes at one temperature.
    """

    teacher: str | None = Field(default=None, description="run or checkpoint whose averaged weights teach")
    bootstrap: str | None = Field(
        default=None,
        description="where `teacher` names nobody: training recipe of one that is first trained on the dataset itself",
    )
    masks: SetName = Field(default="hierarchical", description="mask set whose views are taught")
    views: int = Field(default=2, ge=1, le=65_536, description="the first so many views of the set")
    iterations: int = Field(default=4, ge=1, le=255)
    policy: str = Field(
        default="even",
        description="what the teacher decides first: even, ending, cosine, margin, left_to_right or whatever `say --policy` takes, but for what draws or needs a prior",
    )
    forced: bool = Field(
        default=False, description="the teacher goes on from true codes, not from those it decided for"
    )
    context: Literal["clean", "joint"] = Field(
        default="clean",
        description="what a block sees of those before it: their true codes (for two_stream stages), or the same masked copy (for single_stream)",
    )
    store: Literal["states", "topk", "hidden"] = "hidden"
    k: int = Field(default=32, ge=1, le=65_536, description="likeliest classes that `topk` keeps")
    tau: FiniteFloat = Field(default=2.0, gt=0, description="temperature at which `topk` keeps them")
    batch_frames: int = Field(default=4096, ge=1, description="positions of noisy copies in one pass of the teacher")
