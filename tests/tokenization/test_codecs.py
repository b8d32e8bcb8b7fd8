"""Every neural codec behind the contract: codes of a waveform do not depend on batch, padding or pieces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manifests.settings.codecs import CodecSettings
from tests.tokenization import checkpoints
from tests.tokenization.checkpoints import CODECS, sounds
from tokenization.adapter import TokenizerError
from tokenization.parity import parity
from tokenization.registry import needs_fit, open_tokenizer

PIECEWISE = ("encodec", "mimi", "dac", "dac_44")
LENGTHS = (0.05, 0.4, 0.4, 0.71, 1.0, 1.33)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CodecSettings]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: checkpoints.save(folder, name) for name in CODECS}


def waves(rate: int) -> list[np.ndarray]:
    """Several lengths, two of them equal."""
    return [sounds(seconds, rate, seed=i)[0] for i, seconds in enumerate(LENGTHS)]


@pytest.mark.parametrize("name", CODECS)
def test_codes_have_the_shape_and_range_that_the_spec_says_and_many_occur(
    name: str, saved: dict[str, CodecSettings]
) -> None:
    tokenizer = open_tokenizer(saved[name])
    spec = tokenizer.spec
    codes = tokenizer.encode(waves(spec.sample_rate))
    for wave_T, codes_FQ in zip(waves(spec.sample_rate), codes, strict=True):
        assert codes_FQ.dtype == np.uint16
        assert codes_FQ.shape == (tokenizer.frames(len(wave_T)), spec.codebooks)
        assert len(codes_FQ) / spec.frame_rate == pytest.approx(
            len(wave_T) / spec.sample_rate, abs=1.5 / spec.frame_rate + 0.02
        )
    frames = sum(map(len, codes))
    for codes_F in np.concatenate(codes).T:
        assert len(np.unique(codes_F)) > 0.25 * min(frames, spec.vocab_size), "too few codes to prove anything"
    assert tokenizer.encode([np.zeros(0, np.float32)])[0].shape == (0, spec.codebooks)
    assert tokenizer.frames(0) == 0
    assert not needs_fit(saved[name])


@pytest.mark.parametrize("name", CODECS)
def test_codes_in_a_batch_are_those_of_one_by_one(name: str, saved: dict[str, CodecSettings]) -> None:
    tokenizer = open_tokenizer(saved[name].model_copy(update={"batch_seconds": 20.0}))
    alone = open_tokenizer(saved[name])
    batch = waves(tokenizer.spec.sample_rate)
    found = parity(tokenizer, batch)
    assert (found.utterances, found.mismatched) == (len(batch), 0)
    for together_FQ, alone_FQ in zip(tokenizer.encode(batch), alone.encode(batch), strict=True):
        assert np.array_equal(together_FQ, alone_FQ)


@pytest.mark.parametrize("name", PIECEWISE)
def test_codes_of_long_audio_in_pieces_are_those_of_the_whole(name: str, saved: dict[str, CodecSettings]) -> None:
    whole = open_tokenizer(saved[name])
    pieces = open_tokenizer(saved[name].model_copy(update={"chunk_seconds": 1.0}))
    long = sounds(4.6, whole.spec.sample_rate, seed=3)
    whole_FQ, pieces_FQ = whole.encode(long)[0], pieces.encode(long)[0]
    assert len(np.unique(whole_FQ[:, 0])) > 20
    assert np.array_equal(whole_FQ, pieces_FQ)


@pytest.mark.parametrize("name", CODECS)
def test_codes_do_not_depend_on_the_number_of_threads(name: str, saved: dict[str, CodecSettings]) -> None:
    tokenizer = open_tokenizer(saved[name])
    one_FQ = tokenizer.encode(waves(tokenizer.spec.sample_rate)[-1:])[0]
    torch.set_num_threads(2)
    try:
        two_FQ = tokenizer.encode(waves(tokenizer.spec.sample_rate)[-1:])[0]
        assert torch.get_num_threads() == 2, "the caller's threads are left as they were"
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(one_FQ, two_FQ)


@pytest.mark.parametrize("name", [n for n in CODECS if not n.startswith("s3")])
def test_codes_become_sound_of_their_length_and_other_codes_other_sound(
    name: str, saved: dict[str, CodecSettings]
) -> None:
    tokenizer = open_tokenizer(saved[name])
    spec, wave_T = tokenizer.spec, sounds(1.33, tokenizer.spec.sample_rate)[0]
    codes_FQ = tokenizer.encode([wave_T])[0]
    sound_T = tokenizer.decode(codes_FQ)
    assert sound_T.dtype == np.float32
    assert np.isfinite(sound_T).all()
    assert 0 <= len(sound_T) - len(wave_T) <= 1.5 * spec.sample_rate / spec.frame_rate + 512
    assert not np.array_equal(sound_T, tokenizer.decode(codes_FQ[::-1]))
    assert len(tokenizer.decode(codes_FQ[:0])) == 0
    with pytest.raises(TokenizerError, match="must lie in"):
        tokenizer.decode(np.full_like(codes_FQ, spec.vocab_size))


@pytest.mark.parametrize("name", CODECS)
def test_each_code_stands_for_a_point(name: str, saved: dict[str, CodecSettings]) -> None:
    tokenizer = open_tokenizer(saved[name])
    vectors_QKZ = tokenizer.vectors()
    assert vectors_QKZ is not None
    assert vectors_QKZ.shape[:2] == (tokenizer.spec.codebooks, tokenizer.spec.vocab_size)
    assert len(np.unique(vectors_QKZ[0], axis=0)) == tokenizer.spec.vocab_size


@pytest.mark.parametrize("name", CODECS)
def test_sound_that_is_not_sound_is_refused(name: str, saved: dict[str, CodecSettings]) -> None:
    tokenizer = open_tokenizer(saved[name])
    with pytest.raises(TokenizerError, match="NaN or infinite"):
        tokenizer.encode([np.array([0.0, np.nan], np.float32)])


def test_importing_the_registry_imports_no_codecs_library() -> None:
    code = "import sys, tokenization.registry; print(sorted({'torch', 'transformers', 'onnx'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_weights_of_a_codec_never_come_from_the_fit_stage(saved: dict[str, CodecSettings]) -> None:
    with pytest.raises(TokenizerError, match=r"come from speech.weights"):
        open_tokenizer(saved["mimi"], b"x")


def test_a_gpu_that_is_not_there_is_refused(saved: dict[str, CodecSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TokenizerError, match=r"PyTorch sees no GPU here.*gpus_per_worker"):
        open_tokenizer(saved["encodec"].model_copy(update={"device": "cuda"}))
    assert open_tokenizer(saved["encodec"].model_copy(update={"device": "cuda"}), device="cpu").can_encode


def test_a_library_that_is_not_there_is_named_with_its_extra(
    saved: dict[str, CodecSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TokenizerError, match=r"needs the library transformers.*pip install 'speechmill\[codecs\]'"):
        open_tokenizer(saved["encodec"])


FULL: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "encodec": (lambda: checkpoints.encodec(small=False), {}),
    "encodec_48": (lambda: checkpoints.encodec(48_000, small=False), {}),
    "mimi": (lambda: checkpoints.mimi(small=False), {}),
    "dac": (lambda: checkpoints.dac(small=False), {}),
    "xcodec": (lambda: checkpoints.xcodec(small=False), {}),
    "s3_v2": (lambda: checkpoints.s3(6, 1_280), {}),
    "s3_v3": (lambda: checkpoints.s3(12, 1_280), {"model": "v3"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_a_model_of_full_size_opens_encodes_and_sounds(
    name: str, saved: dict[str, CodecSettings], tmp_path: Path
) -> None:
    """The published sizes, 15 to 240 million weights, on a third of a second: one by one, for codes of random weights lie so near each other that sums decide."""
    make, more = FULL[name]
    model, place = make(), tmp_path / "s3.pt"
    if isinstance(model, dict):
        torch.save(model, place)
    else:
        place = tmp_path / "folder"
        model.save_pretrained(place)
    tokenizer = open_tokenizer(saved[name].model_copy(update={"weights": str(place), **more}))
    rate = tokenizer.spec.sample_rate
    batch = [sounds(seconds, rate, seed=i)[0] for i, seconds in enumerate((0.1, 0.32))]
    assert parity(tokenizer, batch).mismatched == 0
    codes_FQ = tokenizer.encode(batch[1:])[0]
    assert len(codes_FQ) == tokenizer.frames(len(batch[1]))
    assert len(np.unique(codes_FQ[:, 0])) > len(codes_FQ) / 4
    if tokenizer.can_decode:
        assert np.isfinite(tokenizer.decode(codes_FQ)).all()
