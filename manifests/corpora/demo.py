"""The embedded demo corpus: dialogues spoken by a text-to-speech engine."""

from __future__ import annotations

from typing import Literal

from manifests.corpora.base import Corpus


class Demo(Corpus):
    layout: Literal["demo"] = "demo"
