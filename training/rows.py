"""Utterances of a dataset as the trainer reads them: how long each is, its codes, its text, its masks.

Legend: R utterances of the dataset, F frames, L positions (whole blocks), Q codebooks, C noisy copies, S text states, W their width.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from manifests.dataset import Dataset
from manifests.settings.mask import MaskSet
from manifests.shards import npy
from manifests.shards.reader import Sample, ShardError
from manifests.storage import Store
from training.errors import RowsError
from training.noise.grid import Grid, Key
from training.noise.packing import Noise, PackedError, unpack
from training.noise.replacement import replacements
from training.noise.views import draw_some
from training.vocabulary import Vocabulary

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

TEXT_EOS = 1  # the text tokenizer's <eos>, told to the talker as the last state of every text
LENGTHS = np.dtype([("frames", "<i4"), ("text", "<i4"), ("split", "S16")])


@dataclass(frozen=True, eq=False)
class Row:
    """One utterance: codes with EOS to the end of its last block, and what is shown and masked in each noisy copy.

    text_S   ids of its text and <eos>; or given states (S, W), none where the dataset has none of it
    """

    key: str
    frames: int
    codes_LQ: Ids
    ids_CLQ: Ids
    masked_CLQ: Bools
    text_S: Ids | Floats


def lengths(dataset: Dataset, cache: Path | None = None, given: bool = False) -> np.ndarray:
    """``lengths_R`` of dtype :data:`LENGTHS`, read once and kept in the file ``cache``; of text in tokens, or in ``given`` states. Raises ``ShardError``."""
    if cache is not None and cache.is_file():
        return npy.load(cache.read_bytes()).view(LENGTHS)
    found = np.fromiter((_length(sample) for sample in dataset), LENGTHS, len(dataset))
    if given:
        found["text"] = np.fromiter((sample.meta["states"] for sample in dataset.states), np.int32, len(dataset))
    if cache is not None:
        Store(str(cache.parent)).publish(cache.name, npy.dump(found.view(np.uint8)))
    return found


def _length(sample: Sample) -> tuple[int, int, bytes]:
    return len(sample.arrays["speech"]), len(sample.arrays["text"]), str(sample.meta["split"]).encode()


class Masks(Protocol):
    """Where noisy copies come from: so many views of every utterance, drawn under a seed."""

    @property
    def views(self) -> int: ...

    @property
    def seed(self) -> int: ...

    def of(self, i: int, sample: Sample, grid: Grid, views: Sequence[int]) -> Noise:
        """Some views of row ``i``. Raises ``ShardError``."""
        ...


@dataclass(frozen=True)
class StoredMasks:
    """The views of one set in the mask side shards of a dataset."""

    dataset: Dataset
    name: str
    views: int
    seed: int

    def of(self, i: int, sample: Sample, grid: Grid, views: Sequence[int]) -> Noise:
        packed_VPb = self.dataset.masks[i].arrays[self.name]
        try:
            return unpack(packed_VPb[list(views)], grid)
        except (PackedError, IndexError) as error:
            raise ShardError(f"{self.dataset.masks.store.root}: {sample.key}.{self.name}.npy: {error}") from None


@dataclass(frozen=True)
class DrawnMasks:
    """Views that are drawn when they are asked for: those of validation, which no dataset keeps."""

    mask_set: MaskSet
    seed: int

    @property
    def views(self) -> int:
        return self.mask_set.views

    def of(self, i: int, sample: Sample, grid: Grid, views: Sequence[int]) -> Noise:
        return draw_some(self.mask_set, grid, Key.of(self.seed, sample.meta["id"], views))[0]


def stored_masks(dataset: Dataset, name: str, block: int) -> StoredMasks:
    """A mask set of a dataset.

    Raises ``DatasetError`` where it has no masks, :class:`RowsError` where it has other sets, or of another block size.
    """
    root, side = dataset.store.root, dataset.masks
    about, sets = dataset.description["masks"], dataset.description["masks"]["sets"]
    if name not in sets:
        near = difflib.get_close_matches(name, sets, 1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sets)}"
        raise RowsError(f"{side.store.root}: no mask set {name}; {hint}")
    if about["block"] != block:
        raise RowsError(
            f"{root}: its masks are of blocks of {about['block']}, the talker's are of {block}: set talker.block={about['block']}, "
            f"or make the dataset again with mask.block={block}"
        )
    return StoredMasks(dataset, name, sets[name]["views"], about["seed"])


@dataclass(frozen=True)
class Reader:
    """Reads rows of a dataset. It travels to loader processes, which open the shards for themselves.

    text_width   of the states that a text is read as; None: its ids
    """

    dataset: Dataset
    vocabulary: Vocabulary
    block: int
    text_width: int | None = None

    @property
    def text_size(self) -> int:
        return self.dataset.description["text"]["vocab_size"]

    def clean(self, i: int) -> Row:
        """Row ``i`` with one copy in which nothing is masked."""
        sample = self.dataset[i]
        codes_LQ = self._codes(sample)
        return self._row(i, sample, codes_LQ, codes_LQ[None], np.zeros((1, *codes_LQ.shape), np.bool_))

    def noisy(self, i: int, masks: Masks, views: Sequence[int]) -> Row:
        """Row ``i`` with a copy for each of the ``views``."""
        sample = self.dataset[i]
        codes_LQ, grid = self._codes(sample), self.grid(sample)
        noise = masks.of(i, sample, grid, views)
        shown_CLQ = np.broadcast_to(codes_LQ, noise.masked_VLQ.shape)
        if noise.replaced_VLQ.any():
            key = Key.of(masks.seed, sample.meta["id"], views)
            shown_CLQ = np.where(noise.replaced_VLQ, replacements(codes_LQ, key, self.vocabulary.size), shown_CLQ)
        return self._row(
            i, sample, codes_LQ, np.where(noise.masked_VLQ, self.vocabulary.mask, shown_CLQ), noise.masked_VLQ
        )

    def grid(self, sample: Sample) -> Grid:
        return Grid(len(sample.arrays["speech"]), self.vocabulary.codebooks, self.block)

    def _codes(self, sample: Sample) -> Ids:
        speech_FQ, grid = sample.arrays["speech"], self.grid(sample)
        if speech_FQ.shape[1:] != (grid.codebooks,) or speech_FQ.max(initial=0) >= self.vocabulary.size:
            raise ShardError(
                f"{self.dataset.tokens.root}: {sample.key}.speech.npy: shape {speech_FQ.shape}, codes up to "
                f"{speech_FQ.max(initial=0)}, where the dataset has {grid.codebooks} codebooks of {self.vocabulary.size}"
            )
        codes_LQ = np.full((grid.positions, grid.codebooks), self.vocabulary.eos, np.int64)
        codes_LQ[: grid.frames] = speech_FQ
        return codes_LQ

    def _row(self, i: int, sample: Sample, codes_LQ: Ids, ids_CLQ: Ids, masked_CLQ: Bools) -> Row:
        text_S = self._ids(sample) if self.text_width is None else self._states(i)
        return Row(sample.key, len(sample.arrays["speech"]), codes_LQ, ids_CLQ, masked_CLQ, text_S)

    def _states(self, i: int) -> Floats:
        """``states_SW`` of row ``i``."""
        assert self.text_width is not None, "asked where states are read"
        sample = self.dataset.states[i]
        states_SW = sample.arrays.get("states", np.zeros((0, self.text_width), np.float32))
        if states_SW.shape[1:] != (self.text_width,):
            raise ShardError(
                f"{self.dataset.states.store.root}: {sample.key}.states.npy: shape {states_SW.shape}, where the dataset has "
                f"states of width {self.text_width}"
            )
        return states_SW.astype(np.float32)

    def _ids(self, sample: Sample) -> Ids:
        """``ids_S`` of a text, the last one <eos>."""
        text_S = np.append(sample.arrays["text"], TEXT_EOS).astype(np.int64)
        if text_S.min() < 0 or text_S.max() >= self.text_size:
            raise ShardError(
                f"{self.dataset.tokens.root}: {sample.key}.text.npy: ids {text_S.min()} to {text_S.max()}, where the text "
                f"tokenizer has {self.text_size}"
            )
        return text_S
