"""A small finished dataset of dialogues whose ids, texts and sounds are as awkward as they come: what is exported in tests."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console

from manifests.dataset import Dataset
from manifests.recipe import parse
from manifests.shards.reader import Sample
from pipelines.export.export import Asked, export
from tests.pipelines.finished import RATE, do_units, finish, make_until_tokens, speechlike

IDS = (
    "plain", "with.dot.two", "a/b/c", "a//b", "../up", "/rooted", "sp ace", "quote\"'s", "tab\there", "ünïcödé-录音", "100%",
    "a%2F%2Fb", "~tilde", "back\\slash", "-", "x" * 120,
)  # fmt: skip


def make_dialogues(folder: Path, codebooks: int = 1, unasked: int = 2) -> str:
    """One dialogue an id of :data:`IDS` in several shards and three splits; the last ``unasked`` have no query. Returns the root."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    lines = []
    for n, name in enumerate(IDS):
        _write(corpus / f"r{n}.wav", n, 0.83 + 0.07 * n, RATE)
        _write(corpus / f"q{n}.wav", 50 + n, 0.71 + 0.03 * n, 22_050)
        asked = {
            "query_audio": f"q{n}.wav",
            "query_text": f"what is “{n}” \\ ?\u2028",
            "query_speaker": f"asker {n % 2}",
        }
        lines.append({"id": name, "audio": f"r{n}.wav", "text": f"it is {n}, isn’t it?\n✓", "speaker": f"s/{n % 5}",
                      "split": ("train", "dev", "held.out-1")[n % 3], **(asked if n < len(IDS) - unasked else {})})  # fmt: skip
    (corpus / "list.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    recipe = parse({
        "name": "awkward", "corpus": {"layout": "table", "root": str(corpus), "language": "en"},
        "plan": {"unit_seconds": 5.0, "batch_seconds": 4.0},
        "speech": {"codebook_size": 16, "codebooks": codebooks, "pca": 8, "fit_seconds": 10, "iterations": 2, "griffin_lim": 2},
        "text": {"vocab_size": 270},
        "mask": {"block": 8, "sets": {"plain": {"views": 1, "mix": [{"noise": "bernoulli"}]}}},
    })  # fmt: skip
    out = str(folder / "out")
    job = make_until_tokens(out, recipe)
    do_units(job)
    finish(out, job)
    return out


def _write(path: Path, seed: int, seconds: float, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((speechlike(seed, seconds) * 32767).astype("<i2").tobytes())


def quiet() -> Console:
    return Console(file=io.StringIO(), width=10_000)


def exported(out: str, kind: str, dest: Path, **more: object) -> Path:
    """Export ``out`` in parts of a shard or two; returns ``dest``."""
    assert export(Asked(out, kind, str(dest), **{"per_file": 4, **more}), quiet())  # type: ignore[arg-type]
    return dest


def samples(out: str) -> dict[str, Sample]:
    """Every sample by the id of its utterance, in the order of the shards."""
    return {sample.meta["id"]: sample for sample in Dataset.open(out)}


def heard(flac: bytes) -> tuple[np.ndarray, int]:
    """int16 samples and their rate."""
    return soundfile.read(io.BytesIO(flac), dtype="int16")


def contents(folder: Path, leave_out: Sequence[str] = ()) -> dict[str, bytes]:
    """Every file of an export, by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {name: path.read_bytes() for path in files if (name := str(path.relative_to(folder))) not in leave_out}
