"""What an exporter knows of the dataset as a whole, before it reads the first sample."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifests.dataset import Dataset, DatasetError
from manifests.fingerprint import canonical, sha256
from manifests.recipe import READ_BY, TEXTS
from pipelines.export.errors import ExportError

NEEDED = ("name", "recipe", "speech", "text", "splits", "ledger", "tokens", "folders")
RESERVED = frozenset(["export", "plan", "receipts"])  # what an export itself has files and folders for


@dataclass(frozen=True)
class About:
    """A dataset and how it is to be exported. Small and picklable: it travels to every worker.

    description   what ``dataset.json`` says of speech, text, splits and the ledger
    recipe        SHA-256 of the settings that decided the tokens
    identity      SHA-256 of what is exported: tokens, texts and how they came to be, not masks or teaching
    folders       split of the dataset: what the export calls it, a word of letters, digits and ``_``
    sound         whether the cleaned sound goes along
    place         the folder that lists name files by, where a format's lists hold whole paths
    """

    name: str
    description: Mapping[str, Any]
    recipe: str
    identity: str
    folders: Mapping[str, str]
    sound: bool
    place: str

    @classmethod
    def of(cls, data: Dataset, sound: bool, place: str) -> About:
        """Raises ``DatasetError`` for a damaged ``dataset.json``, :class:`ExportError` for a dataset without samples."""
        value, where = data.description, f"{data.store.root}/dataset.json"
        missing = [part for part in NEEDED if part not in value]
        if missing:
            raise DatasetError(f"{where}: damaged: no {', '.join(missing)}; speechmill verify tells more")
        if not len(data):
            raise ExportError(
                f"{data.store.root}: no utterance was written into this dataset; there is nothing to export"
            )
        recipe = sha256(canonical(token_recipe(value, where)))
        kept = {part: value[part] for part in ("speech", "text", "splits", "ledger")}
        identity = sha256(canonical([recipe, kept, value["tokens"]["shards"]]))
        return cls(value["name"], kept, recipe, identity, split_folders(list(value["splits"])), sound, place)

    @property
    def frame_rate(self) -> float:
        return float(self.description["speech"]["frame_rate"])

    @property
    def codebooks(self) -> int:
        return int(self.description["speech"]["codebooks"])

    @property
    def sample_rate(self) -> int:
        return int(self.description["speech"]["sample_rate"])

    @property
    def query_sound(self) -> bool:
        """Whether any utterance answers a query that was heard."""
        return any(amounts.get("query_seconds") for amounts in self.description["splits"].values())

    @property
    def foreign_codes(self) -> list[str]:
        """What to tell those whose models know CosyVoice2's codes and no others."""
        speech = self.description["speech"]
        if (speech["vocab_size"], self.frame_rate) == (6561, 25.0):
            return []
        codes = f"{speech['vocab_size']} codes at {self.frame_rate:g} Hz"
        return [
            f"models for CosyVoice2's tokens (6561 codes at 25 Hz) must be made for those of {speech['name']} ({codes})"
        ]

    def one_codebook(self, kind: str) -> None:
        """Raises :class:`ExportError` where a frame has several codes and the format has room for one."""
        if self.codebooks != 1:
            raise ExportError(
                f"--to {kind}: this format has room for one code a frame, and {self.description['speech']['name']} "
                f"gives {self.codebooks}; export to hf or shar instead"
            )


def token_recipe(description: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The blocks of a dataset's recipe that decided its tokens; those of masks and teaching are none of an export's business.

    Raises ``DatasetError`` where one is missing.
    """
    recipe = description["recipe"]
    missing = [block for block in READ_BY["tokens"] if block not in recipe]
    if missing:
        raise DatasetError(f"{where}: damaged: its recipe has no {', '.join(missing)}; speechmill verify tells more")
    return {block: recipe[block] for block in (*READ_BY["tokens"], *TEXTS) if block in recipe}


def split_folders(splits: Sequence[str]) -> dict[str, str]:
    """A word of letters, digits and ``_`` for every split. Raises :class:`ExportError` where two would share one."""
    words = {split: re.sub(r"[^A-Za-z0-9_]", "_", split) or "_" for split in splits}
    words = {split: f"{word}_" if word in RESERVED else word for split, word in words.items()}
    for word in words.values():
        twins = [other for other, its in words.items() if its.lower() == word.lower()]
        if len(twins) > 1:
            raise ExportError(f"the splits {' and '.join(map(repr, twins))} would both be called {word!r}; rename one")
    return words


def nearest(word: str, known: Sequence[str]) -> str:
    """How a refusal ends: the nearest known word, or all of them."""
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
