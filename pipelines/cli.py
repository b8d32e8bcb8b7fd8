"""The ``speechmill`` command. Exit codes: 0 done, 1 faults found, 2 wrong usage or recipe, 3 not finished, 130 interrupted."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from pipelines.export.command import export

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
STORAGE_FAILS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)

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
    from manifests.storage import Store
    from pipelines.data import opened
    from pipelines.report.page import NAME as PAGE
    from pipelines.summary import print_summary

    chosen = [*(overrides or []), *_run_overrides(workers, address)]
    resolved = load(recipe, chosen)
    if print_recipe:
        sys.stdout.write(resolved.to_yaml())
        return
    console = _console()
    with opened(resolved, out, console) as run:
        result = run()
    if report and not (result.nothing_to_do and Store(out).exists(PAGE)):
        from pipelines.reporting import make_report

        make_report(out, console)
    print_summary(result, out, console)


def _run_overrides(workers: int | None, address: str | None) -> list[str]:
    chosen = {"run.workers": workers, "run.address": address}
    return [f"{key}={value}" for key, value in chosen.items() if value is not None]


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A training recipe: path of a YAML file, or a shipped one (demo, scratch, isd, demo-ar, demo-mtp, paper, tiny)."
        ),
    ] = "demo",
    dataset: OutArg = "out",
    run: Annotated[
        str | None, typer.Option("--out", "-o", help="Folder of the run; empty: runs/NAME, by the recipe's name.")
    ] = None,
    overrides: SetOpt = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that share every batch; empty: one per GPU; without, one per core, up to 4."
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Train on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. The folders must be shared."),
    ] = None,
    print_recipe: Annotated[bool, typer.Option("--print-recipe", help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Train a talker on a dataset: speech codes from text, by filling in masks (or frame by frame, as the recipe says).

    Killed at any point, the same command goes on from the last checkpoint; Ctrl-C finishes the step and writes one. What a step
    learns does not depend on the number of processes. Curves: tensorboard --logdir runs; figures: RUN/log.jsonl.

    Examples:  speechmill train demo out -o runs/demo
               speechmill train scratch out -o runs/wide --set talker.width=512 --set train.optimiser.lr=0.001
               torchrun --nproc-per-node 8 -m pipelines.cli train paper /data/out -o /data/runs/paper
    """
    from manifests.training_recipe import load

    resolved = load(recipe, overrides or [])
    if print_recipe:
        sys.stdout.write(resolved.to_yaml())
        return
    from pipelines.train import run as carry_out
    from training.run import Job

    console, folder = _console(), run or f"runs/{resolved.name}"
    outcome = carry_out(Job(resolved, dataset, folder), processes, address, console)
    figures = "".join(f", {name} {value:.4f}" for name, value in outcome.figures.items())
    console.print(f"done: {outcome.step} steps{figures}; talker: {outcome.checkpoint}", soft_wrap=True)


@app.command()
def distill(
    recipe: Annotated[
        str,
        typer.Argument(help="A training recipe whose stages learn from a record (isd, or the path of a YAML file)."),
    ] = "isd",
    dataset: OutArg = "out",
    run: Annotated[
        str | None, typer.Option("--out", "-o", help="Folder of the rounds; empty: runs/NAME, by the recipe's name.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Run that teaches the first round; empty: where the recipe starts from.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Each student teaches the next round.")] = 1,
    halve: Annotated[bool, typer.Option(help="Half the teacher's iterations from round to round.")] = True,
    overrides: SetOpt = None,
    processes: Annotated[int | None, typer.Option(min=1, help="As of `speechmill train`.")] = None,
) -> None:
    """Distil a talker into itself: teach the dataset, train on what was taught, and again.

    Killed at any point, the same command goes on; finished rounds (RUN/distill.json) are not done again. Round N lies in RUN/round-N.

    Examples:  speechmill distill isd out -o runs/isd --teacher runs/demo --rounds 2
    """
    from manifests.training_recipe import load
    from pipelines.distill import Distillation

    resolved, console = load(recipe, overrides or []), _console()
    made = Distillation(resolved, dataset, run or f"runs/{resolved.name}", rounds, teacher, halve)
    for number, found in enumerate(made(console, processes), 1):
        figures = "".join(f", {name} {value:.4f}" for name, value in found.figures.items())
        console.print(
            f"round {number}: {found.iterations} iterations{figures}; talker: {made.student(number)}", soft_wrap=True
        )


