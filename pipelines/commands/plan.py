"""``speechmill plan`` on the command line."""

from __future__ import annotations

import json
import sys

from pipelines.commands.options import JsonOpt, OutOpt, RecipeArg, SetOpt, console


def plan(recipe: RecipeArg = "demo", out: OutOpt = "out", overrides: SetOpt = None, json_out: JsonOpt = False) -> None:
    """List the corpus and deal it into units, without decoding any sound: what would `data` do?

    Only where the recipe cuts up long recordings (segment), these have to be heard first.
    """
    from manifests.recipe import load
    from pipelines.data import opened

    with opened(load(recipe, overrides or []), out, console()) as run:
        did: dict[str, int] = {}
        cuts, folder, units = run.planned(run.corpus_root(did), did)
    facts = {
        "folder": folder,
        "utterances": cuts.planned.utterances,
        "hours": round(cuts.planned.seconds / 3600, 4),
        "units": len(units),
    }
    shares = [u.seconds for u in units]
    facts["unit_seconds"] = {"least": min(shares, default=0), "most": max(shares, default=0)}
    sys.stdout.write(json.dumps(facts) + "\n" if json_out else "".join(f"{k}: {v}\n" for k, v in facts.items()))
