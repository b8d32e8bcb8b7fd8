"""The table that ends ``speechmill data``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from manifests.dataset import Dataset
from manifests.storage import Store
from pipelines.data import Result
from pipelines.forecast.compared import table
from pipelines.report.captured import Captured, captured
from pipelines.report.charts import size
from pipelines.report.page import NAME as PAGE
from pipelines.report.teach import storage
from pipelines.status import status


def print_summary(result: Result, out: str, console: Console) -> None:
    """Hours and utterances by split, the ledger, and where things lie."""
    value, place = result.description, escape(out)
    table = Table(
        title=f"{escape(value['name'])}: {len(value['tokens']['shards'])} shards in {place}", title_justify="left"
    )
    for column in ("split", "utterances", "hours", "query hours", "speech tokens", "text tokens"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, amounts in value["splits"].items():
        hours, query = amounts["seconds"] / 3600, amounts["query_seconds"] / 3600
        table.add_row(escape(split), *(f"{v:,}" for v in (int(amounts["utterances"]),)), f"{hours:.3f}", f"{query:.3f}",
                      f"{int(amounts['frames']):,}", f"{int(amounts['text_tokens']):,}")  # fmt: skip
    console.print(table)
    if value["splits"] and "train" not in value["splits"]:
        console.print(untrained(value["splits"]))
    if "segments" in value:
        console.print(cut_up(value["segments"]))
    if "masks" in value:
        sets = ", ".join(f"{about['views']} {name}" for name, about in value["masks"]["sets"].items())
        console.print(f"masks of each utterance: {sets}; blocks of {value['masks']['block']}")
    if "features" in value:
        console.print(featured(value))
    if "states" in value:
        console.print(stated(value))
    if "teach" in value:
        held = None if result.nothing_to_do else captured(Dataset(Store(out), value))
        console.print(taught(value, held))
        if held is not None and held.note is not None:
            console.print(f"note: {held.note}", soft_wrap=True)
    ledger = value["ledger"]
    filtered, quarantined = sum(ledger["filtered"].values()), sum(ledger["quarantined"].values())
    console.print(
        f"ledger: {ledger['planned']} = {ledger['written']} written + {filtered} filtered + {quarantined} quarantined"
    )
    for kind in ("filtered", "quarantined"):
        for reason, count in ledger[kind].items():
            console.print(f"  {kind}: {count} {escape(reason)}")
    if ledger["written"] and not any(amounts["text_tokens"] for amounts in value["splits"].values()):
        console.print(
            "note: no utterance has a text: is corpus.layout the right one? A recogniser can write them: --set 'transcribe={}'",
            soft_wrap=True,
        )
    if not result.nothing_to_do:
        _print_foretold(out, console)
    done = "nothing to do" if result.nothing_to_do else "done"
    console.print(f"{done} in {result.seconds:.1f} s; dataset: {place}/dataset.json")
    if Store(out).exists(PAGE):
        console.print(f"report: {place}/{PAGE}")


def untrained(splits: Mapping[str, Any]) -> str:
    """What is to be known of a dataset without a training split."""
    return (
        f"no utterance is of the split train (there are: {', '.join(splits)}): what is fitted was fitted on all, and a trainer finds nothing; "
        "name the corpus's splits train, dev and test, or set split.by"
    )


def cut_up(segments: Mapping[str, Any]) -> str:
    """What became of the sound of recordings that were cut up."""
    heard, kept, dropped = (segments[f"{name}_ms"] / 3_600_000 for name in ("heard", "kept", "dropped"))
    whole = f"; {segments['left_whole']:,} left whole" if segments["left_whole"] else ""
    return (
        f"cut up: {segments['cut_up']:,} recordings of {heard:.3f} h into {segments['segments']:,} utterances of {kept:.3f} h, "
        f"{dropped:.3f} h without speech{whole}"
    )


def _print_foretold(out: str, console: Console) -> None:
    """What `plan` foretold of it, where it was asked to."""
    found = status(out).forecast
    if found is not None and found.rows:
        console.print(table(found))


def featured(value: Mapping[str, Any]) -> str:
    """What a dataset's features of queries are, and what they take."""
    from pipelines.stages.s65_features import bytes_an_hour

    about = value["features"]
    held, hour = sum(shard["bytes"] for shard in about["shards"]), bytes_an_hour(about["width"])
    return f"features of queries: {about['frame_rate']} a second of {about['width']}: {size(held)}; {size(hour)} an hour of queries"


def stated(value: Mapping[str, Any]) -> str:
    """What a dataset's text states are, and how many utterances have none."""
    about = value["states"]
    held, samples = (sum(shard[of] for shard in about["shards"]) for of in ("bytes", "samples"))
    lacking = f"; {about['missing']:,} have none (their JSON says why)" if about["missing"] else ""
    return f"text states: {about['states']:,} of width {about['width']} for {samples - about['missing']:,} utterances: {size(held)}{lacking}"


def taught(value: Mapping[str, Any], held: Captured | None = None) -> str:
    """What a dataset's trajectories are, how much of the teacher's word their classes hold, and what they would take for more hours of speech."""
    about, weighed = value["teach"], storage(value)
    more = ", ".join(f"{size(count)} for {hours:,} h" for hours, count in weighed.more)
    return (
        f"taught: {about['views']} views of {about['masks']} in {about['iterations']} iterations by {about['teacher'][:12]}; "
        f"store {about['store']}{'' if held is None else f' ({held})'}: {size(weighed.hour)} an hour of speech, {more}"
    )
