"""Utterance ids as WebDataset keys.

WebDataset splits a member's name at its first dot, so ids such as ``spk1.utt1`` and ``spk1.utt2`` would merge into one
sample. Keys are therefore percent-encoded ids: letters, digits, ``_`` and ``-`` stand for themselves. The case is kept.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote, unquote

MAX_KEY = 80  # a USTAR member name holds 100 bytes: key + "." + longest extension


def key_of(utterance_id: str) -> str:
    """The key of an id: at most :data:`MAX_KEY` ASCII characters, one to one.

    Longer keys keep their head and end in ``~`` and 128 bits of the id's hash; ``~`` is otherwise encoded, so the two
    forms never meet.
    """
    key = quote(utterance_id, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
    if len(key) <= MAX_KEY:
        return key
    tail = hashlib.blake2b(utterance_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{key[: MAX_KEY - 33]}~{tail}"


def id_of(key: str) -> str | None:
    """The id of a key, or None where the key is a hashed one (the id then stands in the sample's JSON)."""
    return None if "~" in key else unquote(key, errors="surrogatepass")
