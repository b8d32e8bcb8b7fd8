"""What a forecast takes for granted, in sentences: said with every forecast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from manifests.recipe import Recipe
from pipelines.forecast.amount import Amount
from pipelines.forecast.bottleneck import STARVED
from pipelines.forecast.measured import spread
from pipelines.forecast.predict import TAKE, Forecast, Spent
from pipelines.forecast.times import span

WAYS = {"probe": "probed here", "receipts": "taken from receipts", "given": "given", "known": "not measured"}


def notes(
    forecast: Forecast, undisturbed: Forecast, here: Amount, recipe: Recipe, differences: Sequence[str]
) -> Iterator[str]:
    """Assumptions and warnings, the general ones last. ``undisturbed``: the same, were workers never to wait for a core."""
    if differences:
        yield f"the output whose receipts were taken was made by another recipe: {', '.join(differences)} differ"
    for spent in forecast.stages:
        yield from _of_stage(spent)
    yield from _starved(forecast.stages, undisturbed.seconds)
    if forecast.amount.seconds > here.seconds:
        yield (
            f"more of the same: {forecast.amount.hours:,.0f} h are taken to be like the {here.hours:,.2f} h of the corpus, in "
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
    yield f"{spent.stage}: {WAYS[measured.source]}, {rates} h of audio for each hour of one worker, {count} {what}{alone}"


def _starved(stages: Sequence[Spent], undisturbed: float) -> Iterator[str]:
    """Of stages whose workers waited while they were measured."""
    cores = {s.stage: core for s in stages if (core := s.measured.core) is not None and core < STARVED}
    if cores:
        least, most = min(cores.values()), max(cores.values())
        between = f"{least:.0%}" if round(least, 2) == round(most, 2) else f"{least:.0%} to {most:.0%}"
        yield (
            f"{', '.join(cores)}: workers had a core {between} of the time they were measured: they waited for storage, or the machine was busy "
            f"with other things; with a core all the time the whole would take {span(undisturbed)}"
        )
