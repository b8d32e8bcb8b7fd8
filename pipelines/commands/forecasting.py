"""The options of ``speechmill plan`` that ask what a run would take, and what they lead to."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from manifests.recipe import Recipe
from pipelines.commands.options import console

if TYPE_CHECKING:
    from pipelines.forecast.answer import Question
    from pipelines.forecast.nodes import ClusterShape

PANEL = "What would it take?"
MOST = 100_000  # nodes, and CPUs or GPUs of one
WIDTH = 120  # of the table where there is no terminal to fit into
HoursOpt = Annotated[
    float | None,
    typer.Option(help="Hours of audio to reckon with; left out: the corpus as it is.", rich_help_panel=PANEL),
]
ClusterOpt = Annotated[
    str | None,
    typer.Option(
        help="What it would run on: Ray's cluster YAML, KubeRay's, or a list of nodes. Left out: where the recipe runs as it stands.",
        rich_help_panel=PANEL,
    ),
]
NodesOpt = Annotated[int | None, typer.Option(help="Instead of --cluster: so many nodes alike.", rich_help_panel=PANEL)]
CpusOpt = Annotated[float | None, typer.Option(help="CPUs of each of --nodes.", rich_help_panel=PANEL)]
GpusOpt = Annotated[float | None, typer.Option(help="GPUs of each of --nodes.", rich_help_panel=PANEL)]
MinutesOpt = Annotated[
    float | None,
    typer.Option(
        help="Probe for about so many minutes; left out: a hundredth of the corpus, for five minutes at the most. Three units at least.",
        rich_help_panel=PANEL,
    ),
]
FromOpt = Annotated[
    str | None,
    typer.Option("--from", help="Take the receipts of this output root in place of a probe.", rich_help_panel=PANEL),
]
RateOpt = Annotated[
    list[str] | None,
    typer.Option(
        help="Measured elsewhere: STAGE=HOURS of audio for each hour of one worker, as in tokens=120 (repeatable).",
        rich_help_panel=PANEL,
    ),
]


def asked(
    filters: bool, hours: float | None, cluster: str | None, nodes: int | None, cpus: float | None, gpus: float | None,
    minutes: float | None, source: str | None, rates: list[str] | None,
) -> Question | None:  # fmt: skip
    """What the options ask; None where none of them is given. Raises ``ForecastError`` for what makes no sense."""
    if all(option is None for option in (hours, cluster, nodes, cpus, gpus, minutes, source)) and not rates:
        return None
    from pipelines.forecast.answer import Question
    from pipelines.forecast.errors import ForecastError

    if filters:
        raise ForecastError(
            "--filters asks what rules would cost, the other options what a run would take: ask one at a time"
        )
    for name, value in (("--hours", hours), ("--probe-minutes", minutes)):
        if value is not None and not 0 < value < 1e9:
            raise ForecastError(f"{name} {value:g}: must be more than nothing, and a number")
    if source is not None and minutes is not None:
        raise ForecastError(
            "--from takes receipts in place of a probe, so --probe-minutes has nothing to say: leave one of them out"
        )
    return Question(hours, _shape(cluster, nodes, cpus, gpus), minutes, source, tuple(rates or ()))


def _shape(cluster: str | None, nodes: int | None, cpus: float | None, gpus: float | None) -> ClusterShape | None:
    from pipelines.forecast.cluster_file import alike, load_cluster
    from pipelines.forecast.errors import ForecastError

    if cluster is not None:
        if any(option is not None for option in (nodes, cpus, gpus)):
            raise ForecastError(
                "--cluster describes the nodes, and so do --nodes, --cpus and --gpus: leave one of them out"
            )
        return load_cluster(cluster)
    if nodes is None and cpus is None and gpus is None:
        return None
    for name, value in (("--nodes", nodes), ("--cpus", cpus), ("--gpus", gpus)):
        if value is not None and not (0 <= value <= MOST and (value or name == "--gpus")):
            raise ForecastError(
                f"{name} {value:g}: must be more than nothing (GPUs may be none), and {MOST:,} at the most"
            )
    if cpus is None:
        raise ForecastError("--nodes and --gpus need --cpus: how many CPUs each node has")
    return alike(nodes or 1, cpus, gpus or 0.0)


def forecast(recipe: Recipe, out: str, question: Question, json_out: bool) -> None:
    """Measure, reckon, print, and keep the forecast beside the output."""
    from manifests.storage import Store
    from pipelines.forecast.answer import answered
    from pipelines.forecast.record import keep, to_json
    from pipelines.forecast.table import render

    answer = answered(recipe, out, question, console())
    value = to_json(answer)
    keep(Store(out), value)
    if json_out:
        sys.stdout.write(json.dumps(value) + "\n")
    else:
        render(answer, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH))
