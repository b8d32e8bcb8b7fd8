"""VocalNet: a JSON list of dialogues a split, a sound for every question, a ``.npy`` of speech tokens for every answer.

Source of the format: the training loader of SJTU-OmniAgent/VocalNet. Its paths are relative to the folder that the loader is given as
``speech_folder``; here that is the export itself. It unpickles a ``.npy`` of a dict, so a pickle is what is written; nothing here
ever loads one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from pipelines.export.about import About
from pipelines.export.base import Parts, Piece
from pipelines.export.errors import ExportError
from pipelines.export.items import Item

SOUND_MARK = "<speech>"
AUDIO, TOKENS = "audios", "cosyvoice2_tokens"


@dataclass(frozen=True)
class VocalNet:
    name: str = "vocalnet"

    def check(self, about: About) -> None:
        about.one_codebook(self.name)

    def notes(self, about: About) -> Sequence[str]:
        notes = ["no room for: the answer's sound, text ids, the query's tokens, speakers, times"]
        notes += about.foreign_codes
        if not about.sound:
            notes.append(
                "VocalNet's own loader trains speech output only where every question has a sound; here none has"
            )
        return notes

    def piece(self, about: About, number: int, split: str, items: Sequence[Item]) -> Piece:
        """Raises :class:`ExportError` for an utterance that answers nothing, or has no text."""
        files: dict[str, bytes] = {}
        entries = []
        for item in items:
            units, sound = f"{TOKENS}/{number:06d}/{item.key}.npy", f"{AUDIO}/{number:06d}/{item.key}.flac"
            files[units] = token_file(item.speech_FQ[:, 0])
            entries.append(_entry(item, sound if item.query_sound else None, units))
            if item.query_sound:
                files[sound] = item.query_sound.flac
        return Piece(files, {"entries": entries})

    def beside(self, about: About, parts: Parts) -> Iterator[tuple[str, Iterator[bytes]]]:
        for split, word in about.folders.items():
            yield f"{word}.json", _json_list(parts, split)


def _entry(item: Item, sound: str | None, units: str) -> dict[str, Any]:
    text, question = item.meta.get("text"), item.query.get("text")
    if text is None or (sound is None and not question):
        lack = "text" if text is None else "query to answer"
        raise ExportError(
            f"{item.id}: it has no {lack}, and VocalNet's lists hold dialogues; export to hf, shar or cosyvoice"
        )
    turns = [{"from": "human", "value": SOUND_MARK if sound else question}, {"from": "gpt", "value": text}]
    about_sound = {"speech": sound} if sound else {}
    return {"id": item.id, **about_sound, "conversations": turns, "units": units}


def token_file(units_T: np.ndarray) -> bytes:
    """The ``.npy`` of a dict of ``speech_token`` (int32, 1 x T) and ``speech_token_len``."""
    out = io.BytesIO()
    tokens_1T = np.ascontiguousarray(units_T, np.int32)[None]
    value = {"speech_token": tokens_1T, "speech_token_len": np.array([tokens_1T.shape[1]], np.int32)}
    np.save(out, np.array(value, dtype=object), allow_pickle=True)
    return out.getvalue()


def _json_list(parts: Parts, split: str) -> Iterator[bytes]:
    """The list as it grows: one line a dialogue."""
    before = b"[\n"
    for _, splits in parts():
        for entry in splits.get(split, {}).get("entries", ()):
            yield before + orjson.dumps(entry)
            before = b",\n"
    yield b"\n]\n"
