"""Neural codecs through the tokenize stage against their bare loop, both in one process and one run.

    python benchmarks/codecs.py [--codecs encodec mimi dac s3tokenizer] [--minutes 2] [--rounds 3] [--weights NAME=PATH ...]

The bare loop reads each file, cleans it and encodes it, with the same functions, and writes nothing. The stage does that and everything else:
the plan's batches, the parity gate, text, shards, indexes. One thread. Rounds take turns; seconds are processor seconds, and the median ratio
is shown with the least and the most. Without --weights a model of the published size with random weights is made: speed does not
depend on what they are, and codes of random weights mean nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.tokenize import write_corpus
from manifests.recipe import parse
from manifests.storage import Store
from pipelines.data import opened
from pipelines.engine.contract import Task
from pipelines.stages import s30_plan
from pipelines.stages.hearing import Heard
from pipelines.stages.s60_tokenize import TokenizeJob, TokenizeWorker


def _encodec(folder: Path) -> dict[str, Any]:
    from transformers import EncodecConfig, EncodecModel

    EncodecModel(EncodecConfig()).save_pretrained(folder)
    return {"name": "encodec", "bandwidth": 6.0}


def _encodec_48(folder: Path) -> dict[str, Any]:
    from transformers import EncodecModel

    from tokenization.codecs.encodec_original import original_config

    EncodecModel(original_config(48_000)).save_pretrained(folder)
    return {"name": "encodec", "sample_rate": 48_000, "bandwidth": 6.0}


def _mimi(folder: Path) -> dict[str, Any]:
    from transformers import MimiConfig, MimiModel

    MimiModel(MimiConfig()).save_pretrained(folder)
    return {"name": "mimi", "codebooks": 8}


def _dac(folder: Path) -> dict[str, Any]:
    from transformers import DacConfig, DacModel

    DacModel(DacConfig(n_codebooks=12, downsampling_ratios=[2, 4, 5, 8])).save_pretrained(folder)
    return {"name": "dac"}


def _xcodec(folder: Path) -> dict[str, Any]:
    from transformers import XcodecConfig, XcodecModel

    XcodecModel(XcodecConfig()).save_pretrained(folder)
    return {"name": "xcodec"}


def _s3(folder: Path) -> dict[str, Any]:
    from tokenization.codecs.s3.network import S3Network

    folder.mkdir()
    torch.save(S3Network(128, 1_280, 6).state_dict(), folder / "s3.pt")
    return {"name": "s3tokenizer", "weights": str(folder / "s3.pt")}


MADE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "encodec": _encodec, "encodec_48": _encodec_48, "mimi": _mimi, "dac": _dac, "xcodec": _xcodec, "s3tokenizer": _s3,
}  # fmt: skip


def prepared(folder: Path, corpus: Path, speech: dict[str, Any]) -> TokenizeJob:
    """Everything before the stage that is measured."""
    asked = {
        "corpus": {"layout": "table", "root": str(corpus)},
        "plan": {"dedup": False},
        "speech": speech,
        "run": {"workers": 0},
    }
    with opened(parse(asked), str(folder / "out"), Console(quiet=True)) as run:
        did: dict[str, int] = {}
        _, plan, units = run.planned(str(corpus), did)
        fit, store = run.fitted(str(corpus), plan, units, did), run.space.store
        return TokenizeJob(
            store.sub("tokens-bench").root,
            store.sub(plan).root,
            store.sub(fit).root,
            str(corpus),
            "bench",
            run.recipe,
            units,
        )


def bare(worker: TokenizeWorker) -> None:
    for unit in worker.job.units:
        for cut in s30_plan.unit_cuts(Store(worker.job.plan), unit.index):
            heard = worker.ear.hear(cut)
            if isinstance(heard, Heard):
                worker.tokenizer.encode([side.wave_T for side in heard.sides])


def stage(worker: TokenizeWorker) -> None:
    for unit in worker.job.units:
        worker.process(Task(unit), lambda _: None)


def seconds(work: Callable[[TokenizeWorker], None], worker: TokenizeWorker) -> float:
    started = time.process_time()
    work(worker)
    return time.process_time() - started


def row(name: str, job: TokenizeJob, rounds: int) -> Iterator[str]:
    worker = job.open()
    hours = sum(unit.seconds for unit in job.units) / 3600
    worker.tokenizer.encode([torch.zeros(worker.tokenizer.spec.sample_rate).numpy()])  # libraries load
    measured = [(seconds(bare, worker), seconds(stage, worker)) for _ in range(rounds)]
    ratios = sorted(loop / ours for loop, ours in measured)
    spec = worker.tokenizer.spec
    yield from (
        name, f"{median(ratios):.2f}", f"{ratios[0]:.2f}, {ratios[-1]:.2f}", f"{hours * 3600 / median(o for _, o in measured) :.1f}",
        f"{hours * 3600 / median(b for b, _ in measured):.1f}", f"{spec.frame_rate:g} x {spec.codebooks}",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codecs", nargs="+", choices=[*MADE], default=["encodec", "mimi", "dac", "s3tokenizer"])
    parser.add_argument("--minutes", type=float, default=2.0, help="minutes of audio")
    parser.add_argument("--rounds", type=int, default=3, help="times both are measured")
    parser.add_argument(
        "--weights", nargs="*", default=[], metavar="NAME=PATH", help="real weights instead of random ones"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    real = dict(given.split("=", 1) for given in asked.weights)
    table = Table("codec", "stage / bare", "least, most", "h of audio an hour", "bare", "frames/s x codebooks")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        write_corpus(corpus, asked.minutes / 60)
        for name in asked.codecs:
            place = Path(folder) / name
            torch.manual_seed(0)
            speech = {"weights": str(place), **MADE[name](place)}
            speech["weights"] = real.get(name, speech["weights"])
            table.add_row(*row(name, prepared(Path(folder) / f"run-{name}", corpus, speech), asked.rounds))
    Console().print(table)


if __name__ == "__main__":
    main()
