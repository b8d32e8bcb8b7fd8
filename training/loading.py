"""A trained talker from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from manifests.settings.talker import TalkerSettings
from training.checkpoint import Checkpoint, find
from training.errors import CheckpointError
from training.talker import Talker
from training.vocabulary import Vocabulary

FILES = {"ema": "average", "last": "talker"}
FREE = {"dropout", "max_frames"}  # settings under which the same weights are the same network


def built(settings: TalkerSettings, dataset: Mapping[str, Any]) -> Talker:
    """An untrained talker of the vocabularies of a dataset (its ``speech`` and ``text`` as ``dataset.json`` states them)."""
    speech = dataset["speech"]
    return Talker(settings, Vocabulary(speech["vocab_size"], speech["codebooks"]), dataset["text"]["vocab_size"])


def load_talker(
    path: str | Path, weights: str = "ema", device: torch.device | str = "cpu"
) -> tuple[Talker, dict[str, Any]]:
    """(talker, facts) of a run or a checkpoint, ready to decode.

    ``weights`` are the averaged ones (``ema``) or those of the ``last`` step. ``facts`` is what ``state.json`` says: ``step``,
    ``recipe``, and ``dataset`` with its ``speech`` (name, checksum, vocab_size, codebooks, ...) and ``text`` (checksum,
    vocab_size). Raises :class:`CheckpointError`.
    """
    found = find(path)
    talker = built(TalkerSettings.model_validate(found.facts["recipe"]["talker"]), found.facts["dataset"])
    fill(talker, found, weights)
    return talker.to(device).eval(), found.facts


def fill(talker: Talker, checkpoint: Checkpoint, weights: str) -> None:
    """Put a checkpoint's weights into a talker. Raises :class:`CheckpointError` where they are of another shape."""
    try:
        talker.load_state_dict(checkpoint.tensors(FILES[weights]))
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint.path}: weights of another talker: {' '.join(str(error).split())}") from None


def require_same_network(checkpoint: Checkpoint, settings: TalkerSettings) -> None:
    """Raise :class:`CheckpointError` where the weights of a checkpoint would be another network under ``settings``: shapes may agree by chance."""
    theirs = TalkerSettings.model_validate(checkpoint.facts["recipe"]["talker"])
    for name in TalkerSettings.model_fields:
        was, now = getattr(theirs, name), getattr(settings, name)
        if name not in FREE and was != now:
            raise CheckpointError(
                f"{checkpoint.path}: weights of a talker of {name} {was}, the recipe's is of {name} {now}, another network: set "
                f"talker.{name}={was}, or leave train.start out"
            )


def weights_hash(checkpoint: Checkpoint, weights: str = "ema") -> str:
    """SHA-256 of the file of a checkpoint's weights."""
    return checkpoint.facts["files"][f"{FILES[weights]}.safetensors"]["sha256"]


def require_same_tokens(checkpoint: Checkpoint, dataset: Mapping[str, Any]) -> None:
    """Raise :class:`CheckpointError` where a checkpoint speaks other speech codes, or reads other text ids, than a dataset."""
    for kind in ("speech", "text"):
        theirs, ours = checkpoint.facts["dataset"][kind], dataset[kind]
        if theirs["checksum"] != ours["checksum"] or theirs["vocab_size"] != ours["vocab_size"]:
            raise CheckpointError(
                f"{checkpoint.path}: trained on another {kind} tokenizer ({theirs['vocab_size']} ids, checksum "
                f"{theirs['checksum'][:12]}) than the dataset's ({ours['vocab_size']} ids, checksum {ours['checksum'][:12]})"
            )
