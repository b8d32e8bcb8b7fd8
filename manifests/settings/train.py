"""The ``train`` block of a training recipe: stages, optimiser, schedule, and how the run is kept and watched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, StringConstraints, field_validator, model_validator

from manifests.settings.base import Settings
from manifests.settings.mask import SetName, Share

StageName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Beta = Annotated[FiniteFloat, Field(ge=0, lt=1)]

MASKED_LAYOUTS = (
    "two_stream",
    "single_stream",
)  # those that are fed noisy copies, so a mask set must say what is masked


class DistillationSettings(Settings):
    """A frozen teacher takes every noisy copy to its end in a few iterations; the student learns to say in one pass what it said on
    the way (VocalNet-MDM 3.4: reverse KL at temperature 2, weight 0.7, 4 iterations; all else is not stated there).

    Hard targets are the codes that it wrote, one for each cell and all of one trajectory, so that they agree with each other (dParallel, d3LLM).
    """

    teacher: str | None = Field(
        default=None,
        description="run or checkpoint whose averaged weights teach; empty: those that training starts from",
    )
    stored: bool = Field(
        default=False,
        description="learn from what the dataset's teach stage recorded: teacher, iterations, policy and forced are then its, and others are refused",
    )
    iterations: int = Field(default=4, ge=1, le=255)
    policy: str = Field(
        default="even",
        description="what the teacher decides first: even, ending, cosine, margin, left_to_right or whatever `say --policy` takes, but for what draws or needs a prior",
    )
    forced: bool = Field(
        default=False, description="the teacher goes on from true codes, not from those it decided for"
    )
    targets: Literal["soft", "hard"] = Field(
        default="soft",
        description="what the teacher thought likely (a divergence), or the codes it wrote (their cross-entropy)",
    )
    alpha: Share = Field(default=0.7, description="weight of the teacher's word; the rest is the true code's")
    kl: Literal["reverse", "forward"] = "reverse"
    tau: FiniteFloat = Field(default=2.0, gt=0, description="temperature of both distributions")
    tau_squared: bool = Field(
        default=False, description="multiply by tau squared, which keeps gradients' size over tau"
    )
    floor: FiniteFloat = Field(
        default=-14.0, lt=0, description="least log probability that a teacher counts as having, nats"
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> DistillationSettings:
        asked = ("kl", "tau", "tau_squared", "floor")  # a recipe that was kept with a run says them all
        idle = [name for name in asked if getattr(self, name) != type(self).model_fields[name].default]
        if self.targets == "hard" and idle:
            raise ValueError(f"hard targets are codes, without probabilities: leave out {', '.join(idle)}")
        return self


class WindowSettings(Settings):
    """Windows of masks that guess several frames ahead, of layout ``anchored``. A talker is decoded with those of its last stage."""

    ahead: int = Field(default=3, ge=1, le=255, description="masks of a window: frames after the next one")
    stride: int = Field(
        default=4,
        ge=1,
        le=255,
        description="positions from one window to the next; all move by one from step to step",
    )
    causal: bool = Field(
        default=True, description="a mask sees those before it in its window; false: all of the window (SDLM)"
    )


class StageSettings(Settings):
    """A part of the run: how utterances are laid out, what is masked in them, what is asked, for how long."""

    name: StageName = "main"
    layout: Literal["two_stream", "single_stream", "autoregressive", "anchored"] = "two_stream"
    masks: SetName | None = Field(
        default=None, description="mask set of the dataset; empty where the layout masks nothing"
    )
    copies: int = Field(default=1, ge=1, le=64, description="noisy copies (views) of each utterance in one step")
    block: int | None = Field(
        default=None,
        ge=1,
        description="positions that are guessed together in this stage, a divisor of talker.block; empty: talker.block. Short blocks are the easier task",
    )
    windows: WindowSettings | None = Field(
        default=None, description="of layout anchored; empty: 3 ahead, at every 4th position, causal"
    )
    steps: int | None = Field(default=None, ge=1, description="optimiser steps; say either this or `epochs`")
    epochs: FiniteFloat | None = Field(default=None, gt=0, description="times the training split is seen")
    lr_scale: FiniteFloat = Field(default=1.0, gt=0, description="multiplies the learning rate in this stage")
    loss: Literal["cross_entropy", "distillation"] = "cross_entropy"
    distillation: DistillationSettings | None = Field(
        default=None, description="of the loss of that name; empty: the paper's"
    )
    certainty: FiniteFloat = Field(
        default=0.0,
        ge=0,
        description="weight of the entropy, at temperature 0.5, of codes that the talker has right: be sure of what you know (dParallel: 2)",
    )
    weighting: Literal["mean", "per_row", "inverse_rate"] = Field(
        default="mean",
        description="what a masked code counts: all alike, rows alike, or by one over the share of its block that is masked",
    )
    cut_tail: Share = Field(
        default=0.0,
        description="share of the utterances that break off at a random frame of their last block, without an end of speech: so that ends are not learned by their place in a block",
    )

    @property
    def taught(self) -> DistillationSettings | None:
        """How a teacher takes part, if one does."""
        return (self.distillation or DistillationSettings()) if self.loss == "distillation" else None

    @model_validator(mode="after")
    def _distillation_fits(self) -> StageSettings:
        if self.distillation is not None and self.loss != "distillation":
            raise ValueError(
                f"stage {self.name} says how it is distilled, but its loss is {self.loss}: say loss: distillation"
            )
        if self.loss == "distillation" and (self.layout not in MASKED_LAYOUTS or self.block is not None):
            raise ValueError(
                f"stage {self.name}: a teacher fills in masks of whole blocks: use layout two_stream or single_stream, and no block"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> StageSettings:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"stage {self.name} needs either steps or epochs")
        if self.layout in MASKED_LAYOUTS and self.masks is None:
            raise ValueError(
                f"stage {self.name} has layout {self.layout}, so masks must name a mask set of the dataset"
            )
        if self.layout not in MASKED_LAYOUTS and (self.masks is not None or self.copies > 1):
            raise ValueError(
                f"stage {self.name} has layout {self.layout}, which masks nothing: leave out masks and copies"
            )
        if self.layout not in MASKED_LAYOUTS and self.block is not None:
            raise ValueError(
                f"stage {self.name} has layout {self.layout}, which guesses frame by frame: leave out block"
            )
        if self.windows is not None and self.layout != "anchored":
            raise ValueError(f"stage {self.name} has layout {self.layout}, which has no windows: leave out windows")
        return self

    @model_validator(mode="after")
    def _tails_can_be_cut(self) -> StageSettings:
        if self.cut_tail and self.layout not in MASKED_LAYOUTS:
            raise ValueError(
                f"stage {self.name} has layout {self.layout}, which guesses frame by frame, whatever the place in a block: leave out cut_tail"
            )
        if self.cut_tail and self.taught is not None and self.taught.stored:
            raise ValueError(
                f"stage {self.name} learns from what a teacher said of whole utterances: leave out cut_tail, or distillation.stored"
            )
        return self


class AdamWSettings(Settings):
    """AdamW. Weights of layers decay; embeddings, norms and biases do not."""

    name: Literal["adamw"] = "adamw"
    lr: FiniteFloat = Field(default=1.5e-3, gt=0, description="learning rate at its peak")
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    weight_decay: FiniteFloat = Field(default=0.05, ge=0)
    eps: FiniteFloat = Field(default=1e-8, gt=0)


class MuonSettings(AdamWSettings):
    """Muon for the matrices of hidden layers, AdamW for all else (Jordan et al. 2024)."""

    name: Literal["muon"] = "muon"  # pyright: ignore[reportIncompatibleVariableOverride]
    matrix_lr: FiniteFloat | None = Field(
        default=None,
        gt=0,
        description="peak of the matrices' learning rate; empty: as lr, for steps are made as long as AdamW's",
    )
    momentum: Beta = 0.95


OptimiserSettings = Annotated[AdamWSettings | MuonSettings, Field(discriminator="name")]


class CosineSettings(Settings):
    """Up in a line, down in a half cosine to ``floor`` at the end of the run."""

    name: Literal["cosine"] = "cosine"
    warmup: int = Field(default=80, ge=0, description="steps")
    floor: FiniteFloat = Field(default=0.0, ge=0, le=1, description="share of the peak at the end")


class WsdSettings(Settings):
    """Up in a line, level, down in a line to ``floor`` over the last share of the run (warm-up, stable, decay)."""

    name: Literal["wsd"] = "wsd"
    warmup: int = Field(default=80, ge=0, description="steps")
    decay: FiniteFloat = Field(default=0.3, ge=0, le=1, description="share of the run that the descent takes")
    floor: FiniteFloat = Field(default=0.0, ge=0, le=1, description="share of the peak at the end")


ScheduleSettings = Annotated[CosineSettings | WsdSettings, Field(discriminator="name")]


class ValidationSettings(Settings):
    """How training is judged on the way: the same utterances under the same masks each time."""

    every: int = Field(default=200, ge=0, description="steps between validations; 0: none, not even at the end")
    split: Literal["dev", "train", "test"] = "dev"
    utterances: int = Field(default=256, ge=1, description="at most so many, drawn by hash")
    layout: Literal["two_stream", "single_stream"] = Field(
        default="two_stream",
        description="of stages with masks: two_stream is what decoding sees; others keep their own",
    )
    shares: dict[str, Annotated[FiniteFloat, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: {"full": 1.0, "half": 0.5},
        description="share of masked codes of each figure, by its name",
    )


class TrainSettings(Settings):
    """One run over one dataset."""

    stages: tuple[StageSettings, ...]
    start: str | None = Field(
        default=None,
        description="run or checkpoint whose (averaged) weights training starts from; `teacher`: the one that was trained with the dataset",
    )
    codes: Literal["tokenizer", "random"] = Field(
        default="tokenizer",
        description="where codes begin, as inputs and as answers: codes that sound alike beside each other, by the speech tokenizer's vectors where it has some; or at random",
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    batch_frames: int = Field(
        default=2048, ge=1, description="positions of utterances in an optimiser step, over all ranks"
    )
    optimiser: OptimiserSettings = AdamWSettings()
    schedule: ScheduleSettings = CosineSettings()
    clip: FiniteFloat | None = Field(default=1.0, gt=0, description="largest norm of the gradient; empty: any")
    ema: FiniteFloat = Field(
        default=0.999, ge=0, lt=1, description="decay of the averaged weights per step; 0: no average"
    )
    validation: ValidationSettings = ValidationSettings()
    accumulate: int = Field(
        default=1, ge=1, le=1024, description="parts a rank's share of a batch is worked through in"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the processor has units for it (CUDA, AMX), else fp32"
    )
    compile: bool = Field(default=False, description="torch.compile: pays on a GPU, takes a minute at the start")
    loaders: int = Field(default=0, ge=0, le=64, description="processes that read batches ahead; 0: read in the loop")
    checkpoint_every: int = Field(default=500, ge=1, description="steps")
    keep: int = Field(default=2, ge=1, description="newest checkpoints to keep")
    log_every: int = Field(default=10, ge=1, description="steps between lines of the log")

    @model_validator(mode="after")
    def _teachers_are_named(self) -> TrainSettings:
        for stage in self.stages:
            taught = stage.taught
            if taught is not None and not taught.stored and taught.teacher is None and self.start is None:
                raise ValueError(
                    f"stage {stage.name} is distilled, but by nobody: name train.start or its distillation.teacher"
                )
        return self

    @field_validator("stages")
    @classmethod
    def _stages_have_names(cls, stages: tuple[StageSettings, ...]) -> tuple[StageSettings, ...]:
        names = [stage.name for stage in stages]
        if not names:
            raise ValueError("a run needs at least one stage")
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have one name: {', '.join(names)}")
        return stages
