"""``speechmill plan`` on the command line."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from pipelines.commands.forecasting import (
    ClusterOpt,
    CpusOpt,
    FromOpt,
    GpusOpt,
    HoursOpt,
    MinutesOpt,
    NodesOpt,
    RateOpt,
    asked,
    forecast,
)  # fmt: skip
from pipelines.commands.options import JsonOpt, OutOpt, RecipeArg, SetOpt, console


def plan(
    recipe: RecipeArg = "demo",
    out: OutOpt = "out",
    overrides: SetOpt = None,
    filters: Annotated[
        bool, typer.Option("--filters", help="Hear a sample: what would each rule of the recipe's filters cost?")
    ] = False,
    sample: Annotated[int, typer.Option(min=1, help="Utterances that --filters hears.")] = 200,
    json_out: JsonOpt = False,
    hours: HoursOpt = None,
    cluster: ClusterOpt = None,
    nodes: NodesOpt = None,
    cpus: CpusOpt = None,
    gpus: GpusOpt = None,
    probe_minutes: MinutesOpt = None,
    source: FromOpt = None,
    rate: RateOpt = None,
) -> None:
    """List the corpus and deal it into units, without decoding any sound: what would `data` do?

    Nothing is changed in an output that was made by another listing or plan.

    With --filters a random sample is decoded and scored, to tell what each filter rule of the recipe would cost.
    Where the recipe cuts up long recordings (segment), these have to be heard first.

    With any of the options from --hours on: what would it take? A small part of the corpus is run through the stages and timed (of long recordings
    too only a part is heard), and time, CPU and GPU hours, storage and money are reckoned from that. What other programs on this machine take is left
    out. Nothing of it is kept but forecast.json, against which `status` holds the run.

    Examples:  speechmill plan RECIPE --hours 6000 --cluster deploy/ray-cluster.yaml
               speechmill plan RECIPE -o OUT --nodes 4 --cpus 16 --probe-minutes 3
    """
    from manifests.recipe import load
    from pipelines.data import opened
    from pipelines.planning import planning
    from pipelines.preview import preview

    resolved = load(recipe, overrides or [])
    question = asked(filters, hours, cluster, nodes, cpus, gpus, probe_minutes, source, rate)
    if question is not None:
        forecast(resolved, out, question, json_out)
        return
    with opened(resolved, out, console()) as made, planning(made) as (run, root):
        cuts, folder, units = run.planned(root, {})
        seen = preview(run.recipe, root, run.space.store.sub(folder), units, run.mapper, sample) if filters else None
    facts = {
        "folder": folder,
        "utterances": cuts.planned.utterances,
        "hours": round(cuts.planned.seconds / 3600, 4),
        "units": len(units),
    }
    shares = [u.seconds for u in units]
    facts["unit_seconds"] = {"least": min(shares, default=0), "most": max(shares, default=0)}
    if seen is not None and json_out:
        facts["filters"] = seen.to_json()
    sys.stdout.write(json.dumps(facts) + "\n" if json_out else "".join(f"{k}: {v}\n" for k, v in facts.items()))
    if seen is not None and not json_out:
        seen.render(Console(highlight=False))
