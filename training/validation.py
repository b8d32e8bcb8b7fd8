"""How good a talker is on utterances it does not learn from: the same ones, under the same masks, each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from manifests.settings.mask import BernoulliSettings, MaskSet
from manifests.settings.train import StageSettings, ValidationSettings
from training.batches import Batch, Order, Share, Stage
from training.distributed import Ranks
from training.losses import cross_entropy
from training.objective import asked
from training.rows import DrawnMasks, Masks, Reader
from training.talker import Talker

SEED = 20_260_208  # of masks and of which utterances: the same in all runs, so that their figures compare


def masked_at(share: float) -> DrawnMasks:
    """One view of every utterance with so large a share of its cells masked, drawn by hash."""
    return DrawnMasks(MaskSet(views=1, mix=(BernoulliSettings(tokens=(share, share)),)), SEED)


@dataclass(frozen=True, eq=False)
class Exam:
    """The utterances a talker is judged on, and how."""

    settings: ValidationSettings
    reader: Reader
    order: Order
    share: Share

    def figures(self, talker: Talker, stage: StageSettings, ranks: Ranks) -> dict[str, float]:
        """Loss (nats a code) and accuracy of the likeliest code, by name: for each share of masks, or of the frames.

        A stage of shorter blocks is judged in these as well, under names of their own: of whole blocks it knows nothing yet.
        """
        found: dict[str, float] = {}
        asked_of = self._masked if stage.masks else self._plain
        layout = self.settings.layout if stage.masks else stage.layout
        for block in dict.fromkeys((None, stage.block)):
            judged = stage.model_copy(update={"layout": layout, "block": block})
            suffix = "" if block is None else f"_block{block}"
            for name, batches in asked_of.items():
                loss, right, count = self._sums(talker, batches, judged, ranks)
                found[f"{self.settings.split}_{name}{suffix}"] = loss / count
                found[f"{self.settings.split}_{name}{suffix}_accuracy"] = right / count
        return found

    @cached_property
    def _masked(self) -> Mapping[str, list[Batch]]:
        return {name: self._batches(masked_at(share)) for name, share in self.settings.shares.items()}

    @cached_property
    def _plain(self) -> Mapping[str, list[Batch]]:
        return {"frames": self._batches(None)}

    def _batches(self, masks: Masks | None) -> list[Batch]:
        stage = Stage(self.reader, self.order, masks, 1)
        return [part for step in range(len(self.order)) for part in stage.parts(step, self.share)]

    @torch.no_grad()
    def _sums(self, talker: Talker, batches: list[Batch], stage: StageSettings, ranks: Ranks) -> list[float]:
        """Sums of losses, right codes and codes, over all ranks, laid out as the stage says."""
        sums = torch.zeros(3, dtype=torch.float64, device=ranks.device)
        for batch in batches:
            x = asked(talker, talker, batch.to(ranks.device), stage.layout, "mean", stage.block, windows=stage.windows)
            logits_PC, targets_P = talker.logits(x.hidden_PD).flatten(0, 1), x.targets_PQ.flatten()
            counts_P = x.weight_PQ.flatten() > 0
            loss = cross_entropy(logits_PC[counts_P], targets_P[counts_P]).sum()
            right = (logits_PC.argmax(-1) == targets_P)[counts_P].sum()
            sums += torch.stack([loss.double(), right.double(), counts_P.sum().double()])
        return ranks.add(sums).tolist()


def exam_rows(settings: ValidationSettings, split_R: np.ndarray, drawn_R: np.ndarray) -> np.ndarray:
    """The rows of the split that are asked: those of the least hash."""
    rows = np.flatnonzero(split_R == settings.split.encode())
    return np.sort(rows[np.argsort(drawn_R[rows], kind="stable")][: settings.utterances])
