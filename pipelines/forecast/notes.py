"""What a forecast takes for granted, in sentences: said with every forecast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from manifests.recipe import Recipe
from pipelines.forecast.amount import Amount
from pipelines.forecast.bottleneck import STARVED
from pipelines.forecast.measured import spread
from pipelines.forecast.predict import TAKE, Forecast, Spent
from pipelines.forecast.times import span

BUSY = 0.05  # share of the time from which on it is said that workers waited for a core
WAYS = {"probe": "probed here", "receipts": "taken from receipts", "given": "given", "known": "not measured"}


def notes(
    forecast: Forecast, busy: Forecast, here: Amount, recipe: Recipe, differences: Sequence[str]
) -> Iterator[str]:
    """Assumptions and warnings, the general ones last. ``busy``: the same, on a machine as busy as the one that was measured."""
    if differences:
        yield f"the output whose receipts were taken was made by another recipe: {', '.join(differences)} differ"
    for spent in forecast.stages:
        yield from _of_stage(spent)
    yield from _waiting(forecast.stages, busy.seconds)
    yield from _starved(forecast.stages)
    yield from _dropped(forecast.stages)
    if forecast.amount.listed.seconds > here.listed.seconds:
        yield (
            f"more of the same: {forecast.amount.listed.hours:,.0f} h are taken to be like the {here.listed.hours:,.2f} h of the corpus, in "
            f"utterances of {here.seconds / here.utterances:.1f} s and units of {recipe.plan.unit_seconds:,.0f} s"
        )
    yield "the cluster's processors (and GPUs) are as fast as those that were measured, its storage as near, and all of it is free for this"
    if forecast.cluster.grows:
        yield (
            f"a node that is not up yet takes {forecast.cluster.start:,.0f} s to come, and stays up for the stages after; "
            "while a stage runs, the nodes that carry its workers are paid for, and those that are always up"
        )
    ray = f"Ray is there after {forecast.ray:.3g} s; " if forecast.ray else ""
    yield (
        f"{ray}the driver takes {TAKE * 1000:g} ms for each unit that ends; nothing fails and nothing is done twice; the corpus lies ready; "
        "the report is not counted"
    )
    yield "intervals hold nine in ten draws of the units that were measured; they know nothing of other machines or of busier hours"


def _of_stage(spent: Spent) -> Iterator[str]:
    measured = spent.measured
    found = spread([p.audio_seconds / p.seconds for p in measured.pieces if p.seconds])
    if found is None:
        return
    median, least, most = found
    count, what = len(measured.pieces), "unit" if measured.chunk is None else "chunk"
    what = what if count == 1 else f"{what}s"
    alone = (
        "" if count > 1 or measured.source == "given" else "; of one nothing can be said of how far others are from it"
    )
    rates = f"{median:,.0f}" if count == 1 else f"{median:,.0f} (median; {least:,.0f} to {most:,.0f})"
    weight = "" if measured.source != "given" or spent.bytes else "; what it stores is not known, and not reckoned"
    audio = "audio of the plan" if measured.source == "given" else "audio"  # what reaches a stage may be less
    yield f"{spent.stage}: {WAYS[measured.source]}, {rates} h of {audio} for each hour of one worker, {count} {what}{alone}{weight}"


def _waiting(stages: Sequence[Spent], busy: float) -> Iterator[str]:
    """Of stages that were measured while other programs had the core."""
    shares = {s.stage: waited for s in stages if (waited := s.measured.waited) is not None and waited >= BUSY}
    if shares:
        yield (
            f"{', '.join(shares)}: the machine was busy with other things: {_between(shares.values())} of the time workers waited for a core, "
            f"which is left out; were it always as busy, the whole would take {span(busy)}; Ray's start and a teacher's training are by the clock"
        )


def _starved(stages: Sequence[Spent]) -> Iterator[str]:
    """Of stages whose workers waited for something else while they were measured."""
    cores = {s.stage: core for s in stages if (core := s.measured.core) is not None and core < STARVED}
    known = [s for s in stages if s.stage in cores and s.measured.waited is not None]
    if cores:
        why = (
            "for storage, or for a GPU"
            if len(known) == len(cores)
            else "for storage, or the machine was busy with other things"
        )
        yield f"{', '.join(cores)}: workers had a core {_between(cores.values())} of the time that is reckoned with; else they waited {why}"


def _dropped(stages: Sequence[Spent]) -> Iterator[str]:
    """What is known to be left out too little, where recordings are held against each other."""
    if any(s.stage == "copies" and s.measured.source != "given" for s in stages):
        yield (
            "copies: a recording whose other form is not among those measured counts as none; the more there are, the less time and room "
            "the stages after it take"
        )
    if any(s.stage == "transcripts" and s.measured.source == "given" for s in stages):
        yield "transcripts: nobody listened here, so texts are taken to be those of the corpus, and nothing is left out for them"


def _between(shares: Iterable[float]) -> str:
    least, most = min(shares := list(shares)), max(shares)
    return f"{least:.0%}" if round(least, 2) == round(most, 2) else f"{least:.0%} to {most:.0%}"
