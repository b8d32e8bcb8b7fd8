"""Lhotse manifests: cuts, or recordings with supervisions (JSONL or JSON, plain or gzip), and Shar folders.

The JSON is read here, line by line, rather than through ``CutSet``: there one bad line ends the whole manifest, Shar
brings each sound into memory, and an audio source of type ``command`` is a shell command that reading it would run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.columns import as_seconds, as_text
from manifests.corpora.lines import parse_object, read_json_items, read_lines
from manifests.corpora.listing import Fault, Names, legible, place
from manifests.corpora.shar import SharFaults, sounds
from manifests.storage import Store
from manifests.utterance import AudioRef, Utterance
