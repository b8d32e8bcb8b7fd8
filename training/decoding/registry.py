"""Decoders by name.

A talker is trained in a layout; ``block`` reads what the layouts two_stream and single_stream teach, ``autoregressive`` and
``multi_token`` what anchored teaches, ``autoregressive`` also its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from training.decoding.autoregressive import ARDecoder
from training.decoding.block import BlockDecoder
from training.decoding.multi_token import MTPDecoder
from training.decoding.protocol import Decoder
from training.talker import Talker

DECODERS: dict[str, Callable[..., Decoder]] = {
    "block": BlockDecoder,
    "autoregressive": ARDecoder,
    "multi_token": MTPDecoder,
}


def open_decoder(talker: Talker, kind: str, rows: int, **settings: Any) -> Decoder:
    """A decoder of ``rows`` utterances. Raises ValueError where there is no such kind, or its settings do not fit."""
    if kind not in DECODERS:
        raise ValueError(f"no decoder {kind!r}; there are {', '.join(DECODERS)}")
    return DECODERS[kind](talker, rows, **settings)
