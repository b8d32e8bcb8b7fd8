"""VocalNet's dialogues: a JSON list of ``{id, speech, conversations, units}``: sounds ask, speech tokens answer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

from pydantic import Field

from manifests.corpora.base import Corpus, CorpusError
from manifests.corpora.columns import as_text
from manifests.corpora.lines import read_json_items
from manifests.corpora.listing import Fault, Names, legible, place
from manifests.storage import Store
from manifests.utterance import AudioRef, Query, Utterance

_SOUND_MARK = "<speech>"
_LIST = list  # the class below has a field of that name


class VocalNet(Corpus):
    """The root is a dataset's folder (``playground/<DATASET>``)."""

    layout: Literal["vocalnet"] = "vocalnet"
    list: str | None = Field(None, description="the JSON file, relative to the root (default: the only one there)")
    audio: str = Field("audios", description="folder of the questions' sounds, relative to the root")
    units: str = Field("cosyvoice2_tokens", description="folder of the answers' tokens, relative to the root")

    def utterances(self, files: Store) -> Iterator[Utterance]:
        """The answers in the order of the list, each with its question. The tokens' files are not opened.

        Raises :class:`CorpusError` where there is no such list, or it is no JSON.
        """
        name = self._list(files)
        names = Names()
        for number, item in enumerate(read_json_items(files, name)):
            where = f"{name} item {number}"
            yield legible(names.once(self._utterance(files, item, where), where))

    def _list(self, files: Store) -> str:
        found = [self.list] if self.list else [n for n in files.list() if n.endswith((".json", ".json.gz"))]
        if len(found) != 1 or not files.exists(found[0]):
            there = ", ".join(files.list())[:200]
            raise CorpusError(f"which JSON list of {files.root}? set corpus.list (there are: {there or 'no files'})")
        return found[0]

    def _utterance(self, files: Store, item: Any, where: str) -> Utterance:
        if not isinstance(item, dict):
            return Utterance(where.replace(" item ", ":"), fault=("bad_line", f"{where} is no object"))
        question, answer, turns = _turns(item.get("conversations"))
        speech, units = as_text(item.get("speech")), as_text(item.get("units"))
        find = partial(place, files)
        sound = AudioRef(find(speech, prefix=self.audio)) if speech else None
        return Utterance(
            as_text(item.get("id")) or where.replace(" item ", ":"),
            text=answer,
            language=self.language,
            query=Query(question, None, sound) if question or sound else None,
            units=AudioRef(find(units, prefix=self.units)) if units else None,
            fault=_fault(answer, units, where),
            extra={"turns": turns} if turns > 2 else {},
        )


def _turns(conversations: Any) -> tuple[str | None, str | None, int]:
    """(last question, last answer, number of turns); a question that is only sound has no text."""
    turns = [t for t in conversations if isinstance(t, dict)] if isinstance(conversations, _LIST) else []
    said = {str(t.get("from")): as_text(t.get("value")) for t in turns}
    question = said.get("human", said.get("user"))
    answer = said.get("gpt", said.get("assistant"))
    question = (question or "").replace(_SOUND_MARK, "").strip()
    return question or None, answer, len(turns)


def _fault(answer: str | None, units: str | None, where: str) -> Fault | None:
    if answer is None:
        return ("bad_line", f"{where} has no answer in its conversations")
    return None if units else ("missing_units", f"{where} names no file of speech tokens")
