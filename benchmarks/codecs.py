"""Speech tokenizers through the tokenize stage against their bare loop, both in one process and one run.

    python benchmarks/codecs.py [--codecs encodec mimi dac ...] [--minutes 1] [--rounds 3] [--weights NAME=PATH ...]

The bare loop reads each file, cleans it and encodes it, with the same functions, and writes nothing. The stage does that and everything else:
the plan's batches, the parity gate, text, shards, indexes. One thread. Rounds take turns; seconds are processor seconds, and the median ratio
is shown with the least and the most. Clips are three seconds long; the gate encodes some of them twice, and how many is shown: of units of
half an hour, which recipes have unless they say otherwise, it takes no more than four. Sound is made of the codes of ten seconds, once.

Without --weights a model of the published size with random weights is made: speed does not depend on what they are, and codes of random
weights mean nothing. The embedded tokenizer, `patches`, is so fast that it wants more minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from pipelines.cluster import THREADS

os.environ.update(THREADS)  # as workers have them; read when numpy is imported

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table

from manifests.recipe import parse
from manifests.storage import Store
from pipelines.data import opened
from pipelines.engine.contract import Task
from pipelines.stages import s30_plan
from pipelines.stages.hearing import Heard
from pipelines.stages.s60_tokenize import TokenizeJob, TokenizeWorker
from tests.small_corpus import RATE, tone

CLIP_SECONDS, DISTINCT = 3.0, 40
SOUND_SECONDS = 10.0  # of codes that are made sound of


def write_corpus(folder: Path, minutes: float) -> None:
    """Short wavs: so many distinct sounds, written again and again under names of their own."""
    folder.mkdir()
    clips, lines = [tone(seed, CLIP_SECONDS) for seed in range(DISTINCT)], ["id\taudio\ttext\tspeaker"]
    for i in range(round(minutes * 60 / CLIP_SECONDS)):
        soundfile.write(folder / f"{i:06d}.wav", clips[i % DISTINCT], RATE, subtype="PCM_16")
        lines.append(f"{i:06d}\t{i:06d}.wav\tthis is sentence number {i}\ts{i % 50}")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _patches(folder: Path) -> dict[str, Any]:
    return {"name": "patches", "fit_seconds": 600}


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


def _dac(rate: int, downsampling: tuple[int, ...], codebooks: int) -> Callable[[Path], dict[str, Any]]:
    def made(folder: Path) -> dict[str, Any]:
        from transformers import DacConfig, DacModel

        config = DacConfig(n_codebooks=codebooks, downsampling_ratios=list(downsampling), sampling_rate=rate)
        DacModel(config).save_pretrained(folder)
        return {"name": "dac", "sample_rate": rate}

    return made


def _xcodec(folder: Path) -> dict[str, Any]:
    from transformers import XcodecConfig, XcodecModel

    XcodecModel(XcodecConfig()).save_pretrained(folder)
    return {"name": "xcodec"}


def _s3(model: str, layers: int) -> Callable[[Path], dict[str, Any]]:
    def made(folder: Path) -> dict[str, Any]:
        from tokenization.codecs.s3.network import S3Network

        folder.mkdir()
        torch.save(S3Network(128, 1_280, layers).state_dict(), folder / "s3.pt")
        return {"name": "s3tokenizer", "model": model, "weights": str(folder / "s3.pt")}

    return made


MADE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "patches": _patches, "encodec": _encodec, "encodec_48": _encodec_48, "mimi": _mimi, "dac": _dac(16_000, (2, 4, 5, 8), 12),
    "dac_24": _dac(24_000, (2, 4, 5, 8), 32), "dac_44": _dac(44_100, (2, 4, 8, 8), 9), "xcodec": _xcodec, "s3_v2": _s3("v2", 6), "s3_v3": _s3("v3", 12),
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


def stage(worker: TokenizeWorker) -> int:
    """How many utterances the parity gate encoded twice."""
    return sum(worker.process(Task(unit), lambda _: None).facts["parity"]["utterances"] for unit in worker.job.units)


def timed(work: Callable[[TokenizeWorker], Any], worker: TokenizeWorker) -> tuple[float, Any]:
    started = time.process_time()
    result = work(worker)
    return time.process_time() - started, result


def row(name: str, job: TokenizeJob, rounds: int) -> Iterator[str]:
    worker = job.open()
    audio, clips = sum(unit.seconds for unit in job.units), sum(unit.count for unit in job.units)
    worker.tokenizer.encode([np.zeros(worker.tokenizer.spec.sample_rate, np.float32)])  # libraries load
    measured = [(timed(bare, worker)[0], *timed(stage, worker)) for _ in range(rounds)]
    ratios = sorted(loop / ours for loop, ours, _ in measured)
    ours, loop = median(o for _, o, _ in measured), median(b for b, _, _ in measured)
    spec = worker.tokenizer.spec
    yield from (
        name, f"{median(ratios):.2f}", f"{ratios[0]:.2f}, {ratios[-1]:.2f}", f"{audio / ours:,.1f}", f"{audio / loop:,.1f}",
        f"{measured[0][2]} of {clips}", _sound(worker), f"{spec.frame_rate:g} x {spec.codebooks}",
    )  # fmt: skip


def _sound(worker: TokenizeWorker) -> str:
    """Seconds of sound a second, made of random codes all at once."""
    tokenizer, spec = worker.tokenizer, worker.tokenizer.spec
    if not tokenizer.can_decode:
        return "-"
    shape = (round(SOUND_SECONDS * spec.frame_rate), spec.codebooks)
    codes_FQ = np.random.default_rng(0).integers(0, spec.vocab_size, shape).astype(np.uint16)
    tokenizer.decode(codes_FQ[:10])
    started = time.process_time()
    tokenizer.decode(codes_FQ)
    return f"{SOUND_SECONDS / (time.process_time() - started):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codecs", nargs="+", choices=[*MADE], default=[*MADE])
    parser.add_argument("--minutes", type=float, default=1.0, help="minutes of audio")
    parser.add_argument("--rounds", type=int, default=3, help="times both are measured")
    parser.add_argument(
        "--weights", nargs="*", default=[], metavar="NAME=PATH", help="real weights instead of random ones"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    real = dict(given.split("=", 1) for given in asked.weights)
    table = Table(
        "codec", "stage / bare", "least, most", "h of audio an hour of a core", "bare", "encoded twice", "h of sound an hour",
        "frames/s x codebooks",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        write_corpus(corpus, asked.minutes)
        for name in asked.codecs:
            place = Path(folder) / name
            torch.manual_seed(0)
            made = MADE[name](place)
            given = {} if name == "patches" else {"weights": real.get(name, made.get("weights", str(place)))}
            table.add_row(*row(name, prepared(Path(folder) / f"run-{name}", corpus, made | given), asked.rounds))
    Console(width=max(120, Console().width)).print(table)


if __name__ == "__main__":
    main()
