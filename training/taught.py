"""What a teacher thought of the masked cells of a batch: asked now, or recorded ahead by the ``teach`` stage and read beside the tokens.

Legend: N rows, C noisy copies, L positions, Q codebooks, R wanted positions of a row, P positions picked from all rows, M masked cells in the order of
(N, C, L, Q), D width, K classes kept, V views that were taught, X whatever a cell has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from manifests.dataset import Dataset, SideSamples
from manifests.shards.reader import Sample, ShardError
from training.errors import RowsError
from training.losses import KLS, TOP_K_KLS, cross_entropy, of_codes

if TYPE_CHECKING:
    from training.batches import Batch

HEAD = "head.safetensors"  # the frozen head, beside the shards
CORE = ("step", "token")  # what every store keeps: when a cell was decided, and as what
KEPT: dict[str, tuple[str, ...]] = {"states": (), "topk": ("ids", "logp"), "hidden": ("hidden",)}  # and of masked cells

Arrays = Mapping[str, np.ndarray]
Apart = Callable[..., Tensor]


@dataclass(frozen=True)
class Taught:
    """The teacher's word on picked positions.

    inputs  tensors (P, Q, ...)
    apart   ``apart_PQ`` of (name of the divergence, the student's logits_PQC, *inputs, and what the divergence takes)
    """

    inputs: tuple[Tensor, ...]
    apart: Apart


class Teaching(Protocol):
    """Whoever has a word on the picked positions of a batch. Layouts have copies in the same order, in rows or in line."""

    def taught(self, batch: Batch, picked_NR: Tensor) -> Taught: ...


def by_head(head: Callable[[Tensor], Tensor]) -> Apart:
    """Divergences from what a frozen head makes of final states."""
    return lambda kl, logits_PQC, hidden_PQD, **options: KLS[kl](logits_PQC, head(hidden_PQD), **options)


def by_top_k(kl: str, logits_PQC: Tensor, ids_PQK: Tensor, logp_PQK: Tensor, **options: Any) -> Tensor:
    """Divergences from the likeliest classes, all others taken together."""
    return TOP_K_KLS[kl](logits_PQC, ids_PQK, logp_PQK, **options)


def by_codes(kl: str, logits_PQC: Tensor, token_PQ: Tensor, **options: Any) -> Tensor:
    """Cross-entropy of the codes that the teacher wrote: the divergence from one that is sure of them, whatever its name."""
    return of_codes(cross_entropy, logits_PQC, token_PQ)


def written(token_NCLQ: Tensor, picked_NR: Tensor) -> Taught:
    """Hard targets: the codes that the teacher wrote at the picked positions."""
    return Taught((token_NCLQ.reshape(*picked_NR.shape, -1)[picked_NR],), by_codes)


def of_positions(kept_MX: Tensor, masked_NCLQ: Tensor, picked_NR: Tensor) -> Tensor:
    """``kept_PQX`` of picked positions; zero where a cell was not masked."""
    whole = kept_MX.new_zeros(*masked_NCLQ.shape, kept_MX.shape[1])
    whole[masked_NCLQ] = kept_MX
    return whole.reshape(*picked_NR.shape, *whole.shape[3:])[picked_NR]


# Recorded


@dataclass(frozen=True)
class Targets:
    """What was recorded of a batch.

    step_NCLQ   the iteration that decided a cell, 0 where it was given
    token_NCLQ  the code that was written there
    kept        (M, X) by name: ``hidden``, or ``ids`` and ``logp``; nothing where the teacher is to run again
    """

    step_NCLQ: Tensor
    token_NCLQ: Tensor
    kept: Mapping[str, Tensor]

    def to(self, device: torch.device) -> Targets:
        moved = {name: x.to(device, non_blocking=True) for name, x in self.kept.items()}
        return Targets(self.step_NCLQ.to(device), self.token_NCLQ.to(device), moved)


def misfits(arrays: Arrays, names: Sequence[str], views: int) -> Iterator[str]:
    """Why the arrays ``names`` of a recorded sample do not belong together, a phrase each; nothing where they do."""
    if missing := [name for name in names if name not in arrays]:
        yield f"has no {', '.join(missing)}"
        return
    step_VLQ = arrays["step"]
    if step_VLQ.ndim != 3 or len(step_VLQ) != views:
        yield f"step.npy is of shape {step_VLQ.shape}, not of {views} views x positions x codebooks"
        return
    cells = int((step_VLQ > 0).sum())
    for name in names:
        shape = arrays[name].shape
        if name in ("token", "sure") and shape != step_VLQ.shape:
            yield f"{name}.npy is of shape {shape}, step.npy of {step_VLQ.shape}"
        if name in ("ids", "logp", "hidden") and (len(shape) != 2 or shape[0] != cells):
            yield f"{name}.npy is of shape {shape}, and {cells} cells were masked"
    if "ids" in names and arrays["ids"].shape != arrays["logp"].shape:
        yield f"ids.npy is of shape {arrays['ids'].shape}, logp.npy of {arrays['logp'].shape}"


@dataclass(frozen=True)
class StoredTargets:
    """The trajectories in the side shards of a dataset. ``about`` is what ``dataset.json`` says of them; ``codes`` leaves out all but what was written when."""

    side: SideSamples
    about: Mapping[str, Any]
    codes: bool = False

    @property
    def views(self) -> int:
        return self.about["views"]

    def of(self, i: int, masked_CLQ: np.ndarray, views: Sequence[int]) -> dict[str, np.ndarray]:
        """Some views of row ``i``, under masks as they are. Raises ``ShardError`` where others were taught, or arrays are too short or too long."""
        sample = self.side[i]
        arrays, kept = sample.arrays, () if self.codes else KEPT[self.about["store"]]
        for fault in misfits(arrays, (*CORE, *kept), self.views):
            raise ShardError(f"{self._where(sample)}: {fault}")
        masked_VLQ = arrays["step"] > 0
        if masked_VLQ.shape[1:] != masked_CLQ.shape[1:] or not np.array_equal(masked_VLQ[list(views)], masked_CLQ):
            raise ShardError(f"{self._where(sample)}: the teacher saw other masks, or none for lack of positions")
        core = {name: arrays[name][list(views)] for name in CORE}
        if not kept:
            return core
        ends_V = np.cumsum(masked_VLQ.reshape(len(masked_VLQ), -1).sum(1))
        cells = np.concatenate([np.arange(ends_V[v - 1] if v else 0, ends_V[v]) for v in views])
        return core | {name: arrays[name][cells] for name in kept}

    def _where(self, sample: Sample) -> str:
        return f"{self.side.store.root}: {sample.key}"


def stored_targets(dataset: Dataset, masks: str, tau: float | None) -> StoredTargets:
    """The trajectories of a dataset, as a divergence at temperature ``tau`` needs them; None: hard targets.

    Raises ``DatasetError`` where it has none, :class:`RowsError` where they are of other masks, or of another temperature.
    """
    side, about = dataset.side("teach"), dataset.description["teach"]
    root = dataset.store.root
    if about["masks"] != masks:
        raise RowsError(f"{root}: its teacher saw the masks of {about['masks']}, not of {masks}")
    if about["store"] == "topk" and tau not in (None, about["tau"]):
        raise RowsError(f"{root}: its likeliest classes were kept at tau {about['tau']:g}, the recipe says {tau:g}")
    return StoredTargets(side, about, codes=tau is None)


def collated(rows: Sequence[Arrays], length: int) -> Targets:
    """The targets of some rows, padded to ``length`` positions."""
    copies, _, codebooks = rows[0]["step"].shape
    core = {name: np.zeros((len(rows), copies, length, codebooks), np.int64) for name in CORE}
    for n, row in enumerate(rows):
        for name, array in core.items():
            array[n, :, : row[name].shape[1]] = row[name]
    kept = {name: np.concatenate([row[name] for row in rows]) for name in rows[0] if name not in core}
    wide = {name: torch.from_numpy(x.astype(np.int64 if name == "ids" else np.float32)) for name, x in kept.items()}
    return Targets(torch.from_numpy(core["step"]), torch.from_numpy(core["token"]), wide)


@dataclass(frozen=True)
class StoredHidden:
    """A teacher's final states were kept, and its head: exact at any temperature, but for rounding to 16 bits."""

    weight_QCD: Tensor
    bias_QC: Tensor

    def head(self, hidden_PQD: Tensor) -> Tensor:
        return torch.einsum("pqd,qcd->pqc", hidden_PQD, self.weight_QCD) + self.bias_QC

    def taught(self, batch: Batch, picked_NR: Tensor) -> Taught:
        targets = batch.recorded
        hidden_MD = targets.kept["hidden"].to(self.weight_QCD.dtype)
        return Taught((of_positions(hidden_MD, targets.step_NCLQ > 0, picked_NR),), by_head(self.head))


@dataclass(frozen=True)
class StoredTopK:
    """A teacher's likeliest classes were kept."""

    def taught(self, batch: Batch, picked_NR: Tensor) -> Taught:
        targets = batch.recorded
        masked_NCLQ = targets.step_NCLQ > 0
        inputs = (of_positions(targets.kept[name], masked_NCLQ, picked_NR) for name in ("ids", "logp"))
        return Taught(tuple(inputs), by_top_k)


@dataclass(frozen=True)
class StoredCodes:
    """What a teacher wrote was kept, as it is in every store: hard targets need nothing else, and nobody runs."""

    def taught(self, batch: Batch, picked_NR: Tensor) -> Taught:
        return written(batch.recorded.token_NCLQ, picked_NR)
