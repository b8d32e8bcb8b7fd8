"""The contract of a corpus layout: typed settings that know how to list their utterances.

A layout is one file here: a frozen settings block (what a recipe says under ``corpus:``) with ``utterances(files)``, a generator
that reads transcripts and lists sound files, and never opens the sound. It yields in a stable order, holds at most one
folder's transcripts in memory, and never drops a line: what the corpus got wrong is yielded with ``fault`` set, so that
it ends in the ledger as quarantined. Only what makes the whole corpus unreadable (no such folder, no header row)
raises :class:`CorpusError`.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from manifests.settings.base import Settings
from manifests.storage import Store
from manifests.utterance import Utterance


class CorpusError(ValueError):
    """The corpus as a whole cannot be read: says what, where, why and what to do, in one line."""


class Corpus(Settings):
    """What every layout's settings have."""

    layout: str
    root: str = Field(default="", description="folder or fsspec URL the corpus lies in")
    name: str | None = Field(
        default=None, description="name of the corpus in samples and reports (default: the layout's)"
    )
    language: str | None = Field(
        default=None, description="language of all utterances, where the corpus does not state one"
    )
    limit: int | None = Field(default=None, ge=1, description="take only the first N utterances, to try things out")

    audio_roots: tuple[str, ...] = Field(
        default=(),
        description="other folders or URLs that the corpus's manifests may point into (default: only the root)",
    )

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """Every utterance under ``files`` (the corpus root), in a stable order."""
        raise TypeError(f"{type(self).__name__} does not list utterances")
