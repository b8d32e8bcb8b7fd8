"""A small finished dataset, made by the stages themselves from synthetic sound: what verify, status and inspect look at."""

from __future__ import annotations

import math
import wave
from pathlib import Path

import numpy as np
import orjson

from manifests.fingerprint import pretty
from manifests.recipe import Recipe, parse
from manifests.storage import Store
from pipelines.engine.commit import execute
from pipelines.engine.contract import Job, Task
from pipelines.engine.mapping import Mapper
from pipelines.engine.progress import Events
from pipelines.engine.stopping import Stopping
from pipelines.stages.s20_ingest import cut_lines, ingest
from pipelines.stages.s30_plan import write_plan
from pipelines.stages.s50_fit import FitJob
from pipelines.stages.s60_tokenize import TokenizeJob
from pipelines.stages.s70_mask import MaskJob
from pipelines.stages.s90_dataset import describe, describe_masks, publish

RATE = 16_000
SETS = {
    "plain": {"views": 3, "mix": [{"noise": "bernoulli"}]},
    "mixed": {"views": 4, "complementary": True, "mix": [
        {"noise": "hierarchical", "full": 0.2, "replace": [0.1, 0.2]}, {"noise": "full_block"}, {"noise": "left_to_right"},
    ]},
}  # fmt: skip
FOLDERS = {"plan": "plan-0", "fit": "fit-0", "tokens": "tokens-0", "masks": "masks-0"}


def speechlike(seed: int, seconds: float) -> np.ndarray:
    """A wandering tone with syllables: nothing any cleaning rule objects to."""
    random = np.random.default_rng(seed)
    time_T = np.arange(int(RATE * seconds)) / RATE
    phase_T = 2 * math.pi * np.cumsum(150 + 60 * np.sin(2 * math.pi * (1 + seed % 3) * time_T)) / RATE
    syllables_T = 0.6 + 0.4 * np.sin(2 * math.pi * 4 * time_T)
    return syllables_T * sum(0.1 * np.sin(n * phase_T) for n in (1, 2, 3)) + 0.003 * random.standard_normal(len(time_T))


def write_corpus(root: Path, speakers: int = 4, each: int = 4) -> None:
    """``<speaker>/u<n>.wav`` with a transcript beside it; one is silent, one is no sound at all."""
    for s in range(speakers):
        folder = root / f"sp{s}"
        folder.mkdir(parents=True)
        for n in range(each):
            samples_T = speechlike(s * each + n, 0.8 + 0.2 * n)
            with wave.open(str(folder / f"u{n}.wav"), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", ""))
                file.writeframes((samples_T * 32767).astype("<i2").tobytes())
            (folder / f"u{n}.txt").write_text(f"speaker {s} says line {n}\n", encoding="utf-8")
    with wave.open(str(root / "sp0" / "silent.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(bytes(2 * RATE))
    (root / "sp1" / "broken.wav").write_bytes(b"RIFF, and nothing that is sound")


def small_recipe(root: Path) -> Recipe:
    return parse({
        "name": "small",
        "corpus": {"layout": "sidecar", "root": str(root), "speaker_pattern": r"^([^/]+)/"},
        "plan": {"unit_seconds": 6.0, "batch_seconds": 4.0},
        "split": {"by": "speaker", "dev": 0.25, "test": 0.0},
        "speech": {"name": "patches", "codebook_size": 16, "pca": 8, "fit_seconds": 10, "iterations": 2, "griffin_lim": 2},
        "text": {"vocab_size": 270},
        "mask": {"block": 8, "sets": SETS},
    })  # fmt: skip


def make_until_tokens(out: str, recipe: Recipe) -> TokenizeJob:
    """Ingest, plan and fit; the tokenize job that is left to do."""
    store, corpus, root = Store(out), recipe.corpus, recipe.corpus.root
    mapper = Mapper(lambda: 0, lambda: None, Stopping(0.0))
    ingest(corpus, root, store.sub("cuts"), mapper, Events(None))
    units = write_plan(cut_lines(store.sub("cuts")), recipe.plan, store.sub(FOLDERS["plan"]))
    folders = {stage: store.sub(name).root for stage, name in FOLDERS.items()}
    do_units(FitJob(folders["fit"], folders["plan"], root, recipe, units))
    store.publish("run.json", pretty({"root": root, "recipe": recipe.model_dump(mode="json")}))
    return TokenizeJob(folders["tokens"], folders["plan"], folders["fit"], root, "sidecar", recipe, units)


def do_units(job: Job, count: int | None = None) -> None:
    worker = job.open()
    for unit in job.units[:count]:
        execute(job, worker, Task(unit), lambda _: None)


def finish(out: str, job: TokenizeJob) -> None:
    """Draw masks and fold the receipts into ``dataset.json``."""
    store, worker, masks = Store(out), job.open(), job.recipe.mask
    assert masks is not None
    do_units(MaskJob(store.sub(FOLDERS["masks"]).root, job.folder, masks, job.units))
    cuts = orjson.loads(store.read("cuts/cuts.json"))
    about = {
        "name": job.recipe.name, "recipe": job.recipe.deciding(), "speech": worker.tokenizer.spec.to_json(),
        "text": {"checksum": worker.text.checksum, "vocab_size": worker.text.vocab_size},
        "folders": FOLDERS, "cuts": {k: cuts[k] for k in ("sha256", "utterances", "seconds")},
    }  # fmt: skip
    value = describe(store.sub(FOLDERS["tokens"]), len(job.units), cuts["utterances"], about)
    beside = describe_masks(store.sub(FOLDERS["masks"]), FOLDERS["masks"], masks, value["tokens"]["shards"])
    publish(store, {**value, "masks": beside})


def make_dataset(folder: Path) -> str:
    """A finished dataset under ``folder``/out of a corpus in ``folder``/corpus; returns its root."""
    write_corpus(folder / "corpus")
    out = str(folder / "out")
    job = make_until_tokens(out, small_recipe(folder / "corpus"))
    do_units(job)
    finish(out, job)
    return out
