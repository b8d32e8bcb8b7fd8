"""Planning is a look: what stands in an output is gone by where it is the same, and never changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
from rich.markup import escape

from manifests.dataset import NAME
from manifests.recipe import Recipe, RecipeError, parse
from manifests.run_file import RUN
from manifests.storage import Store
from pipelines.data import DataRun
from pipelines.engine.progress import Events
from pipelines.folders import segments_folder
from pipelines.scratch import scratch
from pipelines.stages.s20_ingest import Cuts, unchanged
from pipelines.workspace import Workspace

SPOKEN_FROM = {"root", "limit", "name"}  # settings of the demo that its sound does not depend on


@contextmanager
def planning(run: DataRun) -> Iterator[tuple[DataRun, str]]:
    """(the run to list and deal with, where the corpus lies).

    That is ``run`` itself in an output where nothing was made yet, or by the same listing and plan; else one in a folder that is gone afterwards.
    """
    out = run.space.store
    if not (out.exists(RUN) or out.exists(NAME)):
        yield run, run.corpus_root({})
        return
    told = _told(out)
    root = run.corpus_root({}) if _speaks_alike(run.recipe, told) else None
    known = _known(run, root)
    space = run.space if known is None else _listed(run.space)
    if root is not None and known is not None and told is not None and _deals_alike(space, told, known):
        yield replace(run, space=space), root
        return
    run.engine.console.print(
        f"{escape(out.root)} was made by another listing or plan: nothing in it is changed", soft_wrap=True
    )
    with scratch(out) as store:
        space = replace(space, root=store.root, listed=out.root if known else "")
        aside = replace(run, space=space, engine=replace(run.engine, events=Events(None)))
        yield aside, aside.corpus_root({}) if root is None else root


def _told(out: Store) -> Recipe | None:
    """The recipe that an output was begun with last; None where that is not known, or of another version."""
    for name in (RUN, NAME):
        try:
            return parse(orjson.loads(out.read(name))["recipe"], name)
        except (FileNotFoundError, RecipeError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def _speaks_alike(recipe: Recipe, told: Recipe | None) -> bool:
    """Whether the corpus is there already: always, but for the demo's, which a recipe speaks."""
    said: list[Any] = [one and one.corpus.model_dump(mode="json", exclude=SPOKEN_FROM) for one in (recipe, told)]
    return recipe.corpus.layout != "demo" or said[0] == said[1]


def _known(run: DataRun, root: str | None) -> Cuts | None:
    """The manifest of the output, where it is that of the corpus as it is."""
    return None if root is None else unchanged(run.recipe.corpus, root, run.space.cuts, run.recipe.run.relist)[0]


def _listed(space: Workspace) -> Workspace:
    """With a recipe that does not have the corpus listed again."""
    settings = space.recipe.run.model_copy(update={"relist": False})
    return replace(space, recipe=space.recipe.model_copy(update={"run": settings}))


def _deals_alike(space: Workspace, told: Recipe, cuts: Cuts) -> bool:
    """Whether a recipe cuts up and plans a manifest as the one does that the output was begun with."""
    asked, begun = (_dealing(one, cuts) for one in (space, replace(space, recipe=told)))
    return asked == begun


def _dealing(space: Workspace, cuts: Cuts) -> list[Any]:
    segments = space.recipe.segment and segments_folder(space, cuts.sha256)
    return [segments, space.recipe.plan.deciding()]
