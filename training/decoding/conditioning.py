"""What decoders know of the text, turn by turn as it arrives: block b needs the states of its turn, or the end of the text.

Legend: N rows, S text states, L positions of the longest utterance, B positions of a block, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.attention import NOISY, Meta
from training.cache import Cache
from training.layout import speech, text
from training.talker import Talker, Text

ROOM = 64  # text states that there is room for at first: most sentences are shorter
AHEAD = 8  # blocks that are worked out at once: one by one, all the text is read again for each


@dataclass
class Conditioning:
    """Text read so far, of all rows.

    told_NLD   what a position is told beside its code; filled up to ``blocks`` blocks
    states_NSD text states read
    frames_NS  how long they are expected to take; empty where the talker keeps no pace
    counts_N   how many of them are text, for each row
    """

    talker: Talker
    told_NLD: Tensor
    states_NSD: Tensor
    frames_NS: Tensor
    cache: Cache
    counts_N: list[int]
    blocks: int = 0
    ended: bool = False

    @classmethod
    def empty(cls, talker: Talker, rows: int, blocks: int) -> Conditioning:
        """No text yet, and room for an utterance of ``blocks`` blocks."""
        s, like = talker.settings, talker.place.weight
        told_NLD = like.new_empty(rows, blocks * s.block, s.width)
        room = min(ROOM, s.max_frames)
        cache = Cache.empty(s.text_layers, rows, s.heads, room, s.width // s.heads, like.dtype, like.device)
        return cls(
            talker,
            told_NLD,
            like.new_empty(rows, 0, s.width),
            like.new_empty(rows, 0, dtype=torch.float32),
            cache,
            [0] * rows,
        )

    @property
    def read(self) -> int:
        """States read, those of the longest row."""
        return self.states_NSD.shape[1]

    @property
    def ragged(self) -> bool:
        """Some rows have less text than others."""
        return min(self.counts_N) < self.read

    def feed(self, text_NS: Tensor, counts_N: Sequence[int] | None, ended: bool) -> None:
        """Read more text. Raises ValueError where a row has text after its end, or the rows are not ours."""
        size = text_NS.shape[1]
        counts = [size] * len(text_NS) if counts_N is None else list(counts_N)
        if len(text_NS) != len(self.counts_N) or len(counts) != len(self.counts_N):
            raise ValueError(f"text of {len(text_NS)} rows for a decoder of {len(self.counts_N)}")
        if not all(0 <= count <= size for count in counts):
            raise ValueError(f"counts {counts} of {size} states")
        late = [row for row, had in enumerate(self.counts_N) if counts[row] and (self.ended or had < self.read)]
        if late:
            raise ValueError(f"more text for rows {late}, whose text was over")
        if self.read + size > self.talker.settings.max_frames:
            raise ValueError(f"{self.read + size} text states are more than talker.max_frames")
        if size:
            self.cache.make_room(size)
            read_NSD = self.talker.reader(text_NS, self.read, self.cache)
            self.cache.commit(size)
            self.counts_N = [had + count for had, count in zip(self.counts_N, counts, strict=True)]
            self.states_NSD = torch.cat([self.states_NSD, read_NSD], dim=1)
            if self.talker.pace is not None:
                self.frames_NS = torch.cat([self.frames_NS, self.talker.pace.durations(text_NS)], dim=1)
        self.ended = self.ended or ended or max(self.counts_N) < self.read

    def ready(self, block: int) -> bool:
        """The text of this block's turn is there, or there is no more."""
        return self.ended or self.read >= (block + 1) * self.talker.settings.anchors

    def told(self, block: int) -> Tensor:
        """``told_NBD`` of a block whose text is there. Later blocks whose text is there, too, are worked out on the way, some at once."""
        size = self.talker.settings.block
        if self.blocks <= block:
            first, room = self.blocks, self.told_NLD.shape[1] // size
            ready = (b for b in range(block + 1, min(block + AHEAD, room)) if self.ready(b))
            self.blocks = max(ready, default=block) + 1
            self.told_NLD[:, first * size : self.blocks * size] = self._told(first, self.blocks - first)
        return self.told_NLD[:, block * size : (block + 1) * size]

    def _told(self, block: int, count: int) -> Tensor:
        device, size = self.states_NSD.device, self.talker.settings.block
        pace = self.talker.pace
        ends_NS = None if pace is None else pace.ends(self.frames_NS)
        read = Text(self.states_NSD, torch.tensor(self.counts_N, device=device), ends_NS)
        return self.talker.told(read, speech(block * size, count * size, self.talker.clock, NOISY, device))

    def there(self, turn: int) -> Tensor:
        """``there_NS``: which of a turn's states are text, of as many as were read."""
        count = self.talker.settings.anchors
        first = min(turn * count, self.read)
        pos_S = torch.arange(first, min(first + count, self.read), device=self.states_NSD.device)
        if not self.ragged:
            return torch.ones(len(self.counts_N), len(pos_S), dtype=torch.bool, device=pos_S.device)
        return pos_S < torch.tensor(self.counts_N, device=pos_S.device)[:, None]

    def prefix(self, turn: int) -> tuple[Tensor, Meta]:
        """A turn's text as positions to look at: what enters the layers (N, S, D), and what they are. S may be 0."""
        there_NS = self.there(turn)
        first, size = turn * self.talker.settings.anchors, there_NS.shape[1]
        meta = text(first, size, self.talker.clock, there_NS.device)
        rows_NSD = self.talker.text_rows(self.states_NSD[:, first : first + size])
        return rows_NSD, meta.padded(there_NS) if self.ragged else meta

    def copy(self) -> Conditioning:
        return replace(self, told_NLD=self.told_NLD.clone(), cache=self.cache.copy())
