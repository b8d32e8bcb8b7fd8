"""The loop: batch, loss, gradient, step; now and then a look at other utterances, and a checkpoint.

It knows no names of strategies: what a stage is stands in its settings, what a step sees in the course.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from manifests.fingerprint import draw
from manifests.settings.train import StageSettings
from manifests.training_recipe import TrainingRecipe
from training import checkpoint, precision, schedule
from training.average import Average
from training.batches import Batch
from training.checkpoint import Checkpoint
from training.course import Prepared
from training.distributed import Ranks
from training.errors import Diverged
from training.gradient import Gradient, Totals
from training.loading import fill
from training.logs import Watcher
from training.objective import loss_of
from training.optimiser import Optimisers
from training.talker import Talker
from training.taught import Teaching

NAMED = 8  # utterances that are named when a batch goes wrong


@dataclass(frozen=True)
class Outcome:
    """Where a run came to: steps done of those planned, the last figures, the last checkpoint."""

    step: int
    total: int
    figures: Mapping[str, float]
    checkpoint: Path | None

    @property
    def finished(self) -> bool:
        return self.step == self.total


class Trainer:
    """One run on one rank; all ranks do the same steps on their shares."""

    def __init__(
        self, recipe: TrainingRecipe, talker: Talker, prepared: Prepared, run: Path, ranks: Ranks, watcher: Watcher,
        teachers: Mapping[str, Teaching] | None = None,
    ) -> None:  # fmt: skip
        """``teachers`` of the stages that have one, by their names."""
        self.recipe, self.settings, self.prepared = recipe, recipe.train, prepared
        self.run_folder, self.ranks, self.watcher = run, ranks, watcher
        self.teachers = teachers or {}
        self.talker = talker.to(ranks.device).train()
        self.average = Average(self.talker, self.settings.ema)
        self.precision = precision.chosen(self.settings.precision, ranks.device)
        numbers = precision.multiplying(self.precision, ranks.device)
        self.optimisers = Optimisers(self.talker, self.settings.optimiser, ranks, numbers)
        self.gradient = Gradient(self.talker.parameters())
        self.forward: Callable[..., Any] = (
            torch.compile(self.talker, dynamic=True) if self.settings.compile else self.talker
        )
        self.step, self.figures = 0, dict[str, float]()
        self.saved: Path | None = None

    def resume(self, found: Checkpoint) -> None:
        """Go on where a checkpoint stands. Raises ``CheckpointError``."""
        fill(self.talker, found, "last")
        fill(self.average.talker, found, "ema")
        self.optimisers.restore(found.tensors("optimiser"))
        self.step, self.saved = found.step, found.path
        self.figures = dict(found.facts["figures"])

    def run(self, stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Train to the end, or until a rank is asked to stop; either way the last step has a checkpoint.

        Raises :class:`Diverged`; earlier checkpoints stay.
        """
        course = self.prepared.course
        for parts in course.ahead(self.step, self.settings.loaders):
            totals = self.learn(parts, stop)
            self.step += 1
            end = self.step == len(course) or totals.stop
            if self.prepared.exam and (self.step == len(course) or self.step % self.settings.validation.every == 0):
                self._judge()
            if end or self.step % self.settings.checkpoint_every == 0:
                self.save()
            if end:
                break
        return Outcome(self.step, len(course), self.figures, self.saved)

    def learn(self, parts: list[Batch], stop: Callable[[], bool] = lambda: False) -> Totals:
        """One step of the optimiser."""
        place, within = self.prepared.course.place(self.step)
        stage, epoch = self.settings.stages[place], self.prepared.course.stages[place].order.at(within)[0]
        torch.manual_seed(draw("dropout", self.settings.seed, self.step, self.ranks.rank) >> 1)
        self.gradient.clear()
        for part in parts:
            batch = part.to(self.ranks.device)
            with precision.computing(self.precision, self.ranks.device):
                loss = loss_of(self.talker, self.forward, batch, stage, self.teachers.get(stage.name))
            self.gradient.add(loss, batch.noised.valid_NL.sum())
        totals = self.gradient.sum(self.ranks, stop())
        norm = self.gradient.finish(totals.weight, self.settings.clip)
        if not (math.isfinite(totals.loss) and math.isfinite(norm)):
            raise Diverged(self._what_went_wrong(totals, norm))
        factor = stage.lr_scale * schedule.factor(self.settings.schedule, self.step, len(self.prepared.course))
        lr = self.optimisers.step(factor)
        self.average.update(self.step + 1)
        losses = {"loss": totals.loss} | _parts(totals, stage)
        self._tell(totals, losses | {"lr": lr, "gradient_norm": norm, "stage": stage.name, "epoch": epoch})
        return totals

    def _tell(self, totals: Totals, figures: dict[str, float | str]) -> None:
        done = self.step + 1
        self.watcher.stepped(done, totals.positions, figures, logged=done % self.settings.log_every == 0 or done == 1)

    def _judge(self) -> None:
        assert self.prepared.exam is not None
        stage = self.settings.stages[self.prepared.course.place(self.step - 1)[0]]
        with precision.computing(self.precision, self.ranks.device):
            self.figures = self.prepared.exam.figures(self.average.talker, stage, self.ranks)
        self.watcher.judged(self.step, self.figures)

    def save(self) -> None:
        """Rank 0 writes; the others meet it again at the next sum."""
        if not self.ranks.first:
            return
        files = {
            "talker": self.talker.state_dict(),
            "average": self.average.talker.state_dict(),
            "optimiser": self.optimisers.tensors(),
        }
        facts = {
            "recipe": self.recipe.model_dump(mode="json"),
            "dataset": self.prepared.identity,
            "beside": self.prepared.beside,
            "figures": self.figures,
        }
        self.saved = checkpoint.save(self.run_folder, self.step, files, facts, self.settings.keep)

    def _what_went_wrong(self, totals: Totals, norm: float) -> str:
        course = self.prepared.course
        rows = course.rows(self.step)
        keys = [course.stages[0].reader.dataset[int(i)].key for i in rows[:NAMED]]
        others = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
        kept = f"the last checkpoint is {self.saved}" if self.saved else "there is no checkpoint yet"
        return (
            f"step {self.step + 1}: loss {totals.loss:g}, gradient norm {norm:g}, on the utterances {', '.join(keys)}{others}; "
            f"{kept}; lower train.optimiser.lr, or look at these with `speechmill inspect`"
        )


def _parts(totals: Totals, stage: StageSettings) -> dict[str, float]:
    """Of a loss that mixes two, each of them: what the teacher pulls at can be seen beside what the true codes do."""
    taught = stage.taught
    if taught is None:
        return {}
    rest = (1 - taught.alpha) * totals.true
    apart = {"divergence": (totals.loss - rest) / taught.alpha} if taught.alpha else {}
    return {"cross_entropy": totals.true, **apart}
