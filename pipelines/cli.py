"""The ``speechmill`` command. Exit codes: 0 done, 1 faults found, 2 wrong usage or recipe, 3 not finished, 130 interrupted."""

from __future__ import annotations

import errno
import sys

import typer

from pipelines.commands.data import data
from pipelines.commands.distill import distill
from pipelines.commands.evaluate import evaluate
from pipelines.commands.export import export
from pipelines.commands.inspect import inspect
from pipelines.commands.options import FAULTS, INTERRUPTED, UNFINISHED, USAGE
from pipelines.commands.plan import plan
from pipelines.commands.report import report
from pipelines.commands.say import say
from pipelines.commands.status import quarantine, status
from pipelines.commands.train import train
from pipelines.commands.verify import repair, verify

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Raw speech corpora in, verified shards of speech tokens and text out.",
    epilog="Exit codes: 0 done, 1 faults found, 2 wrong usage or recipe, 3 not finished (run again to resume), 130 interrupted.",
)
for command in (data, train, distill, say):
    app.command()(command)
app.command("eval")(evaluate)
for command in (plan, status, verify, repair, inspect, report, quarantine, export):
    app.command()(command)

STORAGE_FAILS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)
WRONG_PATHS = {
    errno.EEXIST: "what is there is no folder, and one is wanted",
    errno.ENOTDIR: "a part of this path is a file, and no folder",
    errno.EISDIR: "there is a folder where a file is wanted",
    errno.ENAMETOOLONG: "a name in this path is longer than the file system takes",
    errno.ELOOP: "links in this path lead round in a circle",
}


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
    from pipelines.forecast.errors import ForecastError
    from pipelines.output_lock import Locked
    from pipelines.repair.records import RepairError
    from pipelines.stages.s90_dataset import Unbalanced
    from pipelines.voice.errors import SpeakError
    from tokenization.adapter import TokenizerError
    from tokenization.recognisers.base import RecogniserError
    from tokenization.scores.base import ScoreError
    from tokenization.text import TextError
    from tokenization.voice_activity.contract import DetectorError
    from tokenization.voices.base import VoiceError
    from training.errors import CheckpointError, Diverged, RowsError

    return {
        RecipeError: USAGE, CorpusError: USAGE, DatasetError: USAGE, VoiceError: USAGE, ReceiptError: UNFINISHED, FetchFailed: UNFINISHED,
        ShardError: UNFINISHED, RunFailed: UNFINISHED, Locked: UNFINISHED, Unbalanced: UNFINISHED, Interrupted: INTERRUPTED,
        RowsError: USAGE, CheckpointError: USAGE, Diverged: FAULTS, SpeakError: USAGE, TokenizerError: USAGE, RecogniserError: USAGE,
        TextError: USAGE, ScoreError: USAGE, DetectorError: USAGE, ExportError: USAGE, StorageFailed: UNFINISHED, RepairError: USAGE, OutsideRoot: FAULTS,
        ForecastError: USAGE,
    }  # fmt: skip


def main() -> None:
    """Run the command; known refusals become one clear line each and an exit code."""
    refusals = _refusals()
    try:
        app()
    except OSError as error:
        if error.errno in WRONG_PATHS:
            where = f"{str(error.filename)[:200]}: " if error.filename else ""
            sys.stderr.write(f"speechmill: {where}{WRONG_PATHS[error.errno]}; name another path\n")
            raise SystemExit(USAGE) from None
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
