"""The names of the stages' directories: asked before a stage runs, and by whoever looks for what it made."""

from __future__ import annotations

from typing import Any

from manifests.receipt import Receipt
from manifests.settings.speech import PatchesSettings
from pipelines.stages import s30_plan, s35_transcribe, s50_fit, s60_tokenize, s70_mask
from pipelines.workspace import Workspace


def plan_folder(space: Workspace, manifest: str) -> str:
    """``manifest`` is its SHA-256."""
    return space.folder("plan", s30_plan.VERSION, manifest, space.recipe.plan.model_dump(mode="json"))


def transcripts_folder(space: Workspace, plan: str) -> str | None:
    """None where the recipe has nobody listen."""
    if space.recipe.transcribe is None:
        return None
    asked = space.recipe.deciding()
    return space.folder(
        "transcripts", s35_transcribe.VERSION, plan, asked["clean"], asked["transcribe"], space.recogniser
    )


def fit_folder(space: Workspace, plan: str) -> str:
    recipe, speech = space.recipe, space.recipe.speech
    encoding = speech.encoding() if isinstance(speech, PatchesSettings) else recipe.deciding()["speech"]
    blocks = [block.model_dump(mode="json") for block in (recipe.text, recipe.clean, recipe.split)]
    return space.folder("fit", s50_fit.VERSION, plan, encoding, *blocks, *_codec(space), *_texts(space, plan))


def tokens_folder(space: Workspace, plan: str, fit: Receipt | None) -> str:
    """What was fitted enters by its contents."""
    made = [(f.name, f.sha256) for f in fit.files] if fit else []
    return space.folder(
        "tokens",
        s60_tokenize.VERSION,
        plan,
        made,
        space.recipe.deciding("tokens"),
        *_codec(space),
        *_texts(space, plan),
    )


def _codec(space: Workspace) -> list[str]:
    return [space.codec] if space.codec else []


def _texts(space: Workspace, plan: str) -> list[Any]:
    """What texts are made of beside the plan: nothing where nobody listens."""
    heard = transcripts_folder(space, plan)
    return [] if heard is None else [heard, space.recipe.deciding().get("verify_text")]


def masks_folder(space: Workspace, tokens: str) -> str:
    return space.folder("masks", s70_mask.VERSION, tokens, space.recipe.deciding("masks"))


def features_folder(space: Workspace, tokens: str) -> str:
    from pipelines.stages import s65_features

    return space.folder("features", s65_features.VERSION, tokens, space.recipe.deciding("features"))


def teach_folder(space: Workspace, masks: str, teacher: str) -> str:
    """``teacher`` is the hash of its weights."""
    from pipelines.stages import s80_teach  # it loads torch

    return space.folder("teach", s80_teach.VERSION, masks, teacher, space.recipe.deciding("teach"))
