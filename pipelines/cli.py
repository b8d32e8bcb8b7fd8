"""The ``speechmill`` command. Exit codes: 0 done, 1 faults found, 2 wrong usage or recipe, 3 not finished, 130 interrupted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

if TYPE_CHECKING:
    from pipelines.inspect import Inspection

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Raw speech corpora in, verified shards of speech tokens and text out.",
    epilog="Exit codes: 0 done, 1 faults found, 2 wrong usage or recipe, 3 not finished (run again to resume), 130 interrupted.",
)

FAULTS, USAGE, UNFINISHED, INTERRUPTED = 1, 2, 3, 130

RecipeArg = Annotated[
    str, typer.Argument(help="A recipe: path of a YAML file, or the name of a shipped one (demo, corpus).")
]
OutOpt = Annotated[str, typer.Option("--out", "-o", help="Output root: a folder or an fsspec URL.")]
SetOpt = Annotated[
    list[str] | None, typer.Option("--set", help="Override one value, as in --set corpus.root=/data (repeatable).")
]
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
    facts = {
        "folder": folder,
        "utterances": cuts.utterances,
        "hours": round(cuts.seconds / 3600, 4),
        "units": len(units),
    }
    shares = [u.seconds for u in units]
    facts["unit_seconds"] = {"least": min(shares, default=0), "most": max(shares, default=0)}
    sys.stdout.write(json.dumps(facts) + "\n" if json_out else "".join(f"{k}: {v}\n" for k, v in facts.items()))


@app.command()
def status(out: OutArg = "out", json_out: JsonOpt = False) -> None:
    """Stages, units, ledger, hours and rates of an output root, finished or not."""
    from pipelines.status import status as look

    found = look(out)
    if json_out:
        sys.stdout.write(json.dumps(found.to_json()) + "\n")
    else:
        found.render(Console(highlight=False))


@app.command()
def verify(
    out: OutArg = "out",
    reencode: Annotated[
        int, typer.Option(help="Utterances whose tokens are made again from the corpus and compared.")
    ] = 20,
    json_out: JsonOpt = False,
) -> None:
    """Recompute hashes, sums, shapes, ranges, order and splits, and re-encode a sample. Exit code 1 if anything is wrong."""
    from pipelines.verify import verify as check

    with _bar() as progress:
        verdict = check(out, reencode, progress)
    if json_out:
        faults = [
            {"where": f.where, "key": f.key, "what": f.what, "remedy": f.remedy, "warning": f.warning}
            for f in verdict.faults
        ]
        sys.stdout.write(
            json.dumps({"ok": verdict.ok, "faults": faults, "notes": verdict.notes, "samples": verdict.samples}) + "\n"
        )
    else:
        for line in [*verdict.faults, *(f"note: {note}" for note in verdict.notes)]:
            sys.stdout.write(f"{line}\n")
        made_again = f"{verdict.reencoded} made again from their sound"
        sys.stdout.write(
            f"{'verified' if verdict.ok else 'FAULTS'}: {verdict.samples} samples read, {made_again}, {len(verdict.faults)} faults\n"
        )
    if not verdict.ok:
        raise typer.Exit(FAULTS)


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    with Progress(console=_console(), transient=True, disable=not sys.stderr.isatty()) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, of: int) -> None:
            tasks.setdefault(what, bar.add_task(what) if what not in tasks else tasks[what])
            bar.update(tasks[what], completed=done, total=of or None)

        yield show


@app.command()
def inspect(
    out: OutArg = "out",
    key: Annotated[
        str | None, typer.Argument(help="Id or key of an utterance; empty: one drawn from the dataset.")
    ] = None,
    audio: Annotated[str, typer.Option(help="Folder its sound is written into; empty: none.")] = "",
    json_out: JsonOpt = False,
) -> None:
    """One utterance: what became of it, its text, its tokens; writes its sound."""
    from pipelines.inspect import find, write_audio

    found = find(out, key)
    if json_out:
        sys.stdout.write(json.dumps(found.to_json(), ensure_ascii=False) + "\n")
    else:
        _show(found)
    for path in write_audio(found, Path(audio)) if audio else ():
        sys.stdout.write(f"wrote {path}\n")
    if found.status == "unknown":
        raise typer.Exit(FAULTS)


def _show(found: Inspection) -> None:
    """An inspection as lines for people."""
    lines = [f"id: {found.id}", f"status: {found.status}" + (f" in {found.shard}" if found.shard else "")]
    if found.outcome and found.outcome.reason:
        lines.append(f"reason: {found.outcome.reason}: {found.outcome.error}")
    if found.nearest:
        lines.append(f"nearest ids: {', '.join(found.nearest)}")
    lines += [f"{name}: {text!r} ({len(found.text_ids[name])} tokens)" for name, text in found.texts.items()]
    for name, codes_FQ in found.codes.items():
        lines += [f"{name} codes, {len(codes_FQ)} frames:", *found.table(name)]
    lines += [f"{name}: {value}" for name, value in found.meta.items() if name not in ("id", "text")]
    sys.stdout.write("\n".join(lines) + "\n")


@app.command()
def report(out: OutArg = "out") -> None:
    """Write report/index.html: one page to read, see and hear what was made."""
    from pipelines.reporting import make_report

    sys.stdout.write(f"{make_report(out, _console())}\n")


@app.command()
def quarantine(out: OutArg = "out") -> None:
    """Print every filtered and quarantined utterance with its reason, one JSON object a line."""
    from pipelines.status import quarantine as set_aside

    for outcome in set_aside(out):
        sys.stdout.write(json.dumps(outcome.to_json(), ensure_ascii=False) + "\n")


def _refusals() -> dict[type[BaseException], int]:
    """What ends a command with one line, and its exit code."""
    from manifests.corpora.base import CorpusError
    from manifests.dataset import DatasetError
    from manifests.fetch import FetchFailed
    from manifests.receipt import ReceiptError
    from manifests.recipe import RecipeError
    from manifests.shards.reader import ShardError
    from pipelines.engine.run import RunFailed
    from pipelines.engine.stopping import Interrupted
    from pipelines.output_lock import Locked
    from pipelines.stages.s90_dataset import Unbalanced
    from tokenization.voices.base import VoiceError

    return {
        RecipeError: USAGE, CorpusError: USAGE, DatasetError: USAGE, VoiceError: USAGE, ReceiptError: UNFINISHED, FetchFailed: UNFINISHED,
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
