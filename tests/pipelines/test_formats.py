"""Compressed sound through the whole pipeline: every format is written, at its own length, from the channel that was asked for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from manifests.dataset import Dataset
from manifests.keys import key_of
from pipelines import cli
from tests.manifests.sounds import encode, encode_av, voice
from tests.small_corpus import overrides

SECONDS = 1.7
SLACK = 0.06  # what an encoder may add: a frame of padding
RATE = 48_000
FILES = {
    "low.mp3": lambda: encode(voice(SECONDS, seed=1), 16_000, "mp3"),
    "low.ogg": lambda: encode(voice(SECONDS, seed=2), 16_000, "ogg"),
    "low.opus": lambda: encode(voice(SECONDS, seed=3), 16_000, "opus"),
    "low.m4a": lambda: encode_av(voice(SECONDS, seed=4)[None], 16_000, "ipod", "aac"),
    "high.mp3": lambda: encode(voice(SECONDS, RATE, seed=5), RATE, "mp3"),
    "high.ogg": lambda: encode(voice(SECONDS, RATE, seed=6), RATE, "ogg"),
    "high.opus": lambda: encode(voice(SECONDS, RATE, seed=7), RATE, "opus"),
    "high.m4a": lambda: encode_av(voice(SECONDS, RATE, seed=8)[None], RATE, "ipod", "aac"),
    "high.webm": lambda: encode_av(voice(SECONDS, RATE, seed=9)[None], RATE, "webm", "libopus"),
    "two.m4a": lambda: encode_av(one_sided(10), RATE, "ipod", "aac"),
    "two.opus": lambda: encode(one_sided(11), RATE, "opus"),
    "two.mp3": lambda: encode(one_sided(12), RATE, "mp3"),
}  # fmt: skip
TWO = ("two.m4a", "two.opus", "two.mp3")


def one_sided(seed: int) -> np.ndarray:
    """``wave_CT``: nothing on the first channel, a voice on the second."""
    wave_T = voice(SECONDS, RATE, seed)
    return np.stack([np.zeros_like(wave_T), wave_T])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished dataset; of the files with two channels each channel is an utterance."""
    root, out = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("out")
    lines = ["id\taudio\ttext\tspeaker\tchannel"]
    for i, (name, make) in enumerate(FILES.items()):
        (root / name).write_bytes(make())
        for channel in ("0", "1") if name in TWO else ("",):
            lines.append(f"{name}{channel}\t{name}\tsentence {i} {channel}\ts{i}\t{channel}")
    (root / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sets = [part for value in overrides(root, **{"run.workers": 0}) for part in ("--set", value)]
    made = CliRunner().invoke(cli.app, ["data", "corpus", "-o", str(out), "--no-report", *sets])
    assert made.exit_code == 0, made.output
    return out


@pytest.mark.parametrize("name", [name for name in FILES if name not in TWO] + [f"{name}1" for name in TWO])
def test_every_format_is_written_at_its_own_length(name: str, out: Path) -> None:
    sample = Dataset.open(str(out)).find(key_of(name))
    assert sample is not None
    assert sample.meta["duration"] == pytest.approx(SECONDS, abs=SLACK)
    assert len(sample.arrays["speech"]) == math.ceil(sample.meta["duration"] * 25 - 1e-6)
    assert len(np.unique(sample.arrays["speech"])) > 3, "a voice that rises and falls takes more than a few codes"


def test_the_other_channel_is_heard_where_it_was_asked_for_and_nothing_else_is_missing(out: Path) -> None:
    ledger = Dataset.open(str(out)).description["ledger"]
    assert ledger["filtered"] == {"silent": len(TWO)}
    assert ledger["quarantined"] == {}
    assert ledger["written"] == len(FILES)
