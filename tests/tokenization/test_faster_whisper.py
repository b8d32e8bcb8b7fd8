"""Whisper by CTranslate2 behind the same contract: the same words as OpenAI's package of the same weights."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from manifests.fingerprint import sha256
from manifests.settings.recognisers import FasterWhisperSettings, WhisperSettings
from tests.tokenization import whispers
from tests.tokenization.whispers import SAID, sound
from tokenization.adapter import TokenizerError
from tokenization.recognisers.base import RecogniserError
from tokenization.recognisers.registry import describe_recogniser, open_recogniser

FIGURES = ("probability", "avg_logprob", "no_speech", "compression")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("faster_whisper")
    return whispers.trained(tmp_path_factory)


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whispers.converted(checkpoint, tmp_path_factory.mktemp("converted") / "ct2")


def test_it_hears_what_openais_package_hears(folder: Path, checkpoint: Path) -> None:
    waves = [sound(hertz) for hertz in (*SAID, 0)]
    ours = open_recogniser(FasterWhisperSettings(weights=str(folder))).recognise([*waves, np.zeros(0, np.float32)])
    theirs = open_recogniser(WhisperSettings(weights=str(checkpoint))).recognise(waves)
    assert ours[-1].text == ""
    for one, other in zip(ours, theirs, strict=False):
        assert (one.text, one.language) == (other.text, other.language)
        for name in FIGURES:
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=5e-3), name


def test_a_batch_hears_what_each_alone_is_heard_as(folder: Path) -> None:
    recogniser, waves = open_recogniser(FasterWhisperSettings(weights=str(folder))), [sound(hertz) for hertz in SAID]
    together = recogniser.recognise(waves)
    assert [recogniser.recognise([wave_T])[0].text for wave_T in waves] == [heard.text for heard in together]
    assert recogniser.recognise(waves) == together


def test_what_is_drawn_is_drawn_by_a_seed(folder: Path) -> None:
    asked = FasterWhisperSettings(weights=str(folder), temperatures=(0.0, 1.5))
    loop_T = sound(4_000)
    first, again = (open_recogniser(asked).recognise([loop_T])[0] for _ in range(2))
    assert first.temperature == 1.5
    assert first == again


def test_it_is_told_by_its_weights_and_what_lies_beside_them(folder: Path, tmp_path: Path) -> None:
    spec = describe_recogniser(FasterWhisperSettings(weights=str(folder)))
    assert spec.checksum == sha256((folder / "model.bin").read_bytes())
    assert (spec.window, spec.language) == (30.0, None)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    assert describe_recogniser(FasterWhisperSettings(weights=str(other))) == spec
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + " ")
    assert describe_recogniser(FasterWhisperSettings(weights=str(other))).version != spec.version


def test_damaged_and_missing_weights_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.bin").write_bytes(b"no model")
    with pytest.raises(RecogniserError, match=r"is no Whisper of CTranslate2"):
        open_recogniser(FasterWhisperSettings(weights=str(broken)))
    (broken / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"has no tokenizer.json"):
        open_recogniser(FasterWhisperSettings(weights=str(broken)))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(RecogniserError, match=r"pip install 'speechmill\[faster-whisper\]'"):
        describe_recogniser(FasterWhisperSettings(weights="/nowhere"))
