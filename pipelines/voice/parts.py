"""What a talker needs beside its weights to speak, kept in its run so that the dataset may be gone.

    RUN/voice/text.json            text tokenizer
              speech.safetensors   codebook of the speech tokenizer, where it has one
              frequencies.npy      how often each code, and EOS, stands in the training split (codebooks x classes)
              voice.json           settings and checksums of these, and where the dataset lay

Written once a run; what is there is not written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from manifests.dataset import Dataset
from manifests.fingerprint import pretty, sha256
from manifests.settings.base import Settings
from manifests.settings.speech import SpeechSettings
from manifests.shards import npy
from manifests.storage import Store
from pipelines.stages.s50_fit import CODEBOOK, TEXT
from pipelines.subject import Subject
from pipelines.voice.errors import SpeakError
from tokenization.adapter import SpeechTokenizer
from tokenization.registry import needs_fit, open_tokenizer
from tokenization.text import TextTokenizer
from training.noise.grid import Grid
from training.vocabulary import Vocabulary

FOLDER, FACTS = "voice", "voice.json"
TEXT_FILE, SPEECH_FILE, COUNTS_FILE = "text.json", "speech.safetensors", "frequencies.npy"
FORMAT = "speechmill-voice/1"
COUNTED = 50_000  # utterances of the training split that are counted, at most

Counts = npt.NDArray[np.int64]


class VoiceFacts(Settings):
    """``voice.json``.

    data    where the dataset lay when the run began
    files   SHA-256 of the other files
    """

    format: str
    data: str
    speech: SpeechSettings
    files: dict[str, str]


@dataclass(frozen=True)
class Parts:
    """The tokenizers of a run, and how frequent its codes are: ``counts_QC``, EOS last."""

    facts: VoiceFacts
    text: TextTokenizer
    speech: SpeechTokenizer
    counts_QC: Counts

    def require_those_of(self, facts: Mapping[str, Any], where: str) -> None:
        """Raise :class:`SpeakError` where a checkpoint's facts speak of other tokenizers."""
        ours = {"speech": self.speech.spec.checksum, "text": self.text.checksum}
        for kind, checksum in ours.items():
            theirs = facts["dataset"][kind]["checksum"]
            if theirs != checksum:
                raise SpeakError(
                    f"{where}: trained with another {kind} tokenizer (checksum {theirs[:12]}) than lies in its {FOLDER} folder "
                    f"({checksum[:12]}): put back the folder that `speechmill train` wrote"
                )


def save_parts(run: str | Path, data: str, block: int) -> None:
    """Write RUN/voice from the dataset under ``data``, unless it stands. ``block``: positions of a block, for counting EOS.

    Raises ``DatasetError``, ``RecipeError``, ``ShardError``.
    """
    store = Store(str(run)).sub(FOLDER)
    if store.exists(FACTS):
        return
    subject, dataset = Subject.open(data), Dataset.open(data)
    fit, speech = subject.store("fit"), subject.recipe.speech
    files = {TEXT_FILE: fit.read(TEXT), COUNTS_FILE: npy.dump(_counted(dataset, block))}
    if needs_fit(speech):
        files[SPEECH_FILE] = fit.read(CODEBOOK)
    for name, content in files.items():
        store.publish(name, content)
    lay = str(Path(data).resolve()) if subject.out.is_local else data
    facts = VoiceFacts(
        format=FORMAT, data=lay, speech=speech, files={name: sha256(content) for name, content in files.items()}
    )
    store.publish(FACTS, pretty(facts.model_dump(mode="json")))


def _counted(dataset: Dataset, block: int) -> Counts:
    """How often each class stands in blocks of the training split."""
    speech = dataset.description["speech"]
    vocabulary = Vocabulary(speech["vocab_size"], speech["codebooks"])
    counts_QC = np.zeros((vocabulary.codebooks, vocabulary.classes), np.int64)
    for sample in islice((s for s in dataset if s.meta["split"] == "train"), COUNTED):
        codes_FQ = sample.arrays["speech"]
        counts_QC[:, vocabulary.eos] += Grid(len(codes_FQ), vocabulary.codebooks, block).positions - len(codes_FQ)
        for book in range(vocabulary.codebooks):
            counts_QC[book] += np.bincount(codes_FQ[:, book], minlength=vocabulary.classes)
    return counts_QC


def run_of(path: str | Path) -> Path:
    """The run that a path names: itself, or the run of a checkpoint's folder."""
    folder = Path(path)
    return folder.parent.parent if (folder / "state.json").is_file() else folder


def read_parts(run: str | Path) -> Parts:
    """The parts of a run. Raises :class:`SpeakError` where they are missing or damaged, ``TokenizerError`` and ``TextError`` too."""
    store = Store(str(run)).sub(FOLDER)
    try:
        facts = VoiceFacts.model_validate(orjson.loads(store.read(FACTS)))
        files = {name: store.read(name) for name in facts.files}
    except FileNotFoundError as error:
        raise SpeakError(
            f"{run}/{FOLDER}: incomplete ({Path(str(error.filename)).name} is missing): give `speechmill train` once more, with the same "
            "arguments: it writes the folder and trains no further"
        ) from None
    except ValueError as error:
        raise SpeakError(
            f"{run}/{FOLDER}/{FACTS}: damaged ({' '.join(str(error).split())[:200]}): remove it and train again"
        ) from None
    for name, content in files.items():
        if sha256(content) != facts.files[name]:
            raise SpeakError(
                f"{run}/{FOLDER}/{name}: damaged: not the file that {FACTS} lists; remove the folder and train again"
            )
    speech = open_tokenizer(facts.speech, files.get(SPEECH_FILE), device="cpu")
    return Parts(facts, TextTokenizer(files[TEXT_FILE]), speech, npy.load(files[COUNTS_FILE]))
