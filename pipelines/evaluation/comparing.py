"""What a sentence and what was heard of it go through before words are counted: how either is written is no error.

The ear with a grammar is told the words themselves, so that case and punctuation are all that may differ. The open one writes as it likes:
Whisper's normalisers make numbers, contractions and spellings one, as they do where transcripts are held against a corpus.
"""

from __future__ import annotations

from collections.abc import Callable

from tokenization.recognisers.normalise import Normaliser, language_code, normaliser, plain

HEARD_IN = "en"  # the only language that the ears know; of texts for which nobody says one

COMPARED: dict[str, Callable[[str | None], Normaliser]] = {
    "grammar": lambda language: plain,
    "open": lambda language: normaliser("auto", language_code(language) or HEARD_IN),
}


def compared(ear: str, text: str, language: str | None = None) -> str:
    """``text`` as ``ear`` is judged by it. One without any words (``...``, ``Um``) stays as it is: it is not nothing.

    ``language`` is the text's, as the corpus says it.
    """
    words = COMPARED[ear](language)(text).split()
    return " ".join(words or text.split())
