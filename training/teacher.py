"""The teachers of a run: frozen talkers, found before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from manifests.settings.train import StageSettings
from manifests.training_recipe import TrainingRecipe
from training.checkpoint import find
from training.errors import CheckpointError
from training.loading import load_talker, require_same_tokens
from training.policies import preset
from training.trajectory import Teacher


def teacher_of(
    recipe: TrainingRecipe, stage: StageSettings, description: Mapping[str, Any], device: torch.device | str = "cpu"
) -> Teacher | None:
    """The teacher of a stage, None where it has none.

    Raises :class:`CheckpointError` where there is no such checkpoint, it knows other codes or texts, or fills in blocks of another size.
    """
    taught = stage.taught
    if taught is None:
        return None
    path = taught.teacher or recipe.train.start
    assert path is not None, "the recipe has seen to that"
    require_same_tokens(find(path), description)
    talker, _ = load_talker(path, device=device)
    theirs, ours = (s.block for s in (talker.settings, recipe.talker))
    if theirs != ours:
        raise CheckpointError(f"{path}: a teacher of blocks of {theirs} cannot teach blocks of {ours} (talker.block)")
    return Teacher(talker.requires_grad_(False), preset(taught.policy), taught.iterations, taught.forced)
