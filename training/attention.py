"""Who may look at whom: one predicate for training and decoding. No other place knows attention rules.

Legend: N rows, T positions of a row (Tq that look, Tk that are looked at). Fields of :class:`Meta` have shape (1 or N, T).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

NOISY, CLEAN, TEXT = 0, 1, 2


@dataclass(frozen=True)
class Meta:
    """What a position is.

    stream_NT  NOISY: being denoised; CLEAN: given (in a single stream also the masked ones); TEXT: a text state
    block_NT   its block; an autoregressive row is made of blocks of one position
    copy_NT    which noisy copy of the row it belongs to, 0 elsewhere
    order_NT   inside its noisy block it sees only positions of the same or a lower order; 0 where the block sees all of itself
    pos_NT     position in the utterance (of a text state: its index), what rotary phases are made of
    turn_NT    the turn of text it may know: a position knows text states of its own turn and of earlier ones
    valid_NT   False for padding
    """

    stream_NT: Tensor
    block_NT: Tensor
    copy_NT: Tensor
    order_NT: Tensor
    pos_NT: Tensor
    turn_NT: Tensor
    valid_NT: Tensor

    def __len__(self) -> int:
        return self.pos_NT.shape[1]

    def __getitem__(self, positions: slice) -> Meta:
        """The positions of a slice."""
        return Meta(*(getattr(self, f.name)[:, positions] for f in fields(self)))

    def to(self, device: torch.device | str) -> Meta:
        return Meta(*(getattr(self, f.name).to(device) for f in fields(self)))

    def padded(self, valid_NT: Tensor) -> Meta:
        """The same positions, of which only ``valid_NT`` are there."""
        return replace(self, valid_NT=valid_NT)


def join(*parts: Meta) -> Meta:
    """Parts side by side; where one has a row for each utterance, the others are repeated for it."""
    if len(parts) == 1:
        return parts[0]

    def column(name: str) -> Tensor:
        tensors = [getattr(part, name) for part in parts]
        rows = max(t.shape[0] for t in tensors)
        return torch.cat([t.expand(rows, -1) for t in tensors], dim=1)

    return Meta(*(column(f.name) for f in fields(Meta)))


def allow(q: Meta, k: Meta) -> Tensor:
    """``allowed_NTT`` (1 or N, Tq, Tk): may position q look at position k?

    A noisy position sees its own noisy block (up to its order) and the clean blocks before it; a clean one sees clean
    blocks up to its own; both see text of their turn and earlier. Text sees earlier text. Nobody sees padding.
    (Block-causal attention with a clean second stream: Arriola et al. 2025; VocalNet-MDM section 3.)
    """
    q_stream, q_block = q.stream_NT[:, :, None], q.block_NT[:, :, None]
    k_stream, k_block = k.stream_NT[:, None], k.block_NT[:, None]
    own = (k_stream == NOISY) & (q_stream == NOISY) & (k_block == q_block)
    own = own & (k.copy_NT[:, None] == q.copy_NT[:, :, None]) & (k.order_NT[:, None] <= q.order_NT[:, :, None])
    before = (k_stream == CLEAN) & torch.where(q_stream == NOISY, k_block < q_block, k_block <= q_block)
    text = (k_stream == TEXT) & (k.turn_NT[:, None] <= q.turn_NT[:, :, None])
    earlier_text = (k_stream == TEXT) & (k.pos_NT[:, None] <= q.pos_NT[:, :, None])
    seen = torch.where(q_stream == TEXT, earlier_text, own | before | text)
    return seen & k.valid_NT[:, None]