@app.command()
def say(
    text: Annotated[str, typer.Argument(help="What to say, spelled as in the texts of the dataset.")],
    run: Annotated[str, typer.Option(help="A run of `speechmill train`, or one of its checkpoints.")] = "runs/demo",
    out: Annotated[
        str, typer.Option("--out", "-o", help="WAV file; - writes raw 16-bit samples to standard output.")
    ] = "out.wav",
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps of each block.")] = 4,
    decoder: Annotated[str | None, typer.Option(help="block, ar or mtp; empty: what the run was trained for.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="Order in which a block is revealed (even, pmi, left_to_right, ...); of mtp: which guesses are kept."
        ),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write sound block by block, and say when the first left.")
    ] = False,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest codes.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of draws, where the temperature is above 0.")] = 0,
    max_seconds: Annotated[
        float, typer.Option(min=0.04, help="Longest speech: a talker that does not end is stopped.")
    ] = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the talker; a small one is fastest with 1.")] = 1,
) -> None:
    """Let a trained talker say a text.

    Examples:  speechmill say "turn on the kitchen lights" --run runs/demo --steps 4 -o out.wav
               speechmill say "turn on the kitchen lights" --stream -o - | aplay -f S16_LE -r 16000
    """
    from pipelines.say import say_into
    from pipelines.voice.voice import Manner

    say_into(
        run, text, Manner(decoder, steps, policy, temperature, seed, max_seconds), out, stream, _console(), threads
    )


