"""``speechmill plan`` on the command line."""

from __future__ import annotations

import json
import sys

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

    With any of the options from --hours on: what would it take? A small part of the corpus is run through the stages and timed, and time,
    CPU and GPU hours, storage and money are reckoned from that. Nothing of it is kept but forecast.json, against which `status` holds the run.

    Examples:  speechmill plan RECIPE --hours 6000 --cluster deploy/ray-cluster.yaml
               speechmill plan RECIPE -o OUT --nodes 4 --cpus 16 --probe-minutes 3
    """
    from manifests.recipe import load
    from pipelines.data import opened

    resolved = load(recipe, overrides or [])
    question = asked(hours, cluster, nodes, cpus, gpus, probe_minutes, source, rate)
    if question is not None:
        forecast(resolved, out, question, json_out)
        return
    with opened(resolved, out, console()) as run:
        did: dict[str, int] = {}
        cuts, folder, units = run.planned(run.corpus_root(did), did)
    facts = {
        "folder": folder,
        "utterances": cuts.utterances,
        "hours": round(cuts.seconds / 3600, 4),
        "units": len(units),
    }
    shares = [u.seconds for u in units]
    facts["unit_seconds"] = {"least": min(shares, default=0), "most": max(shares, default=0)}
    sys.stdout.write(json.dumps(facts) + "\n" if json_out else "".join(f"{k}: {v}\n" for k, v in facts.items()))
