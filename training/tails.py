"""Utterances that break off before their end, so that a talker does not learn from its place in a block alone where speech ends.

The last block of every utterance holds EOS, and no other does: that a block is the last is then told by the fill in it, and by how
much there is of it. Of some utterances the tail is cut off inside that block, without EOS behind the cut.

Legend: L positions of an utterance, Q codebooks, C noisy copies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.counter import hash_key, uniform
from training.rows import Row

TAILS = hash_key("tails that are cut off")


@dataclass(frozen=True)
class Tails:
    """Which utterances of a stage break off in an epoch, and where: by hash of (seed, utterance, stage, epoch).

    share  of the utterances
    block  positions of a block
    """

    share: float
    block: int
    seed: int
    stage: int

    def cut(self, row: Row, epoch: int) -> Row:
        """The row, or so much of it as is left: some frames of its last block, all frames alike; none where that is EOS alone."""
        whether, where = (uniform(self.seed, hash_key(row.key), TAILS, self.stage, epoch, i).item() for i in (0, 1))
        inside = row.frames % self.block
        kept = row.frames - inside + min(1 + int(where * inside), inside)
        if whether >= self.share or not kept:
            return row
        arrays = row.codes_LQ[:kept], row.ids_CLQ[:, :kept], row.masked_CLQ[:, :kept]
        return replace(row, frames=kept, codes_LQ=arrays[0], ids_CLQ=arrays[1], masked_CLQ=arrays[2])
