"""From a recipe and a cluster to a forecast: plan, measure what the recipe asks for, reckon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from manifests.recipe import Recipe
from pipelines.data import DataRun, opened
from pipelines.engine.room import Demand, nodes
from pipelines.forecast.amount import Amount
from pipelines.forecast.basis import Basis
from pipelines.forecast.bottleneck import Bottleneck, bottleneck
from pipelines.forecast.cluster_file import this_machine
from pipelines.forecast.crew import local_cores
from pipelines.forecast.driver import timed
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.found import Found
from pipelines.forecast.measured import Measurement
from pipelines.forecast.nodes import ClusterShape, NodeType
from pipelines.forecast.notes import notes
from pipelines.forecast.predict import RAY_START, Forecast, predict
from pipelines.forecast.probe import Probe
from pipelines.forecast.rates import given, parsed
from pipelines.forecast.stages import Stage, asked, shared
from pipelines.forecast.timing import Sampling
from pipelines.forecast.weights import openable, weights_of
from pipelines.planning import planning
from pipelines.scratch import scratch


@dataclass(frozen=True)
class Question:
    """What is asked.

    hours     of audio; None: the corpus as it is
    cluster   None: where the recipe would run as it stands
    minutes   that the probe may take; None: a hundredth of the corpus, and five minutes at the most
    source    an output root whose receipts stand in for the probe
    rates     ``STAGE=HOURS``, measured elsewhere
    """

    hours: float | None = None
    cluster: ClusterShape | None = None
    minutes: float | None = None
    source: str | None = None
    rates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """``forecast`` of what was asked, ``own`` of the corpus as it is, and what they go by.

    before   stages that are done already: a run begins behind them
    """

    forecast: Forecast
    own: Forecast
    bottleneck: Bottleneck | None
    notes: tuple[str, ...]
    before: tuple[str, ...]


def answered(recipe: Recipe, out: str, question: Question, console: Console) -> Answer:
    """List the corpus, measure, and reckon. Leaves what is listed and dealt in ``out``, unless something else was made there, and nothing else.

    Raises :class:`ForecastError` for what cannot be measured here, or finds no room; what planning and the stages raise.
    """
    stages = asked(recipe)
    rates = parsed(question.rates, stages)
    gpus = _gpus(recipe, stages)
    found = None if question.source is None else Found.at(question.source)
    _require_here(recipe, stages, rates, gpus, found)
    with opened(_alone(openable(recipe, out, stages, rates, found is not None)), out, console) as run:
        if found is None and "teach" not in rates:
            run.check_teacher()
        ray = _ray_seconds(run, question)
        cluster = question.cluster or _cluster(run, gpus)
        with planning(run) as (looked, root), scratch(looked.space.store) as store:
            basis, units = Basis.of(looked, root), sum(stage.units for stage in stages)
            probe = Probe.over(looked, recipe.run, store, root, basis, Sampling(question.minutes), gpus, units)
            if found is not None and basis.plan is None:
                probe.source, probe.units, probe.cutting = found.plan, found.units, found.cutting()
            measured = list[Measurement]()
            for stage in stages:
                measured.append(_measured(stage, probe, measured, stages, rates, found))
    here = basis.amount(probe.cutting, recipe.plan.unit_seconds)
    before = basis.done if looked.space.root == run.space.root else ()
    reckon = partial(predict, run=recipe.run, cluster=cluster, shared=shared(stages), ray=ray)
    return _reckoned(recipe, question, here, measured, reckon, stages, found, before)


def _reckoned(
    recipe: Recipe, question: Question, here: Amount, measured: Sequence[Measurement],
    reckon: Callable[[Sequence[Measurement], Amount], Forecast], stages: Sequence[Stage], found: Found | None, before: tuple[str, ...],
) -> Answer:  # fmt: skip
    own = reckon(measured, here)
    cut_up = recipe.segment.unit_seconds if recipe.segment else 0.0
    amount = here if question.hours is None else here.at(question.hours, recipe.plan.unit_seconds, cut_up)
    forecast = own if amount is here else reckon(measured, amount)
    held = bottleneck(forecast, shared(stages), {stage.name: stage.words for stage in stages})
    busy = reckon([one.disturbed for one in measured], amount)
    said = notes(forecast, busy, here, recipe, found.differences(recipe) if found else [])
    return Answer(forecast, own, held, tuple(said), before)


def _alone(recipe: Recipe) -> Recipe:
    """With no more workers than this machine has cores for, where it is this machine that lists the corpus."""
    run = recipe.run
    if run.address is not None or run.workers == 0:
        return recipe
    few = {"workers": min(run.workers or local_cores(), local_cores()), "cpus_per_worker": 1.0, "gpus_per_worker": 0.0}
    return recipe.model_copy(update={"run": run.model_copy(update={**few, "stages": {}})})


def _ray_seconds(run: DataRun, question: Question) -> float:
    """Until Ray is there: timed where it is this machine, or the cluster that the recipe joins, that is reckoned with."""
    if run.recipe.run.workers == 0 or question.cluster is not None or question.source is not None:
        return RAY_START
    return timed(run.engine.ray_started)[1]


def _measured(
    stage: Stage, probe: Probe, before: Sequence[Measurement], stages: Sequence[Stage], rates: Mapping[str, float], found: Found | None
) -> Measurement:  # fmt: skip
    """One stage: found, given, or probed. One whose rate is given is done all the same where one after it cannot do without what it makes."""
    if stage.name not in rates:
        return (found.measured(stage, probe) if found else None) or stage.measure(probe)
    later = stages[stages.index(stage) + 1 :]
    wanted = found is None and any(stage.name in s.needs and s.name not in rates for s in later)
    measured = stage.measure(probe) if wanted else None
    known = {one.stage: one for one in before}
    return given(stage.name, rates[stage.name], measured, stage.reach(probe, known), stage.weight(probe, known))


def _gpus(recipe: Recipe, stages: Sequence[Stage]) -> int:
    """GPUs of this machine, looked for only where some worker asks for one."""
    if not any(_asks_gpu(recipe, stage) for stage in stages):
        return 0
    import torch

    return torch.cuda.device_count()


def _asks_gpu(recipe: Recipe, stage: Stage) -> bool:
    on_one = (weights := weights_of(recipe, stage.name)) is not None and weights.device != "cpu"
    return stage.units and (on_one or bool(Demand.of(recipe.run.of(stage.name)).amounts.get("GPU")))


def _require_here(
    recipe: Recipe, stages: Sequence[Stage], rates: Mapping[str, float], gpus: int, found: Found | None
) -> None:
    """Raise :class:`ForecastError` where only another machine can measure a stage; nothing is invented."""
    if gpus or found:
        return
    lacking = [stage.name for stage in stages if _asks_gpu(recipe, stage) and stage.name not in rates]
    if lacking:
        raise ForecastError("\n".join(
            f"{name}: its workers ask for a GPU, and this machine has none to measure them on; ask on a machine that "
            f"has one, name an output with receipts (--from OUT), or give --rate {name}=HOURS (of audio, for each hour of one worker)"
            for name in lacking
        ))  # fmt: skip


def _cluster(run: DataRun, gpus: int) -> ClusterShape:
    """Where the recipe would run as it stands: on the cluster that it joins, or here."""
    address = run.recipe.run.address
    if address is None or run.recipe.run.workers == 0:
        return this_machine(gpus)
    run.engine.ray_started()
    types = tuple(NodeType(f"node {i + 1}", dict(offers), 1, 1) for i, offers in enumerate(nodes()))
    return ClusterShape(f"the cluster at {address}", types)
