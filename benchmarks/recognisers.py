"""Recognisers through the transcribe stage against their bare loop, both in one process and one run.

    python benchmarks/recognisers.py [--recognisers pocketsphinx whisper faster-whisper] [--sentences 24] [--rounds 3] [--weights NAME=PATH ...]

The bare loop reads each file, cleans it and lets the recogniser hear it, with the same functions and the same batches, and writes nothing. The stage does that and
everything else: the plan, entries, shards, indexes, the figures of its receipts. One thread. Rounds take turns; seconds are processor seconds, and the median ratio is
shown with the least and the most. The sounds are sentences of the demo corpus, spoken by its voices.

Without --weights a Whisper of the published size of `tiny` with random weights is made: it writes as many tokens as fit for each sentence, so its speed is the
least that such a size has. faster-whisper is given the same weights, converted. A folder of transformers becomes the network of `whisper`, so it has no row.
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

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table

from manifests.demo.grammar import dialogues
from manifests.demo.script import Prosody
from manifests.recipe import parse
from manifests.storage import Store
from pipelines.data import opened
from pipelines.engine.contract import Task
from pipelines.stages import s30_plan
from pipelines.stages.hearing import Heard
from pipelines.stages.s38_transcribe import TranscribeJob, TranscribeWorker
from tests.tokenization.whispers import converted
from tokenization.recognisers.base import RATE, at_rate
from tokenization.voices import choose_engine

TINY = {"n_mels": 80, "n_audio_ctx": 1_500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4, "n_vocab": 51_865,
        "n_text_ctx": 448, "n_text_state": 384, "n_text_head": 6, "n_text_layer": 4}  # fmt: skip


def write_corpus(folder: Path, sentences: int) -> None:
    """Responses of the demo, each as a file of its own, without their texts."""
    folder.mkdir()
    engine = choose_engine()
    speaker, lines = engine.speaker(), ["id\taudio\tspeaker"]
    for i, one in enumerate(dialogues(5, sentences)):
        wave_T, rate = speaker.say(one.response, engine.candidates[i % 2].name, Prosody())
        soundfile.write(folder / f"{i:04d}.wav", at_rate(np.asarray(wave_T), rate), RATE, subtype="PCM_16")
        lines.append(f"{i:04d}\t{i:04d}.wav\ts{i % 2}")
    speaker.close()
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def random_whisper(path: Path) -> Path:
    """A checkpoint of the size of `tiny`."""
    import whisper

    torch.manual_seed(0)
    model = whisper.model.Whisper(whisper.model.ModelDimensions(**TINY))
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.02)
    torch.save({"dims": TINY, "model_state_dict": model.state_dict()}, path)
    return path


def prepared(folder: Path, corpus: Path, recogniser: dict[str, Any]) -> TranscribeJob:
    """Everything before the stage that is measured."""
    asked = {"corpus": {"layout": "table", "root": str(corpus)}, "plan": {"dedup": False}, "run": {"workers": 0},
             "transcribe": {"recogniser": recogniser}}  # fmt: skip
    with opened(parse(asked), str(folder), Console(quiet=True)) as run:
        _, plan, units = run.planned(str(corpus), {})
        store = run.space.store
        return TranscribeJob(store.sub("transcripts-bench").root, store.sub(plan).root, str(corpus), run.recipe, units)


def bare(worker: TranscribeWorker) -> None:
    for unit in worker.job.units:
        cuts = list(s30_plan.unit_cuts(Store(worker.job.plan), unit.index))
        seconds = [max(cut["duration"], worker.recogniser.spec.window) for cut in cuts]
        for batch in s30_plan.batches(seconds, worker.job.settings.batch_seconds):
            heard = [worker.ear.hear(cuts[i]) for i in batch]
            worker.recogniser.recognise([side.wave_T for h in heard if isinstance(h, Heard) for side in h.sides])


def stage(worker: TranscribeWorker) -> None:
    for unit in worker.job.units:
        worker.process(Task(unit), lambda _: None)


def seconds(work: Callable[[TranscribeWorker], None], worker: TranscribeWorker) -> float:
    started = time.process_time()
    work(worker)
    return time.process_time() - started


def row(name: str, job: TranscribeJob, rounds: int) -> Iterator[str]:
    worker = job.open()
    audio = sum(unit.seconds for unit in job.units)
    worker.recogniser.recognise([np.zeros(RATE, np.float32)])  # libraries load
    measured = [(seconds(bare, worker), seconds(stage, worker)) for _ in range(rounds)]
    ratios = sorted(loop / ours for loop, ours in measured)
    ours, loop = median(o for _, o in measured), median(b for b, _ in measured)
    yield from (
        name, f"{median(ratios):.2f}", f"{ratios[0]:.2f}, {ratios[-1]:.2f}", f"{audio / ours:.1f}", f"{audio / loop:.1f}",
        f"{job.units[0].count} of {audio / sum(u.count for u in job.units):.1f} s",
    )  # fmt: skip


def settings_of(name: str, folder: Path, given: dict[str, str]) -> dict[str, Any]:
    if name == "pocketsphinx":
        return {"name": name}
    if name in given:
        return {"name": name, "weights": given[name]}
    checkpoint = folder / "tiny.pt" if (folder / "tiny.pt").exists() else random_whisper(folder / "tiny.pt")
    return {"name": name, "weights": str(checkpoint if name == "whisper" else converted(checkpoint, folder / "ct2"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recognisers", nargs="+", choices=["pocketsphinx", "whisper", "faster-whisper"], default=["pocketsphinx"]
    )
    parser.add_argument("--sentences", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3, help="times both are measured")
    parser.add_argument(
        "--weights", nargs="*", default=[], metavar="NAME=PATH", help="real weights instead of random ones"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    given = dict(one.split("=", 1) for one in asked.weights)
    table = Table("recogniser", "stage / bare", "least, most", "h of audio an hour of a core", "bare", "utterances")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        write_corpus(corpus, asked.sentences)
        for name in asked.recognisers:
            job = prepared(Path(folder) / f"run-{name}", corpus, settings_of(name, Path(folder), given))
            table.add_row(*row(name, job, asked.rounds))
    Console().print(table)


if __name__ == "__main__":
    main()
