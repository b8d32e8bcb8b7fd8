"""The ids a talker reads and writes. Nothing else writes an id as a literal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Speech codes ``0 .. size - 1`` of each of ``codebooks`` codebooks, and three marks.

    The head speaks codes and EOS only, so MASK and START cannot come out of it; the embedding knows all of them.
    """

    size: int
    codebooks: int = 1

    @property
    def eos(self) -> int:
        """End of speech: fills the last block after the last frame, in every codebook alike."""
        return self.size

    @property
    def mask(self) -> int:
        """A code not yet revealed."""
        return self.size + 1

    @property
    def start(self) -> int:
        """What an autoregressive row reads before its first frame."""
        return self.size + 2

    @property
    def classes(self) -> int:
        """Classes of the head: codes and EOS."""
        return self.size + 1

    @property
    def embeddings(self) -> int:
        """Rows of the embedding: codes, EOS, MASK, START."""
        return self.size + 3
