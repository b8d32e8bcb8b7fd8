"""What a sentence and what was heard of it go through before words are counted: how either is written is no error.

The ear with a grammar is told the words themselves, so that case and punctuation are all that may differ. All others write as they like:
Whisper's normalisers make numbers, contractions and spellings one, as they do where transcripts are held against a corpus. Of a language that
is written without spaces they make every sign a word, so that its error rate is that of characters.
"""

from __future__ import annotations

from collections.abc import Callable

from tokenization.recognisers.normalise import Normaliser, language_code, normaliser, plain

HEARD_IN = "en"  # the only language that pocketsphinx knows; of texts for which nobody says one


def _openly(language: str | None) -> Normaliser:
    return normaliser("auto", language_code(language) or HEARD_IN)


COMPARED: dict[str, Callable[[str | None], Normaliser]] = {"grammar": lambda language: plain, "open": _openly}


def compared(ear: str, text: str, language: str | None = None) -> str:
    """``text`` as ``ear`` is judged by it; one that was chosen like the open one. A text without any words (``...``, ``Um``) stays as it is: it is not nothing.

    ``language`` is the text's, as the corpus says it.
    """
    words = COMPARED.get(ear, _openly)(language)(text).split()
    return " ".join(words or text.split())