@app.command("eval")
def evaluate(
    run: Annotated[str, typer.Argument(help="A run of `speechmill train`, or one of its checkpoints.")] = "runs/demo",
    ar: Annotated[str | None, typer.Option("--ar", help="Run of an autoregressive talker to compare with.")] = None,
    mtp: Annotated[str | None, typer.Option("--mtp", help="Run of a multi-token talker to compare with.")] = None,
    sentences: Annotated[int, typer.Option(min=1, help="Held-out sentences.")] = 300,
    steps: Annotated[str, typer.Option(help="Denoising steps of a block, with commas.")] = "1,2,4,8,16",
    policies: Annotated[str, typer.Option(help="Orders in which a block is revealed, with commas.")] = "even",
    open_vocabulary: Annotated[
        int | None,
        typer.Option("--open", min=0, help="Sentences heard without a grammar, ten times the work; empty: all."),
    ] = None,
    data: Annotated[str, typer.Option(help="The dataset; empty: where the run was trained.")] = "",
    timed: Annotated[int, typer.Option(min=1, help="Sentences said alone and timed.")] = 40,
    batch: Annotated[int, typer.Option(min=1, help="Sentences said together.")] = 32,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the talker; a small one is fastest with 1.")] = 1,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that listen; 0: this one; empty: one a core.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Judge a talker on held-out sentences: word errors, speed, entropy, by steps and against baselines.

    Writes RUN/eval: index.html to look at and hear, eval.json with all figures and what was heard, eval.png. What was heard once is kept.

    Examples:  speechmill eval runs/demo --ar runs/demo-ar --mtp runs/demo-mtp
               speechmill eval runs/demo --steps 4,16 --policies even,pmi --open 0
    """
    from pipelines.evaluation.evaluate import Asked
    from pipelines.evaluation.evaluate import evaluate as judge
    from pipelines.evaluation.table import show

    others = tuple((kind, other) for kind, other in (("ar", ar), ("mtp", mtp)) if other is not None)
    counts, orders = _numbers("--steps", steps), _words(policies)
    asked = Asked(run, others, data, sentences, counts, orders, open_vocabulary, timed, batch, threads, workers, seed)
    show(judge(asked, _console()), Console(highlight=False))


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers above 0, with commas between them. Raises ``SpeakError``."""
    from pipelines.voice.errors import SpeakError

    parts = _words(text)
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise SpeakError(f"{option} {text}: write whole numbers from 1 with commas, as in 1,4,16")
    return tuple(int(part) for part in parts)


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


@app.command()
def repair(
    out: OutArg = "out",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be made anew; change nothing.")] = False,
    workers: Annotated[int | None, typer.Option(help="Parallel workers, instead of those the recipe has.")] = None,
    reencode: Annotated[
        int, typer.Option(help="Utterances whose tokens are made again from the corpus and compared.")
    ] = 0,
) -> None:
    """Make anew what `verify` finds damaged, by the recipe that OUT records, and verify the whole.

    Only units that are hit, and what was made of them, are removed and made again. Exit code 1 if a fault is left (--dry-run: if there is one).

    Examples:  speechmill repair out --dry-run
               speechmill repair out
    """
    from pipelines.repair import planned_repair
    from pipelines.repair import repair as mend

    with _bar() as progress:
        done = (
            planned_repair(out, reencode, progress) if dry_run else mend(out, _console(), workers, reencode, progress)
        )
    left = done.verdict.faults if done.verdict else ()
    for line in [*done.parts, *(f"{name}: made anew it has other bytes" for name in done.different), *left]:
        sys.stdout.write(f"{line}\n")
    found = f"{len(done.parts)} to make anew" if dry_run else f"{len(done.parts)} made anew, {len(left)} faults left"
    sys.stdout.write(f"{out}: {found}{'; verified' if done.verdict and done.ok else ''}\n")
    if not done.ok or (dry_run and done.parts):
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


app.command()(export)


def _refusals() -> dict[type[BaseException], int]:
    """What ends a command with one line, and its exit code."""
    from manifests.corpora.base import CorpusError
    from manifests.dataset import DatasetError
    from manifests.fetch import FetchFailed
    from manifests.patience import StorageFailed
    from manifests.receipt import ReceiptError
    from manifests.recipe import RecipeError
    from manifests.shards.reader import ShardError
    from manifests.storage import OutsideRoot
    from pipelines.engine.run import RunFailed
    from pipelines.engine.stopping import Interrupted
    from pipelines.export.errors import ExportError
    from pipelines.output_lock import Locked
    from pipelines.repair_records import RepairError
    from pipelines.stages.s90_dataset import Unbalanced
    from pipelines.voice.errors import SpeakError
    from tokenization.adapter import TokenizerError
    from tokenization.text import TextError
    from tokenization.voices.base import VoiceError
    from training.errors import CheckpointError, Diverged, RowsError

    return {
        RecipeError: USAGE, CorpusError: USAGE, DatasetError: USAGE, VoiceError: USAGE, ReceiptError: UNFINISHED, FetchFailed: UNFINISHED,
        ShardError: UNFINISHED, RunFailed: UNFINISHED, Locked: UNFINISHED, Unbalanced: UNFINISHED, Interrupted: INTERRUPTED,
        RowsError: USAGE, CheckpointError: USAGE, Diverged: FAULTS, SpeakError: USAGE, TokenizerError: USAGE,
        TextError: USAGE, ExportError: USAGE, StorageFailed: UNFINISHED, RepairError: USAGE, OutsideRoot: FAULTS,
    }  # fmt: skip


def main() -> None:
    """Run the command; known refusals become one clear line each and an exit code."""
    refusals = _refusals()
    try:
        app()
    except OSError as error:
        if error.errno not in STORAGE_FAILS:
            raise
        sys.stderr.write(
            f"speechmill: {error.filename or 'output'}: {error.strerror}; nothing finished is lost: mend that and run again\n"
        )
        raise SystemExit(UNFINISHED) from None
    except tuple(refusals) as error:
        for line in str(error).splitlines() or [type(error).__name__]:
            sys.stderr.write(f"speechmill: {line}\n")
        raise SystemExit(next(code for kind, code in refusals.items() if isinstance(error, kind))) from None


if __name__ == "__main__":
    main()
