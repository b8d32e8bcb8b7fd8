"""The check of a teacher that was trained with the dataset: its last checkpoint against its own hashes, and against the weights it ended with."""

from __future__ import annotations

from pathlib import Path

import orjson

from manifests.storage import Store
from pipelines.stages.s75_teacher import RECEIPT
from pipelines.verify.findings import Findings
from training.checkpoint import FOLDER, STATE, published, read
from training.loading import weights_hash

RETRAIN = "`speechmill repair` goes on with its training, from its last whole checkpoint or from nothing"


def check_teacher(out: Store, folder: str, found: Findings) -> None:
    """One that is not there is no fault: what it taught is whole without it."""
    run = out.local(folder)
    if run is None or not out.exists(f"{folder}/{RECEIPT}"):
        return
    ended = None
    with found.guard(f"{folder}/{RECEIPT}", RETRAIN):
        ended = orjson.loads(out.read(f"{folder}/{RECEIPT}"))["weights"]
    checkpoints = published(Path(run))
    if not found.require(bool(checkpoints), f"{folder}/{FOLDER}", "no checkpoint", RETRAIN):
        return
    where = f"{folder}/{FOLDER}/{checkpoints[-1].name}/{STATE}"
    with found.guard(where, RETRAIN):
        own = weights_hash(read(checkpoints[-1]))
        found.require(ended in (own, None), where, "not of the weights that training ended with", RETRAIN)
