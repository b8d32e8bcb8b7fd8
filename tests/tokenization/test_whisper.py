"""Whisper behind the contract: the package's own words, whatever they are batched with, and nothing executed of what a file holds."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.fingerprint import sha256
from manifests.settings.recognisers import WhisperSettings
from tests.tokenization import whispers
from tests.tokenization.whispers import LOOP, NOISE, RATE, SAID, sound
from tokenization.adapter import TokenizerError
from tokenization.codecs.weights import Found
from tokenization.recognisers import openai_whisper, whisper_files
from tokenization.recognisers.base import Recogniser, RecogniserError, compression
from tokenization.recognisers.registry import describe_recogniser, open_recogniser, pinned
from tokenization.recognisers.windows import Piece, WhisperRecogniser, cut, joined

whisper = pytest.importorskip("whisper")
CLOSE = 1e-4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whispers.trained(tmp_path_factory)


@pytest.fixture(scope="module")
def recogniser(checkpoint: Path) -> Recogniser:
    return open_recogniser(WhisperSettings(weights=str(checkpoint)))


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    return [sound(hertz) for hertz in (*SAID, 0)]


def test_it_hears_the_words_and_the_language(recogniser: Recogniser, waves: list[np.ndarray]) -> None:
    heard = recogniser.recognise(waves)
    assert [(t.text, t.language) for t in heard[:-1]] == list(SAID.values())
    assert all(t.probability is not None and t.probability > 0.5 for t in heard[:-1])
    assert all(t.avg_logprob is not None and t.avg_logprob > -0.5 for t in heard[:-1])


def test_words_and_figures_are_those_of_the_package_itself(
    recogniser: Recogniser, checkpoint: Path, waves: list[np.ndarray]
) -> None:
    model = whisper.load_model(str(checkpoint), device="cpu")
    options = whisper.DecodingOptions(fp16=False, without_timestamps=True)
    for wave_T, ours in zip(waves, recogniser.recognise(waves), strict=True):
        mel_ML = whisper.log_mel_spectrogram(whisper.pad_or_trim(torch.from_numpy(wave_T)))
        theirs, (_, probabilities) = whisper.decode(model, mel_ML, options), model.detect_language(mel_ML)
        assert (ours.text, ours.language) == (theirs.text, max(probabilities, key=probabilities.get))
        assert ours.probability == pytest.approx(max(probabilities.values()), abs=CLOSE)
        assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=CLOSE)
        assert ours.no_speech == pytest.approx(theirs.no_speech_prob, abs=CLOSE)
        assert ours.compression == pytest.approx(theirs.compression_ratio)


def test_a_batch_hears_what_each_alone_is_heard_as(recogniser: Recogniser, waves: list[np.ndarray]) -> None:
    together = recogniser.recognise([*waves, np.zeros(0, np.float32)])
    assert together[-1].text == ""
    for wave_T, one in zip(waves, together, strict=False):
        [alone] = recogniser.recognise([wave_T])
        assert (alone.text, alone.language, alone.temperature) == (one.text, one.language, one.temperature)
        assert alone.avg_logprob == pytest.approx(one.avg_logprob, abs=CLOSE)
        assert alone.no_speech == pytest.approx(one.no_speech, abs=CLOSE)


def test_the_same_batch_gives_the_same_bits_again(recogniser: Recogniser, waves: list[np.ndarray]) -> None:
    assert recogniser.recognise(waves) == recogniser.recognise(waves)


def test_of_noise_it_says_that_nobody_speaks_and_of_a_loop_that_it_is_one(
    recogniser: Recogniser, waves: list[np.ndarray]
) -> None:
    *_, loop, noise = recogniser.recognise(waves)
    assert loop.text == LOOP.strip()
    assert loop.compression is not None
    assert loop.compression > 2.4
    assert noise.no_speech is not None
    assert noise.no_speech > 0.6
    assert noise.avg_logprob is not None
    assert noise.avg_logprob < -1.0
    assert noise.text in NOISE


def test_more_than_a_window_is_cut_in_its_pauses_and_joined(recogniser: Recogniser) -> None:
    pause_T = np.zeros(26 * RATE, np.float32)
    long_T = np.concatenate([sound(200), pause_T, sound(1_800), pause_T, sound(700)])
    [heard] = recogniser.recognise([long_T])
    assert heard.text == "the red lamp is on wo ist der bahnhof call me at nine"
    assert heard.language == "en"


@given(st.integers(0, 100 * RATE), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_windows_make_up_the_whole_and_none_is_longer_than_30_seconds(samples: int, seed: int) -> None:
    wave_T = np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    windows = list(cut(wave_T))
    assert np.array_equal(np.concatenate([wave_T[:0], *windows]), wave_T)
    assert all(0 < len(window_T) <= 30 * RATE for window_T in windows)
    assert all(len(window_T) >= 20 * RATE for window_T in windows[:-1])


def test_of_several_windows_the_one_that_repeats_itself_most_tells_how_far_they_do() -> None:
    plain, loop = (Piece(text, 9, -0.1, 0.0, 0.0) for text in ("the red lamp is on", LOOP))
    assert joined([plain, loop, plain]).compression == compression(LOOP)
    assert joined([plain] * 40).compression == compression(plain.text)
    assert joined([dataclasses.replace(plain, text="")]).compression == 0


def test_a_cut_falls_into_a_pause() -> None:
    wave_T = np.random.default_rng(0).standard_normal(40 * RATE).astype(np.float32)
    wave_T[26 * RATE : 27 * RATE] = 0
    assert 26 * RATE < len(next(cut(wave_T))) < 27 * RATE


def test_a_bad_text_is_drawn_again_by_a_seed_of_its_sound_alone(checkpoint: Path, waves: list[np.ndarray]) -> None:
    asked = WhisperSettings(weights=str(checkpoint), temperatures=(0.0, 1.5))
    patient = open_recogniser(asked)
    loop_T, state = waves[3], torch.get_rng_state()
    first = patient.recognise(waves)
    assert torch.equal(torch.get_rng_state(), state), "nobody else's draws are touched"
    assert [t.temperature for t in first] == [0, 0, 0, 1.5, 0], "of silence another try makes no speech"
    assert patient.recognise([loop_T])[0].text == first[3].text
    other = open_recogniser(asked.model_copy(update={"seed": 1})).recognise([loop_T])[0]
    assert other.text != first[3].text


class Engine:
    """Says what it is told to: one piece for each temperature."""

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = pieces

    def likeliest(self, windows: list[Any]) -> list[Piece]:
        return [self.pieces[0] for _ in windows]

    def drawn(self, window_T: np.ndarray, temperature: float, seed: int) -> Piece:
        return next(piece for piece in self.pieces if piece.temperature == temperature)


def heard_by(*pieces: Piece) -> str:
    asked = WhisperSettings(temperatures=tuple(piece.temperature for piece in pieces))
    spec: Any = None
    return WhisperRecogniser(spec, asked, Engine(*pieces)).recognise([sound(200)])[0].text


def test_the_first_text_that_looks_good_is_taken_else_the_likeliest_that_is_no_loop() -> None:
    loop, dull = Piece(LOOP, 40, -0.1, 0.0, 0.0), Piece("hm", 2, -3.0, 0.1, 0.0)
    good, better, worse = (
        Piece("yes", 2, -0.5, 0.0, 0.4),
        Piece("so", 2, -1.5, 0.0, 0.4),
        Piece("no", 2, -2.5, 0.0, 0.8),
    )
    assert heard_by(loop, good, worse) == "yes"
    assert heard_by(dull, better, worse) == "so"
    assert heard_by(loop, worse) == "no"
    assert heard_by(dataclasses.replace(dull, no_speech=0.9), good) == "hm", "silence is heard once"


def test_told_the_language_it_still_says_which_one_it_hears(checkpoint: Path) -> None:
    [heard] = open_recogniser(WhisperSettings(weights=str(checkpoint), language="en")).recognise([sound(1_800)])
    assert heard.language == "de"


def test_beams_find_a_text_that_is_no_less_likely(checkpoint: Path, recogniser: Recogniser) -> None:
    greedy = recogniser.recognise([sound(200)])[0]
    beams = open_recogniser(WhisperSettings(weights=str(checkpoint), beam_size=3)).recognise([sound(200)])[0]
    assert beams.text == greedy.text
    assert beams.avg_logprob is not None
    assert greedy.avg_logprob is not None
    assert beams.avg_logprob >= greedy.avg_logprob - CLOSE


# Weights


def test_a_checkpoint_is_told_by_its_hash_not_its_place(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(checkpoint, tmp_path / "small.en.pt")
    by_name = WhisperSettings(weights=str(tmp_path), model="small.en")
    spec = describe_recogniser(by_name)
    assert spec.checksum == sha256(checkpoint.read_bytes())
    assert spec == describe_recogniser(WhisperSettings(weights=str(checkpoint)))
    assert pinned(by_name, spec).checksum == spec.checksum
    assert (spec.window, spec.language) == (30.0, None)


def test_an_english_checkpoint_says_so(tmp_path: Path) -> None:
    dims = whisper.model.ModelDimensions(80, 1_500, 8, 1, 1, 51_864, 448, 8, 1, 1)
    model = whisper.model.Whisper(dims)
    torch.save({"dims": dataclasses.asdict(dims), "model_state_dict": model.state_dict()}, tmp_path / "en.pt")
    english = open_recogniser(WhisperSettings(weights=str(tmp_path / "en.pt")))
    assert english.spec.language == "en"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"weights": ""}, "transcribe.recogniser.weights: where are the weights of 'whisper'"),
        ({"weights": "/no/such.pt"}, "/no/such.pt is no file or folder here"),
        ({"weights": "."}, "is a folder: name a checkpoint in it with transcribe.recogniser.model"),
        ({"weights": ".", "model": "tiny"}, "has no tiny.pt"),
    ],
)
def test_weights_that_are_not_there_are_refused_in_one_line(asked: dict[str, str], said: str) -> None:
    with pytest.raises(TokenizerError) as refused:
        describe_recogniser(WhisperSettings(**asked))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_weights_than_the_recipe_says_are_refused(checkpoint: Path) -> None:
    with pytest.raises(TokenizerError, match=r"transcribe.recogniser.checksum\) says 0000"):
        describe_recogniser(WhisperSettings(weights=str(checkpoint), checksum="0" * 64))


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def test_a_file_that_would_run_code_is_refused_unrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"dims": Bomb()}))
    torch.save({"dims": {}, "model_state_dict": Bomb()}, tmp_path / "zipped.pt")
    for name in ("plain.pt", "zipped.pt"):
        with pytest.raises(RecogniserError, match=r"is no checkpoint of Whisper"):
            open_recogniser(WhisperSettings(weights=str(tmp_path / name)))
    assert not (tmp_path / "exploded").exists()


def test_arrays_that_do_not_fit_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    held = torch.load(checkpoint, weights_only=True)
    torch.save({**held, "dims": {**held["dims"], "n_text_layer": 2}}, tmp_path / "more.pt")
    with pytest.raises(RecogniserError, match="its arrays do not fit its dims"):
        open_recogniser(WhisperSettings(weights=str(tmp_path / "more.pt")))
    torch.save({**held, "dims": {**held["dims"], "n_vocab": -1}}, tmp_path / "less.pt")
    with pytest.raises(RecogniserError, match="its dims are not"):
        describe_recogniser(WhisperSettings(weights=str(tmp_path / "less.pt")))


def test_without_the_package_the_extra_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whisper", None)
    with pytest.raises(RecogniserError, match=r"pip install 'speechmill\[whisper\]'"):
        describe_recogniser(WhisperSettings(weights=str(checkpoint)))


def test_what_is_no_sound_is_refused(recogniser: Recogniser) -> None:
    with pytest.raises(TokenizerError, match="NaN or infinite"):
        recogniser.recognise([np.full(RATE, np.nan, np.float32)])


def test_features_are_fifty_frames_a_second_of_thirty(checkpoint: Path) -> None:
    model, _ = whisper_files.loaded(Found(checkpoint, None, ""), "features")
    with torch.inference_mode():
        features_NFD = openai_whisper.encoded(model, [sound(200), sound(700)])
    assert features_NFD.shape == (2, 1_500, whispers.WIDTH)
