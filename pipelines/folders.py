"""The names of the stages' directories: asked before a stage runs, and by whoever looks for what it made."""

from __future__ import annotations

from typing import Any

from manifests.filters.columns import scores_of
from manifests.receipt import Receipt
from manifests.settings.speech import PatchesSettings
from pipelines.stages import (
    s25_segment,
    s30_plan,
    s35_copies,
    s38_transcribe,
    s45_verify_text,
    s50_fit,
    s60_tokenize,
    s68_states,
    s70_mask,
)
from pipelines.workspace import Workspace
from tokenization.scores.registry import revised


def segments_folder(space: Workspace, manifest: str) -> str:
    """``manifest`` is the SHA-256 of what was ingested. Raises ``DetectorError`` where the detector is not installed."""
    from tokenization.voice_activity.registry import open_detector

    recipe = space.recipe
    assert recipe.segment is not None, "asked only where there are segments"
    detector = open_detector(recipe.segment.detector)
    others = (
        recipe.clean.channel,
        recipe.clean.max_length_mismatch,
        recipe.plan.dedup,
        detector.name,
        detector.version,
    )
    return space.folder("segments", s25_segment.VERSION, manifest, recipe.deciding("segments"), *others)


def plan_folder(space: Workspace, manifest: str) -> str:
    """``manifest`` is the SHA-256 of what is planned: what was ingested, or its segments."""
    return space.folder("plan", s30_plan.VERSION, manifest, space.recipe.plan.deciding())


def copies_folder(space: Workspace, plan: str) -> str:
    """Of the plan with copies marked. Cleaning and filters decide who takes part."""
    recipe = space.recipe
    assert recipe.copies is not None, "asked only where copies are looked for"
    blocks = [block.model_dump(mode="json") for block in (recipe.copies, recipe.clean)]
    return space.folder("copies", s35_copies.VERSION, plan, *blocks, recipe.speech.sample_rate, *_judged(space))


def _judged(space: Workspace) -> list[Any]:
    """All that filters read, where there are any."""
    if not space.recipe.filters:
        return []
    decided = space.recipe.deciding()
    blocks = [decided.get(block) for block in ("filters", "scores", "corpus", "split")]
    scores = scores_of(name for rule in space.recipe.rules for name in rule.columns)
    return [*blocks, *revised(sorted(scores)), *_ruled(space)]


def _ruled(space: Workspace) -> list[Any]:
    """The rules that hold for other utterances than they did before."""
    return [[rule.reason, rule.version] for rule in space.recipe.rules if rule.version > 1]


def transcripts_folder(space: Workspace, plan: str) -> str | None:
    """None where the recipe has nobody listen."""
    if space.recipe.transcribe is None:
        return None
    asked = space.recipe.deciding()
    return space.folder(
        "transcripts", s38_transcribe.VERSION, plan, asked["clean"], asked["transcribe"], space.recogniser
    )


def fit_folder(space: Workspace, plan: str) -> str:
    """``plan`` is the one with copies marked, where there is one; so it is for the tokens."""
    recipe, speech = space.recipe, space.recipe.speech
    encoding = speech.encoding() if isinstance(speech, PatchesSettings) else recipe.deciding()["speech"]
    blocks = [block.model_dump(mode="json") for block in (recipe.text, recipe.clean, recipe.split)]
    return space.folder(
        "fit", s50_fit.VERSION, plan, encoding, *blocks, *_judged(space), *_codec(space), *_texts(space, plan)
    )


def tokens_folder(space: Workspace, plan: str, fit: Receipt | None) -> str:
    """What was fitted enters by its contents."""
    made = [(f.name, f.sha256) for f in fit.files] if fit else []
    return space.folder(
        "tokens",
        s60_tokenize.VERSION,
        plan,
        made,
        space.recipe.deciding("tokens"),
        *revised(space.recipe.wanted),
        *_ruled(space),
        *_codec(space),
        *_texts(space, plan),
    )


def _codec(space: Workspace) -> list[str]:
    return [space.codec] if space.codec else []


def _texts(space: Workspace, plan: str) -> list[Any]:
    """What texts are made of beside the plan: nothing where nobody listens."""
    heard, verify = transcripts_folder(space, plan), space.recipe.deciding().get("verify_text")
    if heard is None:
        return []
    return [heard, verify] if verify is None else [heard, verify, s45_verify_text.VERSION]


def masks_folder(space: Workspace, tokens: str) -> str:
    return space.folder("masks", s70_mask.VERSION, tokens, space.recipe.deciding("masks"))


def features_folder(space: Workspace, tokens: str) -> str:
    from pipelines.stages import s65_features

    return space.folder("features", s65_features.VERSION, tokens, space.recipe.deciding("features"))


def states_folder(space: Workspace, tokens: str) -> str:
    return space.folder("states", s68_states.VERSION, tokens, space.recipe.deciding("states"))


def teach_folder(space: Workspace, masks: str, teacher: str) -> str:
    """``teacher`` is the hash of its weights."""
    from pipelines.stages import s80_teach  # it loads torch

    return space.folder("teach", s80_teach.VERSION, masks, teacher, space.recipe.deciding("teach"))
