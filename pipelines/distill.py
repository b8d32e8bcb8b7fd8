"""``speechmill distill``: rounds of teach and train, each student the next round's teacher, the teacher's iterations halved from round to round.

The paper's iterative self-distillation (VocalNet-MDM 3.4) has one round; more of them, with ever fewer iterations, are SDTT's (Deschenaux and
Gulcehre 2025). A round is a teach stage over the dataset and a training run that starts from the teacher's weights and learns from what was recorded. Both go on where
they were stopped. ``distill.json`` tells of finished rounds, which are not done again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape

from manifests.dataset import Dataset, DatasetError
from manifests.fingerprint import fingerprint, pretty
from manifests.recipe import Recipe, parse
from manifests.recipe_file import RecipeError
from manifests.run_file import place_of_corpus
from manifests.settings.teach import STAGE
from manifests.settings.train import StageSettings
from manifests.storage import Store
from manifests.training_recipe import TrainingRecipe
from pipelines.data import opened
from pipelines.subject import Subject
from pipelines.train import run as train
from training.checkpoint import find
from training.course import identity, masks_of
from training.errors import CheckpointError
from training.loading import weights_hash
from training.run import Job
from training.teacher import context_of, require_policies, start_of

ROUNDS = "distill.json"


@dataclass(frozen=True)
class Round:
    """A finished round: hashes of the weights that taught and of those that learned, and the student's last figures.

    asked   hashes of all else that decides it: recipe, teaching, dataset; records of old do not say
    """

    teacher: str
    iterations: int
    student: str
    figures: dict[str, float]
    asked: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Distillation:
    """What ``speechmill distill`` is asked for.

    recipe     how a student is trained; its stages of ``loss: distillation`` learn from what was recorded
    teacher    of the first round; None: the one that the recipe names, else the one that it starts from
    halve      whether a round's teacher has half the iterations of the one before, at least one
    address    Ray cluster that teaches and trains; None: this machine, wherever the dataset was made
    workers    that teach; None: as many as made the dataset
    """

    recipe: TrainingRecipe
    data: str
    run: str
    rounds: int
    teacher: str | None = None
    halve: bool = True
    address: str | None = None
    workers: int | None = None

    def student(self, number: int) -> str:
        """The run of round ``number``, from 1."""
        return str(Path(self.run) / f"round-{number}")

    def __call__(self, console: Console, processes: int | None = None) -> list[Round]:
        """All rounds, those that are finished from their record.

        Raises ``RecipeError`` for a recipe that learns from no record, ``CheckpointError`` where a finished round's weights are not what
        its record says or it was asked for otherwise, and what the teach stage and training raise.
        """
        stage, done = _recorded_stage(self.recipe), list(self._finished())
        named = stage.taught.teacher if stage.taught is not None else None
        teacher = self.teacher or named or start_of(self.recipe, Dataset.open(self.data))
        if teacher is None:
            raise RecipeError("nobody teaches the first round: name --teacher, or train.start in the recipe")
        for number, found in enumerate(done[: self.rounds], 1):
            self._require_asked(number, stage, found)
        for note in self._notes(stage, len(done)):
            console.print(f"note: {escape(note)}", soft_wrap=True)
        for number in range(1, self.rounds + 1):
            if number > len(done):
                iterations = self._teaching(stage, number)["iterations"]
                console.print(
                    f"round {number} of {self.rounds}: {escape(teacher)} teaches in {iterations} iterations",
                    soft_wrap=True,
                )
                done.append(self._round(number, teacher, stage, console, processes))
                Store(self.run).publish(ROUNDS, pretty([asdict(r) for r in done]))
            self._require_weights(number, teacher, done[number - 1])
            teacher = self.student(number)
        return done[: self.rounds]

    def _notes(self, stage: StageSettings, done: int) -> Iterator[str]:
        """What whoever waits for the rounds behind the first ``done`` should know of them beforehand."""
        ahead = range(done + 1, self.rounds + 1)
        single = next((number for number in ahead if self._teaching(stage, number)["iterations"] == 1), None)
        if single is not None:
            yield (
                f"from round {single} on a teacher has one iteration, and says in it what the student, which begins as its copy, says already: "
                "little is learned there beside the true codes; ask for fewer rounds, more iterations, or --no-halve"
            )
        recorded = _recorded(self.data)["run"].get("address") if ahead else None
        if recorded is not None and self.address is None:
            yield f"{self.data} was made on the Ray cluster at {recorded}; this machine teaches and trains, --address asks another to"

    def _teaching(self, stage: StageSettings, number: int) -> dict[str, Any]:
        """What the training recipe says of the teach stage of a round, but for who teaches."""
        settings = stage.taught
        assert settings is not None, "a stage that is taught"
        iterations = max(settings.iterations >> (number - 1), 1) if self.halve else settings.iterations
        tau = next(iter(_temperatures(self.recipe)), settings.tau)
        return {
            "masks": stage.masks, "iterations": iterations, "policy": settings.policy, "forced": settings.forced,
            "tau": tau, "context": context_of(stage),
        }  # fmt: skip

    def _asked(self, stage: StageSettings, number: int) -> dict[str, str]:
        """Hashes of what decides a round beside the weights that teach it."""
        dataset = Dataset.open(self.data)
        masks = masks_of(dataset.description, [str(stage.masks)])
        return {
            "recipe": fingerprint(self.recipe.deciding()), "teaching": fingerprint(self._teaching(stage, number)),
            "dataset": fingerprint([identity(dataset)["fingerprint"], masks]),
        }  # fmt: skip

    def _round(self, number: int, teacher: str, stage: StageSettings, console: Console, processes: int | None) -> Round:
        taught = self._teaching(stage, number)
        named = {**taught, "teacher": str(Path(teacher).resolve())}
        data_recipe = _data_recipe(self.data, named, self._carried_out())
        _require_one_temperature(self.recipe, data_recipe)
        with opened(data_recipe, self.data, console) as run:
            run()
        recipe = _learned(self.recipe, teacher, taught["iterations"])
        outcome = train(Job(recipe, self.data, self.student(number)), processes, self.address, console)
        figures, asked = dict(outcome.figures), self._asked(stage, number)
        return Round(_hash(teacher), taught["iterations"], _hash(self.student(number)), figures, asked)

    def _carried_out(self) -> dict[str, Any]:
        """What takes the place of the ``run`` block that the dataset was made with: where its cluster was says nothing of today's."""
        return {"address": self.address} | ({} if self.workers is None else {"workers": self.workers})

    def _finished(self) -> Iterator[Round]:
        store = Store(self.run)
        if store.exists(ROUNDS):
            for value in orjson.loads(store.read(ROUNDS)):
                yield Round(**value)

    def _require_asked(self, number: int, stage: StageSettings, found: Round) -> None:
        """Raise ``CheckpointError`` for a finished round that another recipe or dataset would not have given."""
        asked = self._asked(stage, number)
        other = [name for name in asked if found.asked.get(name, asked[name]) != asked[name]]
        if other:
            raise CheckpointError(
                f"{self.run}/{ROUNDS}: round {number} was done with another {other[0]}: ask for the same again, or choose another -o to "
                "begin anew"
            )

    def _require_weights(self, number: int, teacher: str, found: Round) -> None:
        for path, recorded in ((teacher, found.teacher), (self.student(number), found.student)):
            if _hash(path) != recorded:
                raise CheckpointError(
                    f"{path}: not the weights that round {number} had by {self.run}/{ROUNDS}: choose another -o, or remove "
                    f"{self.run} to begin anew"
                )


