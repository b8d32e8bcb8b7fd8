"""How hard a teacher's word pulls beside the true code, and towards what: the two terms of the distillation loss, taken apart.

    python benchmarks/pull.py DATASET --run RUN [--teacher RUN] [--masks NAME ...] [--iterations 1 4 ...] [--taus 1 2 4] [--batches 16]

The student is RUN; the teacher too, unless another is named. For each mask set and number of the teacher's iterations, over the same utterances of training:
how often student and teacher have the true code in one pass and over the iterations, how often they differ, and for each temperature the divergence, and the gradient of
the divergence over that of cross entropy. Gradients are means over all batches, without dropout: what is left when the noise of single batches has cancelled as far
as it does. ``at alpha`` is the teacher's share of the loss's gradient, by length of its two parts.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from manifests.dataset import Dataset
from manifests.settings.train import StageSettings
from manifests.training_recipe import load
from training.batches import Batch, Share
from training.course import prepare
from training.loading import load_talker
from training.objective import Asked, asked, distillation
from training.policies import preset
from training.talker import Talker
from training.taught import Taught
from training.trajectory import Teacher

ALPHA = 0.7  # the paper's


@dataclass
class Said:
    """What student and teacher said of masked cells, counted."""

    cells: int = 0
    right: int = 0
    taught_right: int = 0
    differ: int = 0

    def add(self, student_PC: Tensor, teacher_PC: Tensor, true_P: Tensor) -> None:
        ours_P, theirs_P = student_PC.argmax(-1), teacher_PC.argmax(-1)
        self.cells += len(true_P)
        self.right += int((ours_P == true_P).sum())
        self.taught_right += int((theirs_P == true_P).sum())
        self.differ += int((ours_P != theirs_P).sum())


@dataclass
class Pulls:
    """Sums over batches, by term: "true", or a temperature. Values are in nats a cell."""

    values: dict[Any, float] = field(default_factory=dict)
    gradients: dict[Any, Tensor] = field(default_factory=dict)

    def add(self, term: Any, loss: Tensor, weights: Sequence[Tensor]) -> None:
        parts = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        flat = torch.cat(
            [torch.zeros_like(w).flatten() if p is None else p.flatten() for p, w in zip(parts, weights, strict=True)]
        )
        self.values[term] = self.values.get(term, 0.0) + loss.item()
        self.gradients[term] = self.gradients[term] + flat if term in self.gradients else flat

    def ratio(self, tau: float) -> float:
        """Length of the divergence's gradient over that of cross entropy."""
        return float(self.gradients[tau].norm() / self.gradients["true"].norm())

    def cosine(self, tau: float) -> float:
        return float(torch.cosine_similarity(self.gradients[tau], self.gradients["true"], dim=0))


def stage_of(masks: str, alpha: float, tau: float, iterations: int) -> StageSettings:
    taught = {"alpha": alpha, "tau": tau, "iterations": iterations}
    return StageSettings.model_validate(
        {"layout": "two_stream", "masks": masks, "steps": 1, "loss": "distillation", "distillation": taught}
    )


def batches_of(data: str, masks: str, count: int) -> list[Batch]:
    """The first batches of the recipe ``isd`` under these masks."""
    stages = [{"name": "looked_at", "masks": masks, "steps": count}]
    recipe = load("isd", [f"train.stages={stages}"])
    course = prepare(recipe, Dataset.open(data), None, Share()).course
    return [parts[0] for parts in course.ahead(0, 0)]


def head_of(talker: Talker, taught: Taught) -> Tensor:
    """The teacher's logits at the positions it was asked about."""
    (hidden_PQD,) = taught.inputs
    return talker.logits_of_books(hidden_PQD).flatten(0, 1)


def pulls_of(
    student: Talker, teacher: Talker, batches: Sequence[Batch], masks: str, iterations: int, taus: Sequence[float]
) -> tuple[Said, Pulls]:
    said, pulls = Said(), Pulls()
    teaching = Teacher(teacher, preset("even"), iterations)
    weights = [p for p in student.parameters() if p.requires_grad]
    for batch in batches:
        x: Asked = asked(student, student, batch, "two_stream", "mean", None, teaching)
        assert x.taught is not None
        with torch.no_grad():
            said.add(student.logits(x.hidden_PD).flatten(0, 1), head_of(teacher, x.taught), x.targets_PQ.flatten())
        pulls.add("true", distillation(student, x, stage_of(masks, 0.0, 1.0, iterations)).mean(), weights)
        for tau in taus:
            pulls.add(tau, distillation(student, x, stage_of(masks, 1.0, tau, iterations)).mean(), weights)
    return said, pulls


def rows(asked_for: argparse.Namespace, student: Talker, teacher: Talker) -> Iterator[list[str]]:
    for masks in asked_for.masks:
        batches = batches_of(asked_for.data, masks, asked_for.batches)
        for iterations in asked_for.iterations:
            said, pulls = pulls_of(student, teacher, batches, masks, iterations, asked_for.taus)
            shares = [f"{100 * n / said.cells:.1f}" for n in (said.right, said.taught_right, said.differ)]
            for tau in asked_for.taus:
                ratio = pulls.ratio(tau)
                share = ALPHA * ratio / (ALPHA * ratio + 1 - ALPHA)
                yield [
                    masks, str(iterations), *shares, f"{tau:g}", f"{pulls.values[tau] / len(batches):.3f}",
                    f"{ratio:.2f}", f"{ratio * tau * tau:.2f}", f"{pulls.cosine(tau):.2f}", f"{100 * share:.0f}",
                ]  # fmt: skip


HEADINGS = (
    "masks", "iterations", "student right %", "teacher right %", "differ %", "tau", "divergence, nats",
    "gradient, of that of CE", "times tau squared", "cosine", f"at alpha {ALPHA:g}, %",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--run", required=True, help="the student")
    parser.add_argument("--teacher", help="empty: the student as it is")
    parser.add_argument("--masks", nargs="+", default=["bernoulli", "hierarchical"])
    parser.add_argument("--iterations", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--taus", nargs="+", type=float, default=[1.0, 2.0, 4.0])
    parser.add_argument("--batches", type=int, default=16)
    asked_for = parser.parse_args()
    torch.set_num_threads(1)
    student = load_talker(asked_for.run)[0]
    teacher = load_talker(asked_for.teacher or asked_for.run)[0].requires_grad_(False)
    for cells in (HEADINGS, ["---"] * len(HEADINGS), *rows(asked_for, student, teacher)):
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
