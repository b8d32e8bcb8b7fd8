"""The corpora that can be read: one file per layout, and the registry of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from manifests.corpora.aishell import Aishell
from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.common_voice import CommonVoice
from manifests.corpora.demo import Demo
from manifests.corpora.folder import Folder
from manifests.corpora.hf import HuggingFace
from manifests.corpora.kaldi import Kaldi
from manifests.corpora.lhotse import Lhotse
from manifests.corpora.librispeech import LibriSpeech
from manifests.corpora.ljspeech import LJSpeech
from manifests.corpora.sidecar import Sidecar
from manifests.corpora.table import Table
from manifests.corpora.tars import Tars
from manifests.corpora.timed import Timed
from manifests.corpora.vocalnet import VocalNet

AnyCorpus = Annotated[
    Aishell
    | CommonVoice
    | Demo
    | Folder
    | HuggingFace
    | Kaldi
    | Lhotse
    | LibriSpeech
    | LJSpeech
    | Sidecar
    | Table
    | Tars
    | Timed
    | VocalNet,
    Field(discriminator="layout"),
]

LAYOUTS: dict[str, type[Corpus]] = {
    "aishell": Aishell,
    "common_voice": CommonVoice,
    "demo": Demo,
    "folder": Folder,
    "hf": HuggingFace,
    "kaldi": Kaldi,
    "lhotse": Lhotse,
    "librispeech": LibriSpeech,
    "ljspeech": LJSpeech,
    "sidecar": Sidecar,
    "table": Table,
    "tars": Tars,
    "timed": Timed,
    "vocalnet": VocalNet,
}

__all__ = ["LAYOUTS", "AnyCorpus", "Corpus", "CorpusError"]
