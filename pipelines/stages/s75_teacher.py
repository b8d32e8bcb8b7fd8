"""Teacher: where a recipe names nobody to teach, somebody is trained first, on the dataset as it stands, by a training recipe.

A run of ``speechmill train`` like any other, in a folder of the output named by tokens, masks and training recipe: killed, it goes on from its
last checkpoint; its receipt says that it came to its end. Without a GPU it is always two processes of one thread each, so that its sums, and
with them the teacher's weights, do not depend on how many cores there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.markup import escape

from manifests.fingerprint import pretty
from manifests.recipe import Recipe
from manifests.recipe_file import RecipeError
from manifests.settings.teach import TeachSettings
from manifests.storage import Store
from manifests.training_recipe import TrainingRecipe, load
from pipelines.stages import s90_dataset
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from training.run import Job
    from training.trainer import Outcome

VERSION = 3  # 2: what fills texts up in a batch takes no time; 3: Muon in bf16 where layers are
RECEIPT = "teacher.json"
PROCESSES = 2

Train = Callable[["Job", int, None, Console], "Outcome"]
"""(job, processes, no cluster, console): ``pipelines.train.run``."""


@dataclass(frozen=True)
class Bootstrap:
    """A teacher yet to be trained, or trained."""

    space: Workspace
    recipe: TrainingRecipe

    @classmethod
    def of(cls, space: Workspace) -> Bootstrap | None:
        """None where the recipe says of none how to train it. Raises ``RecipeError`` before any work where it cannot be trained."""
        settings = space.recipe.teach
        if settings is None or settings.bootstrap is None:
            return None
        recipe = load(settings.bootstrap)
        _require_fit(space.recipe, recipe, settings.bootstrap)
        if settings.teacher is None and not space.store.is_local:
            raise RecipeError(
                f"teach.bootstrap trains a teacher in a folder, and {space.root} is none: train one, and name it in teach.teacher"
            )
        return cls(space, recipe)

    def folder(self, description: Mapping[str, Any]) -> str:
        """Where the run lies under the output root."""
        folders = description["folders"]
        return self.space.folder("teacher", VERSION, folders["tokens"], folders["masks"], self.recipe.deciding())

    def taught_by(self, description: Mapping[str, Any]) -> TeachSettings:
        """The recipe's ``teach`` block with a teacher named: the one it names itself, else where its own one lies."""
        settings = self.space.recipe.teach
        assert settings is not None, "who asks for a teacher has settings"
        if settings.teacher is not None:
            return settings
        return settings.model_copy(update={"teacher": path_of(self.space.store, self.folder(description))})

    def is_trained(self, description: Mapping[str, Any]) -> bool:
        return self.space.store.sub(self.folder(description)).exists(RECEIPT)

    def ended_with(self, description: Mapping[str, Any]) -> str | None:
        """The hash of the weights that training ended with; None where it has not, or no longer says so."""
        store = self.space.store.sub(self.folder(description))
        try:
            return str(orjson.loads(store.read(RECEIPT))["weights"]) if store.exists(RECEIPT) else None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def trained(self, description: Mapping[str, Any], train: Train, console: Console) -> bool:
        """``train`` what is not trained yet; True where something was done. ``description`` is that of the dataset so far.

        It is published for the time being, as that of a dataset which nobody teaches: the trainer reads finished datasets only.
        """
        if self.is_trained(description):
            return False
        folder = self.folder(description)
        store, path = self.space.store.sub(folder), path_of(self.space.store, folder)
        from training.checkpoint import find
        from training.loading import weights_hash
        from training.run import Job

        s90_dataset.publish(self.space.store, {**description, "recipe": {**description["recipe"], "teach": None}})
        console.print(
            f"nobody is named to teach: training {self.recipe.name} first, into {escape(store.root)}", soft_wrap=True
        )
        outcome = train(Job(self.recipe, self.space.root, path), _processes(), None, console)
        done = {"step": outcome.step, "figures": dict(outcome.figures), "weights": weights_hash(find(path))}
        store.publish(RECEIPT, pretty(done))
        return True


def path_of(out: Store, run: str) -> str:
    """The path of a run in an output root, for processes with other working directories as well."""
    path = out.local(run)
    assert path is not None, "object storage was refused"
    return str(path.resolve())


def _processes() -> int:
    import torch

    return torch.cuda.device_count() or PROCESSES


def _require_fit(recipe: Recipe, training: TrainingRecipe, name: str) -> None:
    """Raise ``RecipeError`` for what the trainer would refuse after hours of work on the data."""
    mask = recipe.mask
    assert mask is not None, "the recipe has seen to that: a teacher has masks"
    missing = [s.masks for s in training.train.stages if s.masks is not None and s.masks not in mask.sets]
    if missing:
        raise RecipeError(f"teach.bootstrap: {name} trains on masks {missing[0]}, and mask has {', '.join(mask.sets)}")
    if training.talker.block != mask.block:
        raise RecipeError(
            f"teach.bootstrap: {name} has blocks of {training.talker.block}, masks have blocks of {mask.block} (mask.block)"
        )
    if training.talker.text_width is not None:
        raise RecipeError(
            f"teach.bootstrap: {name} reads given text states (talker.text_width), and such a teacher is not recorded ahead"
        )
    if training.train.start is not None:
        raise RecipeError(
            f"teach.bootstrap: {name} starts from another run ({training.train.start}): a first teacher cannot"
        )
