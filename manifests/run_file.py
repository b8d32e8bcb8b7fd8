"""``run.json``: how and from where an output was made. It is no part of the dataset: places may differ between runs."""

from __future__ import annotations

import os
import posixpath

import orjson

from manifests.storage import Store, in_full

RUN = "run.json"
SPOKEN = "spoken-"  # where the demo's sound lies in its output


def is_output(folder: str) -> bool:
    """Whether a run of ours makes its output in a local folder: its ``run.json`` is there before anything else that could be taken for a corpus."""
    try:
        with open(os.path.join(folder, RUN), "rb") as file:
            told = orjson.loads(file.read())
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and set(told) == {"root", "recipe"}


def place_of_corpus(out: Store, told: str) -> str:
    """Where the corpus lies that ``run.json`` of an output root tells of.

    A relative path (older versions noted it as it was typed) is meant from here, or from the folder of the output where the corpus
    is only there. What was spoken for the output moves with it.
    """
    if not told or not out.is_local or "://" in told:
        return told
    spoken = out.local(posixpath.basename(told))
    if posixpath.basename(told).startswith(SPOKEN) and spoken is not None and not os.path.exists(told):
        return str(spoken) if spoken.exists() else told
    beside = in_full(posixpath.join(posixpath.dirname(out.path("")), told))
    return beside if os.path.exists(beside) and not os.path.exists(in_full(told)) else told
