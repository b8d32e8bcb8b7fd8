"""A small corpus made by the tests: tones that rise and fall like speech, one folder, a transcript table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def tone(seed: int, seconds: float) -> np.ndarray:
    """``wave_T``: a few harmonics under a syllable-like envelope, never silent, different for each seed."""
    rng = np.random.default_rng(seed)
    time_T = np.arange(int(seconds * RATE)) / RATE
    pitch_T = 120 + 80 * rng.random() + 20 * np.sin(2 * np.pi * (2 + rng.random()) * time_T)
    phase_T = 2 * np.pi * np.cumsum(pitch_T) / RATE
    wave_T = sum(rng.random() / k * np.sin(k * phase_T) for k in range(1, 9))
    envelope_T = 0.3 + 0.7 * np.abs(np.sin(2 * np.pi * 3 * time_T))
    return (0.1 * wave_T * envelope_T + 0.001 * rng.standard_normal(len(time_T))).astype(np.float32)


def write_corpus(folder: Path, utterances: int = 24) -> Path:
    """``utterances`` wavs of about a second by six speakers, with ``list.tsv``; one is empty, one all zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id\taudio\ttext\tspeaker"]
    for i in range(utterances):
        name = f"u{i:03d}.wav"
        soundfile.write(folder / name, tone(i, 0.8 + 0.05 * (i % 9)), RATE, subtype="PCM_16")
        lines.append(f"u{i:03d}\t{name}\tthis is sentence number {i}\ts{i % 6}")
    (folder / "u003.wav").write_bytes(b"")
    soundfile.write(folder / "u005.wav", np.zeros(RATE, np.float32), RATE, subtype="PCM_16")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def overrides(root: Path | str, **more: object) -> list[str]:
    """``--set`` values that read :func:`write_corpus` into several small units; None leaves one out."""
    values = {
        "corpus.layout": "table", "corpus.root": root, "plan.unit_seconds": 4, "speech.fit_seconds": 20,
        "speech.codebook_size": 32, "text.vocab_size": 300, "run.drain_seconds": 10, **more,
    }  # fmt: skip
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def fingerprints(out: Path) -> dict[str, bytes]:
    """Every byte that the promise covers: dataset.json, shards, indexes, fitted files, manifests; by name."""
    wanted = [p for p in out.rglob("*") if p.suffix in (".tar", ".idx", ".gz", ".jsonl", ".safetensors")]
    wanted = [p for p in wanted if p.name != "events.jsonl"] + [out / "dataset.json"]
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(wanted)}
