"""Batches: which utterances a step learns from, under which masks, as tensors.

What a step sees is a pure function of (seed, stage, step): nothing is drawn in passing, so a run goes on at any step at once,
and any number of ranks, parts and loader processes sees the same. A rank takes every so manieth row of a batch.

Legend: N rows, L positions (whole blocks), Q codebooks, C noisy copies, S text states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from training.counter import bits, hash_key
from training.layout import Noised
from training.rows import Masks, Reader, Row
from training.tails import Tails
from training.taught import StoredTargets, Targets, collated
from training.vocabulary import Vocabulary

ROWS, BATCHES = hash_key("order of rows"), hash_key("order of batches")


@dataclass(frozen=True)
class Batch:
    """Rows padded to the longest, and their text (ids, the last one <eos>, or given states NSW); what a teacher said of them, where that was recorded.

    ``step`` is that of the stage: what a layout does otherwise from step to step depends on it.
    """

    keys: tuple[str, ...]
    noised: Noised
    text_NS: Tensor
    states_N: Tensor
    targets: Targets | None = None
    step: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def recorded(self) -> Targets:
        """The targets, which must be there."""
        assert self.targets is not None, "the stage reads what was recorded"
        return self.targets

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        moved = {f.name: getattr(self.noised, f.name).to(device, non_blocking=True) for f in fields(Noised)}
        text_NS, states_N = (t.to(device, non_blocking=True) for t in (self.text_NS, self.states_N))
        targets = None if self.targets is None else self.targets.to(device)
        return replace(self, noised=Noised(**moved), text_NS=text_NS, states_N=states_N, targets=targets)


def collate(rows: Sequence[Row], vocabulary: Vocabulary, block: int) -> Batch:
    """One batch of some rows, padded to whole blocks. Padding is EOS that is not valid; it is seen by nobody and carries no loss."""
    n, (copies, _, q) = len(rows), rows[0].ids_CLQ.shape
    length, states = -(-max(len(r.codes_LQ) for r in rows) // block) * block, max(len(r.text_S) for r in rows)
    codes = np.full((n, length, q), vocabulary.eos, np.int64)
    ids, masked = np.full((n, copies, length, q), vocabulary.eos, np.int64), np.zeros((n, copies, length, q), np.bool_)
    valid, text = (
        np.zeros((n, length), np.bool_),
        np.zeros((n, states, *rows[0].text_S.shape[1:]), rows[0].text_S.dtype),
    )
    for i, row in enumerate(rows):
        own = len(row.codes_LQ)
        codes[i, :own], ids[i, :, :own], masked[i, :, :own] = row.codes_LQ, row.ids_CLQ, row.masked_CLQ
        valid[i, :own], text[i, : len(row.text_S)] = True, row.text_S
    frames, counts = (torch.tensor([x(r) for r in rows]) for x in (lambda r: r.frames, lambda r: len(r.text_S)))
    noised = Noised(*(torch.from_numpy(x) for x in (codes, ids, masked, valid)), frames_N=frames)
    return Batch(tuple(r.key for r in rows), noised, torch.from_numpy(text), counts)


@dataclass(frozen=True, eq=False)
class Order:
    """The batches of every epoch: rows of like length together, in an order that is new each epoch.

    rows_R     the rows that take part, as numbers in the dataset
    blocks_R   their blocks

    Rows are sorted by blocks and, within a length, by hash; cut into batches of at most ``positions`` positions with
    padding (or one row, where two are longer), an even number of rows; batches are then shuffled by hash. Where the cuts lie depends on lengths
    alone, so that all epochs have the same number of batches and any of them is found without those before it.
    """

    rows_R: npt.NDArray[np.int64]
    blocks_R: npt.NDArray[np.int64]
    block: int
    positions: int
    seed: int
    stage: int = 0
    _epochs: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = field(default_factory=dict, repr=False)

    @cached_property
    def _cuts(self) -> npt.NDArray[np.int64]:
        return cuts(np.sort(self.blocks_R) * self.block, self.positions)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._cuts) - 1

    def at(self, step: int) -> tuple[int, npt.NDArray[np.int64]]:
        """Epoch of a step of the stage, and the rows of its batch, longest last."""
        epoch, place = divmod(step, len(self))
        if epoch not in self._epochs:
            self._epochs.clear()  # one is enough: steps follow each other
            self._epochs[epoch] = self._shuffled(epoch)
        rows_R, batches = self._epochs[epoch]
        start, end = self._cuts[batches[place] :][:2]
        return epoch, rows_R[start:end]

    def _shuffled(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The rows by length and hash, and the order of the batches cut from them."""
        drawn_R = bits(self.seed, ROWS, self.stage, epoch, self.rows_R)
        drawn_B = bits(self.seed, BATCHES, self.stage, epoch, np.arange(len(self)))
        return self.rows_R[np.lexsort((drawn_R, self.blocks_R))], np.argsort(drawn_B)


