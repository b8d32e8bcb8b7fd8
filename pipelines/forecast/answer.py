"""From a recipe and a cluster to a forecast: plan, measure what the recipe asks for, reckon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from manifests.recipe import Recipe
from manifests.settings.codecs import CodecSettings
from manifests.settings.speech import GivenSettings
from pipelines.data import DataRun, Manifests, opened
from pipelines.engine.contract import Unit
from pipelines.engine.room import Demand, nodes
from pipelines.forecast.amount import Amount
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
from pipelines.forecast.probe import Probe, scratch
from pipelines.forecast.rates import given, parsed
from pipelines.forecast.stages import Stage, asked, shared
from pipelines.forecast.timing import Sampling
from pipelines.stages.s20_ingest import Cuts
from pipelines.workspace import Workspace
from tokenization.adapter import TokenizerError


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


UNKNOWN = ("segment", "copies", "transcribe", "features")  # blocks of a recipe whose stages nobody measures yet


@dataclass(frozen=True)
class Answer:
    """``forecast`` of what was asked, ``own`` of the corpus as it is, and what they go by."""

    forecast: Forecast
    own: Forecast
    bottleneck: Bottleneck | None
    notes: tuple[str, ...]
    planned: tuple[Cuts, str, int]


def answered(recipe: Recipe, out: str, question: Question, console: Console) -> Answer:
    """Plan the corpus, measure, and reckon. Leaves the plan in ``out``, and nothing else.

    Raises :class:`ForecastError` for what cannot be measured here, or finds no room; what planning and the stages raise.
    """
    _require_known(recipe)
    stages = asked(recipe)
    rates = parsed(question.rates, stages)
    gpus = _gpus(recipe, stages)
    found = None if question.source is None else Found.at(question.source)
    _require_here(recipe, stages, rates, gpus, found)
    with opened(_alone(_openable(recipe, out, stages, rates, found)), out, console) as run:
        if found is None and "teach" not in rates:
            run.check_teacher()
        ray = _ray_seconds(run, question)
        root = run.corpus_root({})
        planned = run.planned(root, {})
        if not planned[2] or not planned[0].planned.utterances:
            raise ForecastError(f"{root}: the corpus has no utterances, so there is nothing to measure")
        cluster = question.cluster or _cluster(run, gpus)
        with scratch(run.space.store) as store:
            units = sum(stage.units for stage in stages)
            probe = Probe.over(run, recipe.run, store, root, planned, Sampling(question.minutes), gpus, units)
            measured = [_measured(stage, probe, stages, rates, found) for stage in stages]
    return _reckoned(
        recipe,
        question,
        planned,
        measured,
        partial(predict, run=recipe.run, cluster=cluster, shared=shared(stages), ray=ray),
        stages,
        found,
    )


def _require_known(recipe: Recipe) -> None:
    """Raises :class:`ForecastError` for a stage that is not reckoned yet."""
    if unknown := [block for block in UNKNOWN if getattr(recipe, block, None) is not None]:
        without = " ".join(f"--set {block}=null" for block in unknown)
        raise ForecastError(
            f"what {' and '.join(unknown)} would take is not foretold yet; ask for the rest with {without}"
        )


def _reckoned(
    recipe: Recipe, question: Question, planned: tuple[Manifests, str, tuple[Unit, ...]], measured: Sequence[Measurement],
    reckon: Callable[[Sequence[Measurement], Amount], Forecast], stages: Sequence[Stage], found: Found | None,
) -> Answer:  # fmt: skip
    cuts, folder, units = planned
    here = Amount.of_units(units)
    own = reckon(measured, here)
    amount = here if question.hours is None else here.at(question.hours, recipe.plan.unit_seconds)
    forecast = own if amount is here else reckon(measured, amount)
    held = bottleneck(forecast, shared(stages), {stage.name: stage.words for stage in stages})
    free = reckon([one.undisturbed for one in measured], amount)
    said = notes(forecast, free, here, recipe, found.differences(recipe) if found else [])
    return Answer(forecast, own, held, tuple(said), (cuts.planned, folder, len(units)))


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
    stage: Stage, probe: Probe, stages: Sequence[Stage], rates: Mapping[str, float], found: Found | None
) -> Measurement:
    """One stage: found, given, or probed. One whose rate is given is done all the same where those after it read what it makes."""
    if stage.name not in rates:
        return (found.measured(stage) if found else None) or stage.measure(probe)
    later = stages[stages.index(stage) + 1 :]
    wanted = found is None and any(s.reads_units and s.name not in rates for s in later)
    return given(stage.name, rates[stage.name], stage.measure(probe) if wanted else None)


def _gpus(recipe: Recipe, stages: Sequence[Stage]) -> int:
    """GPUs of this machine, looked for only where some worker asks for one."""
    if not any(_asks_gpu(recipe, stage) for stage in stages):
        return 0
    import torch

    return torch.cuda.device_count()


def _asks_gpu(recipe: Recipe, stage: Stage) -> bool:
    on_one = stage.name == "tokens" and isinstance(recipe.speech, CodecSettings) and recipe.speech.device != "cpu"
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


def _openable(
    recipe: Recipe, out: str, stages: Sequence[Stage], rates: Mapping[str, float], found: Found | None
) -> Recipe:
    """The recipe; one of given tokens in its place where its codec is not here, and need not be. Raises :class:`ForecastError`."""
    if not isinstance(recipe.speech, CodecSettings):
        return recipe
    try:
        Workspace.of(recipe, out)
    except TokenizerError as error:
        missing = [stage.name for stage in stages if stage.units and stage.name not in rates]
        if missing and not found:
            given_by = " ".join(f"--rate {name}=HOURS" for name in missing)
            raise ForecastError(
                f"{error}; without it nothing can be timed here: ask where it is, name an output with receipts (--from OUT), or give "
                f"{given_by} (of audio, for each hour of one worker)"
            ) from None
        return recipe.model_copy(update={"speech": GivenSettings()})
    return recipe


def _cluster(run: DataRun, gpus: int) -> ClusterShape:
    """Where the recipe would run as it stands: on the cluster that it joins, or here."""
    address = run.recipe.run.address
    if address is None or run.recipe.run.workers == 0:
        return this_machine(gpus)
    run.engine.ray_started()
    types = tuple(NodeType(f"node {i + 1}", dict(offers), 1, 1) for i, offers in enumerate(nodes()))
    return ClusterShape(f"the cluster at {address}", types)
