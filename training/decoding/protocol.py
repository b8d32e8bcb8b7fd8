"""What all decoders have in common: text goes in by :meth:`Decoder.feed`, chunks of frames come out of :meth:`Decoder.next`.

Legend: N rows (utterances), S text states, T frames of a chunk, Q codebooks, F frames of an utterance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

import torch
from torch import Tensor


class Outcome(StrEnum):
    """How a row stands: still speaking, at its end of speech, or cut at the most frames that were allowed."""

    OPEN = "open"
    ENDED = "ended"
    LIMIT = "limit"


@dataclass(frozen=True)
class Chunk:
    """Frames ``first`` and later of every row. What was sent is never revised.

    codes_NTQ  codes; EOS past the frames that count
    valid_N    how many frames of it count: fewer than T where the row ends here, 0 where it ended before
    steps_NTQ  the step at which each code was decided, from 1
    """

    first: int
    codes_NTQ: Tensor
    valid_N: tuple[int, ...]
    steps_NTQ: Tensor


@dataclass
class Work:
    """What a decoder has done so far.

    forwards  passes through the layers, commits among them
    commits   passes that did nothing but settle a finished block
    rows      positions fed, over all passes and rows
    steps     denoising steps (forwards for an autoregressive row) of each chunk
    """

    forwards: int = 0
    commits: int = 0
    rows: int = 0
    steps: list[int] = field(default_factory=list)

    def count(self, rows: int) -> None:
        """One more pass, over so many positions."""
        self.forwards += 1
        self.rows += rows


class Decoder(Protocol):
    """Speaks a batch of rows, in step with each other by chunks. A row is never influenced by another one."""

    work: Work

    @property
    def finished(self) -> bool:
        """No row has anything more to say."""
        ...

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """How each row stands."""
        ...

    def feed(self, text_NS: Tensor, counts_N: Sequence[int] | None = None, ended: bool = False) -> None:
        """More text: ids (N, S) or states (N, S, width). ``counts_N`` of them are text, in a row that has fewer it is over.

        ``ended`` says that this was all. Raises ValueError for text after the end, of any row.
        """
        ...

    def next(self) -> Chunk | None:
        """The next chunk, or None: more text is needed before it, or everything is said (``finished``)."""
        ...

    def copy(self) -> Self:
        """The decoder as it stands now, to go on from later: what follows does not touch it."""
        ...


def stream(decoder: Decoder) -> Iterator[Chunk]:
    """Chunks for as long as there are any."""
    while (chunk := decoder.next()) is not None:
        yield chunk


def joined(chunks: Sequence[Chunk], rows: int) -> list[Tensor]:
    """``codes_FQ`` of each row: its valid frames, one after another."""
    return [torch.cat([c.codes_NTQ[row, : c.valid_N[row]] for c in chunks]) for row in range(rows)]


def decode_all(decoder: Decoder, text_NS: Tensor, counts_N: Sequence[int] | None = None) -> list[Tensor]:
    """``codes_FQ`` of each row of a text that is known from the start: the stream, joined."""
    decoder.feed(text_NS, counts_N, ended=True)
    return joined(list(stream(decoder)), len(text_NS))