def cuts(sorted_R: npt.NDArray[np.int64], positions: int) -> npt.NDArray[np.int64]:
    """Where batches begin and end among rows of rising length. Rows are even in number where possible: of two ranks none waits."""
    found = [0]
    while found[-1] < len(sorted_R):
        ahead = sorted_R[found[-1] :][: positions + 1]
        filled = ahead * np.arange(1, len(ahead) + 1)  # positions with padding, had the batch so many rows: it rises
        rows = int(np.searchsorted(filled, positions, side="right"))
        found.append(found[-1] + max(rows - rows % 2, 1))
    return np.array(found)


@dataclass(frozen=True)
class Share:
    """Which part of every batch is worked through here: rows are dealt out to ``ranks`` x ``parts`` in turn."""

    rank: int = 0
    ranks: int = 1
    parts: int = 1

    def deal(self, rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """The parts of this rank; one that gets no row is left out."""
        dealt = [rows[self.rank + self.ranks * part :: self.ranks * self.parts] for part in range(self.parts)]
        return [part for part in dealt if len(part)]


@dataclass(frozen=True)
class Stage:
    """The batches of one stage of a run. ``tails`` says which utterances break off, if any do."""

    reader: Reader
    order: Order
    masks: Masks | None
    copies: int
    targets: StoredTargets | None = None
    tails: Tails | None = None

    def parts(self, step: int, share: Share) -> list[Batch]:
        """What this share learns from in a step of the stage. Epoch e sees views e C ... e C + C - 1 of the set, in turn."""
        epoch, rows = self.order.at(step)
        return [replace(self.batch(part, epoch), step=step) for part in share.deal(rows)]

    def batch(self, rows: Sequence[int] | npt.NDArray[np.int64], epoch: int = 0) -> Batch:
        reader, masks = self.reader, self.masks
        if masks is None:
            return collate([reader.clean(int(i)) for i in rows], reader.vocabulary, reader.block)
        views = [(epoch * self.copies + c) % masks.views for c in range(self.copies)]
        read = [reader.noisy(int(i), masks, views) for i in rows]
        if self.tails is not None:
            read = [self.tails.cut(row, epoch) for row in read]
        made = collate(read, reader.vocabulary, reader.block)
        if self.targets is None:
            return made
        said = [self.targets.of(int(i), row.masked_CLQ, views) for i, row in zip(rows, read, strict=True)]
        return replace(made, targets=collated(said, made.noised.codes_NLQ.shape[1]))


@dataclass(frozen=True)
class Course:
    """A whole run: the stages one after the other. As a sequence it gives the parts of every step."""

    stages: tuple[Stage, ...]
    steps: tuple[int, ...]
    share: Share

    def __len__(self) -> int:
        return sum(self.steps)

    def place(self, step: int) -> tuple[int, int]:
        """(stage, step in it) of a step of the run."""
        stage = 0
        while step >= self.steps[stage]:
            step -= self.steps[stage]
            stage += 1
        return stage, step

    def rows(self, step: int) -> npt.NDArray[np.int64]:
        """The rows of the whole batch of a step, of all ranks."""
        stage, place = self.place(step)
        return self.stages[stage].order.at(place)[1]

    def __getitem__(self, step: int) -> list[Batch]:
        stage, place = self.place(step)
        return self.stages[stage].parts(place, self.share)

    def ahead(self, start: int, loaders: int) -> Iterator[list[Batch]]:
        """The parts of the steps from ``start`` on; with ``loaders``, read ahead by so many processes."""
        if not loaders:
            yield from (self[step] for step in range(start, len(self)))
            return
        steps = range(start, len(self))
        loader = DataLoader(
            _Steps(self), batch_size=None, sampler=steps, num_workers=loaders, worker_init_fn=_let_the_parent_stop
        )
        for parts in loader:
            if isinstance(parts, ValueError):
                raise parts
            yield parts


@dataclass(frozen=True)
class _Steps(TorchDataset[list[Batch] | ValueError]):
    """A course as torch's loader takes it. A damaged shard is handed over as it is: torch would wrap it in a traceback."""

    course: Course

    def __getitem__(self, index: int) -> list[Batch] | ValueError:
        try:
            return self.course[index]
        except ValueError as error:
            return error


def _let_the_parent_stop(_: int) -> None:
    """Ctrl-C reaches loader processes too; the trainer finishes its step and ends them."""
    import signal

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