def _hash(run: str) -> str:
    return weights_hash(find(run))


def _recorded_stage(recipe: TrainingRecipe) -> StageSettings:
    """The stage that says how a round is taught.

    Raises ``RecipeError`` where none learns from records, two would learn from different ones, or a policy is none that a teacher can follow.
    """
    stages = [stage for stage in recipe.train.stages if stage.taught is not None]
    if not stages or not all(stage.taught.stored for stage in stages if stage.taught):
        raise RecipeError(
            f"{recipe.name}: rounds are taught ahead: give it stages of loss: distillation, each with distillation.stored: true"
        )
    first, asked = stages[0], _asked_of(stages[0])
    for stage in stages[1:]:
        for name, value in _asked_of(stage).items():
            if value != asked[name]:
                raise RecipeError(
                    f"{recipe.name}: a round is taught once, and its stages ask for different teaching: {name} is {asked[name]} in "
                    f"{first.name} and {value} in {stage.name}: say the same in both"
                )
    require_policies(recipe)
    return first


def _asked_of(stage: StageSettings) -> dict[str, Any]:
    """What a stage asks of those who teach it, by where it says so. Temperatures are a matter of the store."""
    taught = stage.taught
    assert taught is not None, "a stage that is taught"
    own = {f"distillation.{name}": getattr(taught, name) for name in ("teacher", "iterations", "policy", "forced")}
    return {"masks": stage.masks, "the context of its layout": context_of(stage), **own}


def _temperatures(recipe: TrainingRecipe) -> list[float]:
    """At which stages compare probabilities, in their order; hard targets have none."""
    taught = [stage.taught for stage in recipe.train.stages if stage.taught is not None]
    return list(dict.fromkeys(settings.tau for settings in taught if settings.targets == "soft"))


def _require_one_temperature(recipe: TrainingRecipe, data: Recipe) -> None:
    """Raise ``RecipeError`` where likeliest classes would have to be kept at several temperatures."""
    found = [f"{tau:g}" for tau in _temperatures(recipe)]
    if len(found) > 1 and data.teach is not None and data.teach.store == "topk":
        raise RecipeError(
            f"{recipe.name}: teach.store is topk, of one temperature, and its stages are of distillation.tau {' and '.join(found)}: "
            "say one, or make the dataset with teach.store=hidden"
        )


def _learned(recipe: TrainingRecipe, teacher: str, iterations: int) -> TrainingRecipe:
    """The recipe of a round: it starts from who taught it, and says in how many iterations."""
    said = {"teacher": None, "iterations": iterations}
    stages = tuple(
        s if s.taught is None else s.model_copy(update={"distillation": s.taught.model_copy(update=said)})
        for s in recipe.train.stages
    )
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"start": teacher, "stages": stages})})


def _recorded(data: str) -> dict[str, Any]:
    """The recipe that the dataset was made by. Raises ``DatasetError`` where that is not known."""
    recorded = Subject.open(data).run()
    if recorded is None:
        raise DatasetError(f"{data}: no run.json, so how it was made is not known; run `speechmill data` on it again")
    return recorded["recipe"]


def _data_recipe(data: str, taught: dict[str, Any], carried_out: dict[str, Any]) -> Recipe:
    """How the dataset was made, taught as a round asks, and carried out as the command asks. Raises ``DatasetError`` where that is not known."""
    recipe = _recorded(data)
    corpus = {**recipe["corpus"], "root": place_of_corpus(Store(data), recipe["corpus"].get("root", ""))}
    changed = {"corpus": corpus, "run": {**recipe["run"], **carried_out}, STAGE: {**(recipe[STAGE] or {}), **taught}}
    return parse({**recipe, **changed}, f"{data}/run.json")
