"""The ``speechmill`` command. Exit codes: 0 done, 1 faults found, 2 wrong usage or recipe, 3 not finished, 130 interrupted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Raw speech corpora in, verified shards of speech tokens and text out.",
    epilog="Exit codes: 0 done, 1 faults found, 2 wrong usage or recipe, 3 not finished (run again to resume), 130 interrupted.",
)

FAULTS, USAGE, UNFINISHED, INTERRUPTED = 1, 2, 3, 130

RecipeArg = Annotated[str, typer.Argument(help="A recipe: path of a YAML file, or the name of a shipped one (demo, corpus).")]
OutOpt = Annotated[str, typer.Option("--out", "-o", help="Output root: a folder or an fsspec URL.")]
SetOpt = Annotated[list[str] | None, typer.Option("--set", help="Override one value, as in --set corpus.root=/data (repeatable).")]
OutArg = Annotated[str, typer.Argument(help="The output root of `speechmill data`.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of tables.")]


def _console() -> Console:
    return Console(stderr=True, highlight=False)


@app.command()
def data(
    recipe: RecipeArg = "demo",
    out: OutOpt = "out",
    overrides: SetOpt = None,
    workers: Annotated[int | None, typer.Option(help="Parallel workers; 0 runs in this process without Ray.")] = None,
    address: Annotated[str | None, typer.Option(help="Join a Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")] = None,
    print_recipe: Annotated[bool, typer.Option("--print-recipe", help="Print the resolved recipe and stop.")] = False,
    report: Annotated[bool, typer.Option(help="Write report/index.html at the end.")] = True,
) -> None:
    """Make a dataset: speak (demo), ingest, plan, fit, clean and tokenize, in parallel.

    What is finished is not done again; killed at any point, the same command resumes. Ctrl-C once lets running units
    finish, twice stops at once.

    Examples:  speechmill data demo -o out
               speechmill data corpus -o out --set corpus.layout=librispeech --set corpus.root=/data/LibriSpeech
    """
    from manifests.recipe import load
    from pipelines.data import opened
    from pipelines.summary import print_summary

    chosen = [*(overrides or []), *_run_overrides(workers, address)]
    resolved = load(recipe, chosen)
    if print_recipe:
        sys.stdout.write(resolved.to_yaml())
        return
    console = _console()
    with opened(resolved, out, console) as run:
        result = run()
    page = Path(out) / "report" / "index.html" if "://" not in out else None
    if report and page is not None and not (result.nothing_to_do and page.is_file()):
        from pipelines.reporting import make_report

        make_report(out, console)
    print_summary(result, out, console)


def _run_overrides(workers: int | None, address: str | None) -> list[str]:
    chosen = {"run.workers": workers, "run.address": address}
    return [f"{key}={value}" for key, value in chosen.items() if value is not None]


@app.command()
def plan(recipe: RecipeArg = "demo", out: OutOpt = "out", overrides: SetOpt = None, json_out: JsonOpt = False) -> None:
    """List the corpus and deal it into units, without decoding any sound: what would `data` do?"""
    from manifests.recipe import load
    from pipelines.data import opened

    with opened(load(recipe, overrides or []), out, _console()) as run:
        did: dict[str, int] = {}
        cuts, folder, units = run.planned(run.corpus_root(did), did)
    facts = {"folder": folder, "utterances": cuts.utterances, "hours": round(cuts.seconds / 3600, 4), "units": len(units)}
    shares = [u.seconds for u in units]
    facts["unit_seconds"] = {"least": min(shares, default=0), "most": max(shares, default=0)}
    sys.stdout.write(json.dumps(facts) + "\n" if json_out else "".join(f"{k}: {v}\n" for k, v in facts.items()))


@app.command()
def status(out: OutArg = "out", json_out: JsonOpt = False) -> None:
    """Stages, units, ledger, hours and rates of an output root, finished or not."""
    from pipelines.status import read_status

    found = read_status(out)
    if json_out:
        sys.stdout.write(json.dumps(found.to_json()) + "\n")
    else:
        found.render(Console(highlight=False))


@app.command()
def verify(
    out: OutArg = "out",
    reencode: Annotated[int, typer.Option(help="Utterances whose tokens are made again from the corpus and compared.")] = 20,
    json_out: JsonOpt = False,
) -> None:
    """Recompute hashes, sums, shapes, ranges, order and splits, and re-encode a sample. Exit code 1 if anything is wrong."""
    from pipelines.verify import verify as check

    verdict = check(out, reencode=reencode)
    if json_out:
        sys.stdout.write(json.dumps(verdict.to_json()) + "\n")
    else:
        verdict.render(Console(highlight=False))
    if verdict.faults:
        raise typer.Exit(FAULTS)


@app.command()
def inspect(
    out: OutArg = "out",
    key: Annotated[str | None, typer.Argument(help="Id or key of an utterance; empty: one drawn from the dataset.")] = None,
    audio: Annotated[str, typer.Option(help="Folder its sound is written into; empty: none.")] = "",
) -> None:
    """One utterance: what became of it, its text, its tokens; writes its sound."""
    from pipelines.inspect import find, write_audio

    found = find(out, key)
    found.render(Console(highlight=False))
    if audio:
        for path in write_audio(found, Path(audio)):
            sys.stdout.write(f"wrote {path}\n")


@app.command()
def report(out: OutArg = "out") -> None:
    """Write report/index.html: one page to read, see and hear what was made."""
    from pipelines.reporting import make_report

    sys.stdout.write(f"{make_report(out, _console())}\n")


@app.command()
def quarantine(out: OutArg = "out") -> None:
    """Print every filtered and quarantined utterance with its reason, one JSON object a line."""
    from pipelines.status import set_aside

    for outcome in set_aside(out):
        sys.stdout.write(json.dumps(outcome.to_json(), ensure_ascii=False) + "\n")


def _refusals() -> dict[type[BaseException], int]:
    """What ends a command with one line, and its exit code."""
    from manifests.corpora.base import CorpusError
    from manifests.dataset import DatasetError
    from manifests.receipt import ReceiptError
    from manifests.recipe import RecipeError
    from manifests.shards.reader import ShardError
    from pipelines.engine.run import RunFailed
    from pipelines.engine.stopping import Interrupted
    from pipelines.output_lock import Locked
    from pipelines.stages.s90_dataset import Unbalanced
    from tokenization.voices.base import VoiceError

    return {
        RecipeError: USAGE, CorpusError: USAGE, DatasetError: USAGE, VoiceError: USAGE, ReceiptError: UNFINISHED,
        ShardError: UNFINISHED, RunFailed: UNFINISHED, Locked: UNFINISHED, Unbalanced: UNFINISHED, Interrupted: INTERRUPTED,
    }  # fmt: skip


def main() -> None:
    """Run the command; known refusals become one clear line each and an exit code."""
    refusals = _refusals()
    try:
        app()
    except tuple(refusals) as error:
        for line in str(error).splitlines() or [type(error).__name__]:
            sys.stderr.write(f"speechmill: {line}\n")
        raise SystemExit(next(code for kind, code in refusals.items() if isinstance(error, kind))) from None


if __name__ == "__main__":
    main()
