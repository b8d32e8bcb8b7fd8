"""Where the real miniature corpora lie that some tests read; they are never part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def corpora_root() -> Path:
    """The folder of test corpora: ``$SPEECHMILL_CORPORA``, else ``../shared/corpora`` beside the checkout.

    Skips the calling test, with the reason, where neither exists.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    root = Path(os.environ.get("SPEECHMILL_CORPORA", beside))
    if not root.is_dir():
        pytest.skip(f"no test corpora at {root} (set SPEECHMILL_CORPORA)")
    return root


def corpus(name: str) -> Path:
    """One corpus of :func:`corpora_root`; skips where it is absent."""
    path = corpora_root() / name
    if not path.is_dir():
        pytest.skip(f"no test corpus {name}")
    return path
