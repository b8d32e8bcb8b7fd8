"""Canonical JSON and the hashes that name things.

A stage directory is ``stage-<fingerprint>``: the hash of its resolved settings, its code version and what it reads. Same
recipe, same name, nothing to do; a changed setting renames only what depends on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

PIECES = 10_000  # words of JSON in a part


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes. NaN and infinities are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "surrogatepass"
    )


def pretty(value: Any) -> bytes:
    """Canonical JSON for people: sorted keys, indented, newline at the end."""
    return b"".join(pretty_parts(value))


def pretty_parts(value: Any) -> Iterator[bytes]:
    """The same, part by part: for what is too long to be in memory twice."""
    encoder = json.JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    pieces = chain(encoder.iterencode(value), "\n")
    while part := "".join(islice(pieces, PIECES)):
        yield part.encode("utf-8", "surrogatepass")


def fingerprint(value: Any) -> str:
    """Twelve hex digits (48 bits) of the SHA-256 of ``value``'s canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()[:12]


def sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def content_hash(data: bytes | memoryview) -> str:
    """128-bit BLAKE2b, for equality of content (duplicate audio), not for signatures."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def draw(*parts: object) -> int:
    """A 64-bit number that is a pure function of ``parts``: the counter-based randomness of plans and splits."""
    text = "\x1f".join(str(p) for p in parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
